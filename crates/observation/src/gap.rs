//! Gaps: observations that are missing, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Observations are missing; never to be read as zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap {
    /// Begin of the gap.
    pub from_us: u64,
    /// End of the gap.
    pub to_us: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why observations are missing. In a record it is a sentence; one that is not of these forms is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapReason {
    /// The stream went on, and had no ticks for this long.
    NoTicks {
        /// The sentence tells tenths of a second.
        us: u64,
    },
    /// Lines of the stream could not be read.
    UnreadStream {
        /// How many.
        lines: u64,
        /// What is wrong with the last of them.
        why: String,
    },
    /// Lines of the journal could not be read.
    UnreadJournal {
        /// Number of the first one.
        first: usize,
        /// How many, one after the other.
        lines: usize,
        /// What is wrong with the first one.
        why: String,
    },
    /// The source dropped lines that a reader did not take in time.
    SlowReader {
        /// How many.
        lines: u64,
    },
    /// The stream broke off and was asked for again.
    Broken {
        /// What was seen of it.
        why: String,
        /// The source that answered is another start of the process.
        restarted: bool,
    },
    /// A sentence of another version, or of another source.
    Other(String),
}

/// Ends the sentence of a stream that broke off, where the source has restarted.
const RESTARTED: &str = "; the source has restarted";

impl GapReason {
    /// Was the client under test started again meanwhile?
    pub fn is_restart(&self) -> bool {
        match self {
            GapReason::Broken { restarted, .. } => *restarted,
            // A source that tells of its own gaps says so in its own words.
            GapReason::Other(text) => text.contains("restarted"),
            GapReason::NoTicks { .. }
            | GapReason::UnreadStream { .. }
            | GapReason::UnreadJournal { .. }
            | GapReason::SlowReader { .. } => false,
        }
    }
}

/// Reads of each form of a sentence.
const FORMS: [fn(&str) -> Option<GapReason>; 6] =
    [one_of_journal, some_of_journal, of_stream, no_ticks, slow_reader, restarted];

fn one_of_journal(text: &str) -> Option<GapReason> {
    let (first, why) = text.strip_prefix("line ")?.split_once(" of the journal cannot be read: ")?;
    Some(GapReason::UnreadJournal { first: first.parse().ok()?, lines: 1, why: why.to_owned() })
}

fn some_of_journal(text: &str) -> Option<GapReason> {
    let (lines, rest) = text.split_once(" lines of the journal cannot be read, from line ")?;
    let (first, why) = rest.split_once(" on: ")?;
    let (first, lines) = (first.parse().ok()?, lines.parse().ok()?);
    Some(GapReason::UnreadJournal { first, lines, why: why.to_owned() })
}

fn of_stream(text: &str) -> Option<GapReason> {
    let (lines, why) = text.split_once(" of the stream could not be read: ")?;
    let lines = if lines == "a line" { 1 } else { lines.strip_suffix(" lines")?.parse().ok()? };
    Some(GapReason::UnreadStream { lines, why: why.to_owned() })
}

fn no_ticks(text: &str) -> Option<GapReason> {
    let seconds = text.strip_prefix("the source sent no ticks for ")?.strip_suffix(" s")?;
    Some(GapReason::NoTicks { us: (seconds.parse::<f64>().ok()? * 1e6).round() as u64 })
}

fn slow_reader(text: &str) -> Option<GapReason> {
    let (lines, _) = text.strip_prefix("the reader was too slow: ")?.split_once(' ')?;
    Some(GapReason::SlowReader { lines: lines.parse().ok()? })
}

fn restarted(text: &str) -> Option<GapReason> {
    let why = text.strip_suffix(RESTARTED)?.to_owned();
    Some(GapReason::Broken { why, restarted: true })
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GapReason::NoTicks { us } => {
                write!(f, "the source sent no ticks for {:.1} s", *us as f64 / 1e6)
            }
            GapReason::UnreadStream { lines: 1, why } => {
                write!(f, "a line of the stream could not be read: {why}")
            }
            GapReason::UnreadStream { lines, why } => {
                write!(f, "{lines} lines of the stream could not be read: {why}")
            }
            GapReason::UnreadJournal { first, lines: 1, why } => {
                write!(f, "line {first} of the journal cannot be read: {why}")
            }
            GapReason::UnreadJournal { first, lines, why } => {
                write!(f, "{lines} lines of the journal cannot be read, from line {first} on: {why}")
            }
            GapReason::SlowReader { lines } => write!(f, "the reader was too slow: {lines} lines lost"),
            GapReason::Broken { why, restarted } => {
                write!(f, "{why}{}", if *restarted { RESTARTED } else { "" })
            }
            GapReason::Other(text) => f.write_str(text),
        }
    }
}

impl From<&str> for GapReason {
    fn from(text: &str) -> Self {
        // Only what is written back as it came, byte for byte.
        let read = FORMS.iter().filter_map(|form| form(text)).find(|reason| reason.to_string() == text);
        read.unwrap_or_else(|| GapReason::Other(text.to_owned()))
    }
}

crate::known_text::as_text!(GapReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_back_from_its_sentence() {
        let why = || "not a record: a; b".to_owned();
        for reason in [
            GapReason::NoTicks { us: 1_100_000 },
            GapReason::UnreadStream { lines: 1, why: why() },
            GapReason::UnreadStream { lines: 300, why: why() },
            GapReason::UnreadJournal { first: 9, lines: 1, why: why() },
            GapReason::UnreadJournal { first: 9, lines: 2, why: why() },
            GapReason::SlowReader { lines: 12 },
            GapReason::Broken { why: "the stream ended".to_owned(), restarted: true },
            GapReason::Other("lost".to_owned()),
        ] {
            let line = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<GapReason>(&line).unwrap(), reason, "{line}");
        }
    }

    #[test]
    fn a_sentence_of_another_version_is_kept_to_the_byte() {
        for text in [
            "the source sent no ticks for 1.25 s",
            "the source sent no ticks for ever",
            "1 lines of the stream could not be read: x",
            "line 09 of the journal cannot be read: x",
            "the reader was too slow: 3 lines are lost",
            "the client was restarted",
            "",
        ] {
            let reason = GapReason::from(text);
            assert_eq!(reason, GapReason::Other(text.to_owned()));
            assert_eq!(reason.is_restart(), text.contains("restarted"));
        }
    }
}
