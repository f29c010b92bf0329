//! What must hold for any bytes that are read as a stream or as a journal, as a function of a fuzzer's input. The target
//! in `fuzz/` calls it; the test at the end replays the committed inputs. Not part of the API: only tests and fuzzers
//! have this module.

use std::path::Path;

use crate::clock::Alignment;
use crate::journal::{Entry, Journal, JournalError};
use crate::ndjson::{self, Decoder, LineError};
use crate::{EventKind, Record};

/// What the reader gives for one line: a record, or that it is too long, or what is wrong.
type Line = Result<Record, String>;

/// Reads a stream or a journal. The input, one byte each with the digit 0 as the first choice: stream or journal, limit
/// of a line, number of cuts, then so many sizes; the rest is the text.
pub fn stream_or_journal(data: &[u8]) {
    let mut left = data;
    let mut take = |n: usize| {
        let (taken, rest) = left.split_at(n.min(left.len()));
        left = rest;
        taken
    };
    let mut pick = |n: usize| take(1).first().map_or(0, |byte| usize::from(byte.wrapping_sub(b'0')) % n);
    let (kind, line_max, cuts) = (pick(2), [ndjson::MAX_LINE_BYTES, 16, 300, 1000][pick(4)], pick(16));
    let cuts: Vec<usize> = take(cuts).iter().map(|byte| usize::from(*byte)).collect();
    match kind {
        0 => stream(left, &cuts, line_max),
        _ => journal(left, &cuts),
    }
}

fn stream(text: &[u8], cuts: &[usize], line_max: usize) {
    let (wanted, partial) = by_the_rules(text, line_max);
    let whole = read([text], line_max, true);
    assert_eq!(whole, (wanted.clone(), partial), "whole");
    assert_eq!(read(pieces(text, cuts), line_max, true), whole, "in pieces, taken at the end");
    assert_eq!(read(pieces(text, cuts), line_max, false), whole, "in pieces, taken as they come");
    if text.len() <= 1000 {
        assert_eq!(read(text.chunks(1), line_max, false), whole, "byte by byte");
    }
    for record in wanted.into_iter().flatten() {
        // A record that was read is written as one line and is then the same.
        let line = ndjson::to_line(&record).unwrap_or_default();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        let again = by_the_rules(line.as_bytes(), ndjson::MAX_LINE_BYTES);
        assert_eq!(again, (vec![Ok(record.clone())], false));
        add_up(record);
    }
}

/// `text` in pieces of the sizes given; what is left is one more.
fn pieces<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut left = text;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = left.split_at((*cut).min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    pieces
}

/// The rules of the stream once more, naively; and whether a line was cut.
fn by_the_rules(text: &[u8], line_max: usize) -> (Vec<Line>, bool) {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut found = Vec::new();
    let mut partial = false;
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        if line.len() > line_max {
            found.push(Err(LineError::TooLong.to_string()));
        } else if last {
            partial = !line.is_empty();
        } else if !line.trim_ascii().is_empty() {
            found.push(ndjson::parse(line).map_err(|error| error.to_string()));
        }
    }
    (found, partial)
}

fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    line_max: usize,
    at_the_end: bool,
) -> (Vec<Line>, bool) {
    let mut decoder = Decoder::with_line_max(line_max);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        // Twice, because a vector grows to a power of two.
        assert!(decoder.held() <= 2 * line_max, "holds {} bytes", decoder.held());
        if !at_the_end {
            found.extend(std::iter::from_fn(|| decoder.next_record::<Record>()));
        }
    }
    found.extend(std::iter::from_fn(|| decoder.next_record::<Record>()));
    let found = found.into_iter().map(|line| line.map_err(|error| error.to_string())).collect();
    (found, decoder.has_partial_line())
}

