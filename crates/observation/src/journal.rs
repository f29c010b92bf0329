//! The journal: one append-only NDJSON file that holds everything that happened in a run.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::belief::LENGTH_MAX_US;
use crate::ndjson::{self, LineError};
use crate::{Gap, GapReason, Record};

/// File name of a journal within its run folder.
pub const FILE_NAME: &str = "journal.jsonl";
/// Characters of an error that a gap repeats.
const REASON_MAX: usize = 200;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Moment on the run's clock, which starts at 0 with the run.
    pub at_us: u64,
    /// Who said it.
    pub source: Source,
    /// What was said; `at_us` inside is on the clock of its source.
    pub record: Record,
}

/// Who said a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The client under test.
    Client,
    /// The scenario runner.
    Runner,
}

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system said no.
    #[error("journal {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// No line can be read, or one is of a later version.
    #[error("journal {path}, line {line}: {error}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        error: LineError,
    },
    /// No line at all.
    #[error("journal {path} is empty")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// Appends entries. Buffered; [`sync`](Self::sync) forces everything to disk.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Creates `dir` and the journal in it; an existing journal is an error, never overwritten.
    pub fn create(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE_NAME);
        let open = || {
            std::fs::create_dir_all(dir)?;
            File::options().write(true).create_new(true).open(&path)
        };
        match open() {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(error) => Err(JournalError::Io { path, error }),
        }
    }

    /// Appends one entry.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let line = ndjson::to_line(entry).map_err(io::Error::other);
        line.and_then(|line| self.file.write_all(line.as_bytes())).map_err(|error| self.io(error))
    }

    /// Appends one entry and forces it to disk before returning: for intents, written before the deed.
    pub fn append_synced(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.append(entry)?;
        self.sync()
    }

    /// Forces everything to disk.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_data()).map_err(|error| self.io(error))
    }

    /// Hands buffered lines to the operating system, so that other processes see them.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.file.flush().map_err(|error| self.io(error))
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, error: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), error }
    }
}

/// A journal read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// In the order of the file. Where lines could not be read, a [`Gap`] of the runner's stands in their place: what they
    /// said is not known, so a run of which they tell cannot pass.
    pub entries: Vec<Entry>,
    /// The last line was cut (the writer was killed); it is left out.
    pub truncated: bool,
}

impl Journal {
    /// Reads a journal; `path` is the file or its run folder. Of a line no more than [`ndjson::MAX_LINE_BYTES`] is held.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        match File::open(&path) {
            Ok(file) => Self::read_lines(BufReader::new(file), &path, ndjson::MAX_LINE_BYTES),
            Err(error) => Err(JournalError::Io { path, error }),
        }
    }

    /// Parses the bytes of a journal; `path` is only for messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, JournalError> {
        Self::read_lines(bytes, path, ndjson::MAX_LINE_BYTES)
    }

    fn read_lines(mut input: impl BufRead, path: &Path, line_max: usize) -> Result<Self, JournalError> {
        let mut journal = Self { entries: Vec::new(), truncated: false };
        let mut unread: Option<Unread> = None;
        let mut line = Vec::new();
        for number in 1.. {
            let read = read_line(&mut input, &mut line, line_max);
            let end = read.map_err(|error| JournalError::Io { path: path.to_owned(), error })?;
            let refused = |error| JournalError::Line { path: path.to_owned(), line: number, error };
            let entry = match end {
                LineEnd::Nothing => break,
                _ if line.trim_ascii().is_empty() => continue,
                LineEnd::TooLong => Err(LineError::TooLong),
                LineEnd::Newline | LineEnd::File => ndjson::parse::<Entry>(&line).and_then(Entry::believed),
            };
            match entry {
                Ok(entry) => {
                    if let Some(version) = entry.record.later_version() {
                        return Err(refused(LineError::Later { version: version.into() }));
                    }
                    journal
                        .entries
                        .extend(unread.take().map(|unread| unread.gap(&journal.entries, entry.at_us)));
                    journal.entries.push(entry);
                }
                Err(_) if matches!(end, LineEnd::File) => journal.truncated = true,
                Err(error @ LineError::Later { .. }) => return Err(refused(error)),
                Err(error) => {
                    unread.get_or_insert(Unread { first: number, count: 0, error }).count += 1;
                }
            }
        }
        match unread {
            Some(Unread { first: line, error, .. }) if journal.entries.is_empty() => {
                Err(JournalError::Line { path: path.to_owned(), line, error })
            }
            None if journal.entries.is_empty() => Err(JournalError::Empty { path: path.to_owned() }),
            unread => {
                journal.entries.extend(unread.map(|unread| unread.gap(&journal.entries, 0)));
                Ok(journal)
            }
        }
    }
}

