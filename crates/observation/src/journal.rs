//! The journal: one append-only NDJSON file that holds everything that happened in a run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Record, ndjson};

/// File name of a journal within its run folder.
pub const FILE_NAME: &str = "journal.jsonl";

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// A whole line is not a journal entry.
    #[error("journal {path}, line {line}: {error}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        error: ndjson::LineError,
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
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// The last line was cut (the writer was killed); it is left out.
    pub truncated: bool,
}

impl Journal {
    /// Reads a journal; `path` is the file or its run folder.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes, &path),
            Err(error) => Err(JournalError::Io { path, error }),
        }
    }

    /// Parses the bytes of a journal; `path` is only for messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, JournalError> {
        let mut entries = Vec::new();
        let mut truncated = false;
        for (index, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(entry) => entries.push(entry),
                Err(_) if !line.ends_with(b"\n") => truncated = true,
                Err(error) => {
                    return Err(JournalError::Line {
                        path: path.to_owned(),
                        line: index + 1,
                        error: error.into(),
                    });
                }
            }
        }
        if entries.is_empty() {
            return Err(JournalError::Empty { path: path.to_owned() });
        }
        Ok(Self { entries, truncated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Note;

    fn entry(n: u64) -> Entry {
        let note = Note { at_us: n, code: "n".into(), text: format!("note {n}") };
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

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let text = ndjson::to_line(&entry(1)).unwrap() + "{broken\n" + &ndjson::to_line(&entry(2)).unwrap();
        let error = Journal::parse(text.as_bytes(), Path::new("j")).unwrap_err();
        assert!(error.to_string().starts_with("journal j, line 2: "), "{error}");
    }
}