/// What a reader does with the numbers of a record, whatever they are.
fn add_up(record: Record) {
    match record {
        Record::Tick(mut tick) => {
            for server in &mut tick.servers {
                let attempts = server.attempts.total();
                assert!(server.attempts.ok().max(server.attempts.errors()) <= attempts);
                server.ops.merge(&server.attempts);
                server.latency.merge(&server.service);
                let count = server.latency.count();
                assert!(server.latency.above(0) <= count);
                assert_eq!(server.latency.quantile_us(0.99).is_some(), count > 0);
            }
        }
        Record::Hello(hello) => {
            let alignment = Alignment::from_exchange(1_000, 3_000, hello.at_us);
            assert_eq!(alignment.to_ours(hello.at_us), 2_000);
            alignment.to_ours(hello.wall_ms);
        }
        Record::Event(event) if event.event != EventKind::Unknown => {
            Alignment::from_exchange(u64::MAX, event.at_us, 0).to_ours(event.at_us);
        }
        _ => {}
    }
}

fn journal(text: &[u8], cuts: &[usize]) {
    let whole = parse(text);
    // Where the cuts are, and just after the next line end.
    let mut at = 0;
    for cut in cuts {
        at = (at + cut).min(text.len());
        // Each read is compared with the rules.
        let _ = parse(&text[..at]);
        if let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
            let _ = parse(&text[..at + end + 1]);
        }
    }
    let Ok(journal) = whole else { return };
    let lines: String = journal.entries.iter().filter_map(|entry| ndjson::to_line(entry).ok()).collect();
    assert_eq!(parse(lines.as_bytes()), Ok(Journal { truncated: false, ..journal.clone() }));
    // What a killed writer leaves behind takes nothing away.
    let cut = parse(&[lines.as_bytes(), b"{\"at_us\":1,\"sou"].concat());
    assert_eq!(cut, Ok(Journal { truncated: true, ..journal }));
}

/// Lines of a journal by the rules once more, naively: entries, `None` for a run of bad lines, and whether the last is cut.
type Lines = (Vec<Option<Entry>>, bool);

fn journal_by_the_rules(text: &[u8]) -> Result<Lines, Option<usize>> {
    let mut found: Vec<Option<Entry>> = Vec::new();
    let (mut truncated, mut first_bad) = (false, None);
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match ndjson::parse::<Entry>(line).and_then(Entry::believed) {
            Ok(entry) if entry.record.later_version().is_some() => return Err(Some(number)),
            Ok(entry) => found.push(Some(entry)),
            Err(_) if !line.ends_with(b"\n") => truncated = true,
            Err(LineError::Later { .. }) => return Err(Some(number)),
            Err(_) => {
                first_bad = first_bad.or(Some(number));
                if found.last() != Some(&None) {
                    found.push(None);
                }
            }
        }
    }
    if found.iter().any(Option::is_some) { Ok((found, truncated)) } else { Err(first_bad) }
}

/// An error is the number of the bad line; `None`: there is no entry.
fn parse(text: &[u8]) -> Result<Journal, Option<usize>> {
    let got = Journal::parse(text, Path::new("journal.jsonl")).map_err(|error| match error {
        JournalError::Line { line, .. } => Some(line),
        JournalError::Empty { .. } => None,
        JournalError::Io { .. } => unreachable!("there is no file"),
    });
    let (wanted, truncated) = match journal_by_the_rules(text) {
        Ok(wanted) => wanted,
        Err(line) => {
            assert_eq!(got, Err(line));
            return got;
        }
    };
    let journal = got?;
    assert_eq!((journal.entries.len(), journal.truncated), (wanted.len(), truncated));
    for (entry, wanted) in journal.entries.iter().zip(&wanted) {
        match (wanted, &entry.record) {
            (Some(wanted), _) => assert_eq!(entry, wanted),
            (None, record) => {
                let is_gap = matches!(record, Record::Gap(gap) if gap.from_us < gap.to_us);
                assert!(is_gap, "a bad line became {record:?}");
            }
        }
        add_up(entry.record.clone());
    }
    Ok(journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_inputs_hold() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/observation");
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            stream_or_journal(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}