/// Lines one after the other that cannot be read.
struct Unread {
    first: usize,
    count: usize,
    error: LineError,
}

impl Unread {
    /// What is not known of the time between the last of `before` and `until_us`: never of no length, or it would be no gap.
    fn gap(self, before: &[Entry], until_us: u64) -> Entry {
        let from_us = before.last().map_or(0, |entry| entry.at_us).min(LENGTH_MAX_US - 1);
        let to_us = until_us.max(from_us + 1);
        // The error may quote the line.
        let why: String = self.error.to_string().chars().take(REASON_MAX).collect();
        let reason = GapReason::UnreadJournal { first: self.first, lines: self.count, why };
        Entry { at_us: to_us, source: Source::Runner, record: Record::Gap(Gap { from_us, to_us, reason }) }
    }
}

/// How a line ended.
#[derive(Clone, Copy)]
enum LineEnd {
    Newline,
    /// Without a newline: the writer was killed within it.
    File,
    /// It was passed over beyond the limit.
    TooLong,
    /// There is no line.
    Nothing,
}

/// Reads one line into `line`, no more than `line_max` bytes of it, and passes over the rest.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, line_max: usize) -> io::Result<LineEnd> {
    line.clear();
    input.by_ref().take(line_max as u64 + 1).read_until(b'\n', line)?;
    match line.last() {
        None => return Ok(LineEnd::Nothing),
        Some(b'\n') => return Ok(LineEnd::Newline),
        Some(_) if line.len() <= line_max => return Ok(LineEnd::File),
        Some(_) => {}
    }
    loop {
        let (length, ended) = match input.fill_buf()? {
            [] => return Ok(LineEnd::File),
            more => match more.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (more.len(), false),
            },
        };
        input.consume(length);
        if ended {
            return Ok(LineEnd::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Note;

    fn entry(n: u64) -> Entry {
        let note = Note::new(n, "n".into(), format!("note {n}"));
        Entry { at_us: n, source: Source::Runner, record: Record::Note(note) }
    }

    #[test]
    fn what_was_written_is_read_back_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path()).unwrap();
        for n in 0..10 {
            writer.append(&entry(n)).unwrap();
        }
        writer.sync().unwrap();
        let journal = Journal::read(dir.path()).unwrap();
        assert_eq!(journal.entries, (0..10).map(entry).collect::<Vec<_>>());
        assert!(!journal.truncated);
        assert!(matches!(Writer::create(dir.path()), Err(JournalError::Io { .. })));
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_its_whole_lines() {
        let whole: String = (0..5).map(|n| ndjson::to_line(&entry(n)).unwrap()).collect();
        let path = Path::new("journal.jsonl");
        for cut in 0..whole.len() {
            let lines = whole[..cut].matches('\n').count();
            // A cut just before a newline leaves a whole object.
            let whole_object = whole.as_bytes()[cut] == b'\n';
            match Journal::parse(&whole.as_bytes()[..cut], path) {
                Ok(journal) => {
                    assert_eq!(journal.entries.len(), lines + usize::from(whole_object));
                    let at_boundary = cut > 0 && whole.as_bytes()[cut - 1] == b'\n';
                    assert_eq!(journal.truncated, !at_boundary && !whole_object);
                }
                Err(JournalError::Empty { .. }) => assert_eq!(lines, 0),
                Err(other) => panic!("cut at {cut}: {other}"),
            }
        }
    }

    fn line(n: u64) -> String {
        ndjson::to_line(&entry(n)).unwrap()
    }

    fn parse(text: &str) -> Result<Journal, JournalError> {
        Journal::parse(text.as_bytes(), Path::new("j"))
    }

    fn gap_at(journal: &Journal, index: usize) -> &Gap {
        let Record::Gap(gap) = &journal.entries[index].record else { panic!("{:?}", journal.entries[index]) };
        gap
    }

    #[test]
    fn broken_lines_in_the_middle_are_a_gap_and_the_rest_is_read() {
        let journal = parse(&[&line(10), "{broken\n", "[]\n", &line(20), &line(30)].concat()).unwrap();
        assert_eq!(journal.entries.len(), 4);
        assert_eq!((&journal.entries[0], &journal.entries[2]), (&entry(10), &entry(20)));
        let gap = gap_at(&journal, 1);
        assert_eq!((gap.from_us, gap.to_us), (10, 20));
        let said = gap.reason.to_string();
        assert!(said.starts_with("2 lines of the journal cannot be read, from line 2 on: "), "{said}");
        // At an end and between equal moments there is a gap too.
        for text in [line(7) + "x\n", "x\n".to_owned() + &line(7), line(7) + "x\n" + &line(7)] {
            let journal = parse(&text).unwrap();
            let gaps = journal.entries.iter().filter(|entry| matches!(entry.record, Record::Gap(_)));
            assert_eq!(gaps.count(), 1, "{text}");
        }
        let journal = parse(&(line(7) + &line(u64::MAX))).unwrap();
        let said = gap_at(&journal, 1).reason.to_string();
        assert!(said.ends_with("a moment of the run that is beyond belief"), "{said}");
    }

    #[test]
    fn where_nothing_can_be_read_the_first_line_is_named() {
        let error = parse("\n{broken\nx\n").unwrap_err().to_string();
        assert!(error.starts_with("journal j, line 2: "), "{error}");
        assert!(matches!(parse("\n{broken").unwrap_err(), JournalError::Empty { .. }));
    }

    #[test]
    fn a_journal_of_a_later_version_says_so() {
        for later in [
            r#"{"at_us":0,"source":"runner","record":{"type":"run","v":7,"all":"new"}}"#,
            r#"{"at_us":0,"source":"client","record":{"type":"hello","v":7,"client":{"name":"c"},"instance":"i","at_us":0,"servers":[],"settings":{"op_timeout_ms":1,"load":{"kind":"open","concurrency":1}}}}"#,
        ] {
            let error = parse(&format!("{}{later}\n", line(1))).unwrap_err().to_string();
            let said = "journal j, line 2: version 7 of the records, and this program reads up to 1: take a later one";
            assert_eq!(error, said);
        }
    }

    #[test]
    fn an_endless_line_is_passed_over_and_never_held() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = buffer.len().min(self.0 as usize);
                buffer[..n].fill(b'x');
                self.0 -= n as u64;
                Ok(n)
            }
        }
        let (first, last) = (line(1), line(2));
        let read = |long: u64, after: &str| {
            let input = first.as_bytes().chain(Endless(long)).chain(after.as_bytes());
            Journal::read_lines(BufReader::new(input), Path::new("j"), 1000).unwrap()
        };
        let journal = read(1 << 28, &format!("\n{last}"));
        assert_eq!((journal.entries.len(), &journal.entries[2]), (3, &entry(2)));
        assert!(gap_at(&journal, 1).reason.to_string().contains("a line of more than"));
        assert!(read(1 << 28, "").truncated, "cut within it");
        let mut held = Vec::new();
        let mut input = BufReader::new(Endless(1 << 28));
        assert!(matches!(read_line(&mut input, &mut held, 1000), Ok(LineEnd::File)));
        assert!(held.capacity() <= 4000, "{}", held.capacity());
    }
}
