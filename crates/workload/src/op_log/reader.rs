//! Reads an op log, up to where it was cut.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use observation::{OpLogHead, Outcome, json};

use super::form::{BLOCK, Before, END, VERSIONED, unzigzag};
use crate::mix::OpKind;
use crate::trace::OpTrace;

/// Longest head.
const HEAD_BYTES: u64 = 1 << 20;

/// Why a file is no op log.
#[derive(Debug, thiserror::Error)]
pub enum OpLogError {
    /// The file system said no.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It begins with something else.
    #[error("{path} is not an op log: {why}")]
    NotOne {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
}

/// How a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// As its writer meant it.
    Complete {
        /// Ops that the writer could not take.
        dropped: u64,
    },
    /// Cut: the writer was killed, or the disk was full.
    Truncated,
    /// There is something that no writer wrote.
    Damaged(String),
}

/// Gives the ops of a log one by one; after the last, [`OpLogReader::tail`] says how it ends.
pub struct OpLogReader {
    head: OpLogHead,
    kinds: Vec<Option<OpKind>>,
    input: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    before: Before,
    tail: Option<Tail>,
}

impl std::fmt::Debug for OpLogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpLogReader").field("head", &self.head).finish_non_exhaustive()
    }
}

impl OpLogReader {
    /// Opens a log and reads its head.
    pub fn open(path: &Path) -> Result<Self, OpLogError> {
        let io = |error| OpLogError::Io { path: path.to_owned(), error };
        let not_one = |why: String| OpLogError::NotOne { path: path.to_owned(), why };
        let file = File::open(path).map_err(io)?;
        let mut input = BufReader::new(zstd::stream::read::Decoder::new(file).map_err(io)?);
        let mut line = Vec::new();
        let read = input.by_ref().take(HEAD_BYTES).read_until(b'\n', &mut line);
        read.map_err(|error| not_one(format!("its head cannot be read: {error}")))?;
        let head: OpLogHead =
            json::read(&line).map_err(|error| not_one(format!("its head is wrong: {error}")))?;
        if head.format != OpLogHead::FORMAT {
            return Err(not_one(format!("its format is {:?}", head.format)));
        }
        if head.v != OpLogHead::VERSION {
            let known = OpLogHead::VERSION;
            return Err(not_one(format!("its version is {}, and this program reads {known}", head.v)));
        }
        let kind = |name: &String| OpKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kinds = head.ops.iter().map(kind).collect();
        Ok(Self { head, kinds, input, before: Before::default(), tail: None })
    }

    /// Who wrote it.
    pub fn head(&self) -> &OpLogHead {
        &self.head
    }

    /// How it ends; `None` before the last op was read.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    fn read(&mut self) -> io::Result<Option<OpTrace>> {
        loop {
            match self.byte()? {
                BLOCK => self.before = Before::default(),
                END => {
                    let (_written, dropped) = (self.number()?, self.number()?);
                    // Also has the last frame's checksum compared.
                    if self.input.read(&mut [0])? > 0 {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind the end"));
                    }
                    self.tail = Some(Tail::Complete { dropped });
                    return Ok(None);
                }
                first => return self.op(first).map(Some),
            }
        }
    }

    fn op(&mut self, first: u8) -> io::Result<OpTrace> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let kind = self.kinds.get(usize::from(first & !VERSIONED)).copied().flatten();
        let kind = kind.ok_or_else(|| wrong(format!("an op of kind {first}")))?;
        let outcome = self.byte()?;
        let outcome: Option<Outcome> = self.head.outcomes.get(usize::from(outcome)).copied();
        let outcome = outcome.ok_or_else(|| wrong("an outcome that the head does not name".to_owned()))?;
        let intended_us = self.before.intended_us.wrapping_add(unzigzag(self.number()?));
        let lag_us = self.number()?;
        let latency_us = lag_us.saturating_add(self.number()?);
        let key = self.number()?;
        let home = u32::try_from(self.number()?).map_err(|_| wrong("a server beyond all".to_owned()))?;
        let mut version = None;
        if first & VERSIONED != 0 {
            let number = self.before.version.wrapping_add(unzigzag(self.number()?));
            self.before.version = number;
            version = Some(number);
        }
        self.before.intended_us = intended_us;
        Ok(OpTrace { kind, outcome, key, home, server: None, version, intended_us, lag_us, latency_us })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a number of more than 64 bits"))
    }
}

impl Iterator for OpLogReader {
    type Item = OpTrace;

    fn next(&mut self) -> Option<OpTrace> {
        if self.tail.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|error| {
            self.tail = Some(match error.kind() {
                io::ErrorKind::UnexpectedEof => Tail::Truncated,
                _ => Tail::Damaged(error.to_string()),
            });
            None
        })
    }
}
