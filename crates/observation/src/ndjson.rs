//! One JSON object a line.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::SCHEMA_VERSION;
use crate::json::{self, JsonError};

/// Longest line that a reader accepts; a tick of 100 servers has about 100 KiB.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not the JSON that was expected.
    #[error("not a record: {0}")]
    Json(#[from] JsonError),
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("a line of more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Of a later version: what it means is not known here.
    #[error(
        "version {version} of the records, and this program reads up to {SCHEMA_VERSION}: take a later one"
    )]
    Later {
        /// Which.
        version: u64,
    },
    /// A number that no client and no run has.
    #[error("{what} that is beyond belief")]
    Unbelievable {
        /// Which.
        what: &'static str,
    },
}

/// Reads one line.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    json::read(line).map_err(|error| match later_version(line) {
        Some(version) => LineError::Later { version },
        None => error.into(),
    })
}

/// The version that a line claims, if it is later than [`SCHEMA_VERSION`].
fn later_version(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claim {
        v: Option<u64>,
        record: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        v: Option<u64>,
    }
    let claim: Claim = json::read(line).ok()?;
    claim.v.or(claim.record.and_then(|record| record.v)).filter(|version| *version > SCHEMA_VERSION.into())
}

/// `record` as one line, newline included.
pub fn to_line<T: Serialize>(record: &T) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(record)?;
    line.push('\n');
    Ok(line)
}

/// Cuts a byte stream into lines and parses them. Feed bytes with [`push`](Self::push), take records with
/// [`next_record`](Self::next_record) until it gives `None`. A bad line is an error of its own and does not
/// stop the reader.
#[derive(Debug)]
pub struct Decoder {
    line_max: usize,
    partial: Vec<u8>,
    /// In the order of the stream; an error stands where its line was.
    lines: VecDeque<Result<Vec<u8>, LineError>>,
    skipping: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_line_max(MAX_LINE_BYTES)
    }
}

impl Decoder {
    /// A reader of lines of at most `line_max` bytes.
    pub(crate) fn with_line_max(line_max: usize) -> Self {
        Self { line_max, partial: Vec::new(), lines: VecDeque::new(), skipping: false }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (content, ended) = match part.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (part, false),
            };
            if !self.skipping {
                if content.len() > self.line_max - self.partial.len() {
                    self.partial = Vec::new();
                    self.skipping = true;
                    self.lines.push_back(Err(LineError::TooLong));
                } else {
                    self.partial.extend_from_slice(content);
                }
            }
            if ended {
                let line = std::mem::take(&mut self.partial);
                if !self.skipping && !line.trim_ascii().is_empty() {
                    self.lines.push_back(Ok(line));
                }
                self.skipping = false;
            }
        }
    }

    /// The next whole line as a record.
    pub fn next_record<T: DeserializeOwned>(&mut self) -> Option<Result<T, LineError>> {
        self.lines.pop_front().map(|line| parse(&line?))
    }

    /// Bytes after the last newline: a line that was cut.
    pub fn has_partial_line(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Memory of the line that is not whole yet.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gap, Note, Record};

    fn note(text: &str) -> Record {
        Record::Note(Note::new(1, "x".into(), text))
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        let text = to_line(&note("ä\nb")).unwrap() + &to_line(&note("2")).unwrap();
        for cut in 0..text.len() {
            let mut decoder = Decoder::default();
            decoder.push(&text.as_bytes()[..cut]);
            decoder.push(&text.as_bytes()[cut..]);
            assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), note("ä\nb"));
            assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), note("2"));
            assert!(decoder.next_record::<Record>().is_none());
            assert!(!decoder.has_partial_line());
        }
    }

    #[test]
    fn unknown_types_and_fields_are_tolerated_and_bad_lines_do_not_stop_the_reader() {
        let mut decoder = Decoder::default();
        decoder.push(b"{\"type\":\"from_the_future\",\"x\":1}\n\nnot json\n");
        decoder.push(b"{\"type\":\"gap\",\"from_us\":1,\"to_us\":2,\"reason\":\"r\",\"new\":[]}\n{\"type");
        assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), Record::Unknown);
        assert!(decoder.next_record::<Record>().unwrap().is_err());
        let gap = Gap { from_us: 1, to_us: 2, reason: "r".into() };
        assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), Record::Gap(gap));
        assert!(decoder.next_record::<Record>().is_none());
        assert!(decoder.has_partial_line());
    }

    #[test]
    fn an_endless_line_is_refused_without_being_kept() {
        let mut decoder = Decoder::default();
        for _ in 0..6 {
            decoder.push(&vec![b'x'; 1024 * 1024]);
            assert!(decoder.partial.len() <= MAX_LINE_BYTES);
        }
        decoder.push(b"\n");
        assert!(matches!(decoder.next_record::<Record>(), Some(Err(LineError::TooLong))));
        decoder.push(to_line(&note("after")).unwrap().as_bytes());
        assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), note("after"));
    }

    #[test]
    fn a_line_of_a_later_version_says_so() {
        let mut decoder = Decoder::default();
        decoder.push(b"{\"type\":\"hello\",\"v\":2,\"all\":\"new\"}\n{\"type\":\"hello\",\"v\":1}\n");
        let error = decoder.next_record::<Record>().unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "version 2 of the records, and this program reads up to 1: take a later one"
        );
        assert!(matches!(decoder.next_record::<Record>(), Some(Err(LineError::Json(_)))));
    }

    #[test]
    fn a_refused_line_keeps_its_place_among_the_others() {
        let first = to_line(&note("first")).unwrap();
        let text = [first.as_bytes(), &[b'x'; 1000], b"\n", first.as_bytes()].concat();
        let mut decoder = Decoder::with_line_max(first.len());
        decoder.push(&text);
        assert!(decoder.held() <= first.len());
        assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), note("first"));
        assert!(matches!(decoder.next_record::<Record>(), Some(Err(LineError::TooLong))));
        assert_eq!(decoder.next_record::<Record>().unwrap().unwrap(), note("first"));
        assert!(decoder.next_record::<Record>().is_none());
    }
}
