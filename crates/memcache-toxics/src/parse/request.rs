//! Request lines.

use bytes::Bytes;

use super::{Grammar, first_word, length, words};
use crate::command::Command;

/// Longest line of a command with one key. memcached refuses more than 2 KiB; more is no request.
const LINE_MAX: usize = 8 * 1024;
/// Longest line of a command with many keys.
const KEYS_LINE_MAX: usize = 64 * 1024;

/// Of requests.
pub(crate) const GRAMMAR: Grammar = Grammar {
    begins: |line| match first_word(line) {
        (word, true) => Command::named(word).is_some(),
        (part, false) => Command::may_begin(part),
    },
    line_max: |line| match Command::named(first_word(line).0) {
        Some(command) if command.is_retrieval() => KEYS_LINE_MAX,
        _ => LINE_MAX,
    },
};

/// Does it begin with the whole word of a command?
pub(crate) fn begins_with_command(bytes: &[u8]) -> bool {
    let (word, ended) = first_word(bytes);
    ended && Command::named(word).is_some()
}

/// Will it be answered?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Always,
    /// The meta flag `q`: only what is out of the ordinary.
    Maybe,
    /// `noreply`, `quit`.
    Never,
}

/// A request line.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) command: Command,
    /// Length of the value that follows.
    pub(crate) value: Option<u64>,
    pub(crate) answered: Answered,
    line: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a line; `None`: how the stream goes on behind it cannot be said.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        use Command as C;
        let mut words_of = words(line);
        let command = Command::named(words_of.next()?)?;
        let value = match command {
            C::Set | C::Add | C::Replace | C::Append | C::Prepend | C::Cas => Some(length(words_of.nth(3)?)?),
            C::Ms => Some(length(words_of.nth(1)?)?),
            _ => None,
        };
        let mut request = Self { command, value, answered: Answered::Always, line };
        request.answered = match command {
            C::Quit => Answered::Never,
            _ if command.is_meta() && request.flags().any(|flag| flag.first() == Some(&b'q')) => {
                Answered::Maybe
            }
            _ if command.is_meta() || command.is_retrieval() => Answered::Always,
            _ if words(line).skip(1).last() == Some(b"noreply") => Answered::Never,
            _ => Answered::Always,
        };
        Some(request)
    }

    /// The keys, as they were sent.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        use Command as C;
        let (skip, take) = match self.command {
            C::Get | C::Gets => (1, usize::MAX),
            C::Gat | C::Gats => (2, usize::MAX),
            C::Mn | C::Version | C::Stats | C::FlushAll | C::Verbosity | C::Quit => (0, 0),
            _ => (1, 1),
        };
        words(self.line).skip(skip).take(take)
    }

    /// The flags of a meta request.
    fn flags(&self) -> impl Iterator<Item = &'a [u8]> {
        let skip = match self.command {
            Command::Mg | Command::Md | Command::Ma => 2,
            Command::Ms => 3,
            _ => usize::MAX,
        };
        words(self.line).skip(skip)
    }

    /// What a meta reply echoes of it, with a space before each word: key, opaque, and that the key is encoded.
    pub(crate) fn echo(&self) -> Bytes {
        let mut echo = Vec::new();
        let mut with_key = false;
        for flag in self.flags() {
            match flag.first() {
                Some(b'O' | b'b') => echo.extend([b" ", flag].concat()),
                // Once: a line of many would become megabytes, and memcached refuses them anyway.
                Some(b'k') if !std::mem::replace(&mut with_key, true) => {
                    echo.extend(b" k");
                    echo.extend(self.keys().next().unwrap_or_default());
                }
                _ => {}
            }
        }
        echo.into()
    }
}
