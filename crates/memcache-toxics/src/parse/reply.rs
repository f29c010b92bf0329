//! Reply lines, and whether one can be the reply of a request.

use bytes::Bytes;

use super::{Grammar, digits, first_word, length, trimmed, words};
use crate::command::Command;

/// Longest line: `STAT` lines and errors are short, keys are at most 250 bytes.
const LINE_MAX: usize = 8 * 1024;

/// First words of replies; numbers come beside them.
const FIRST: &[&str] = &[
    "VALUE",
    "END",
    "VA",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "ME",
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "RESET",
    "VERSION",
    "STAT",
    "ITEM",
    "PREFIX",
    "ERROR",
    "CLIENT_ERROR",
    "SERVER_ERROR",
];

/// Of replies.
pub(crate) const GRAMMAR: Grammar = Grammar {
    begins: |line| match first_word(line) {
        (word, true) => FIRST.iter().any(|first| first.as_bytes() == word) || digits(word).is_some(),
        (part, false) => {
            FIRST.iter().any(|first| first.as_bytes().starts_with(part))
                || part.iter().all(u8::is_ascii_digit)
        }
    },
    line_max: |_| LINE_MAX,
};

/// A reply line.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    first: &'a [u8],
    line: &'a [u8],
    /// Length of the value that follows.
    pub(crate) value: Option<u64>,
}

/// What a line is to the request that it may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It belongs to another one.
    No,
    /// More lines follow.
    More,
    /// It ends the reply, with its value if it has one.
    Last,
}

impl<'a> Reply<'a> {
    /// Reads a line.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words_of = words(line);
        let first = words_of.next()?;
        let value = match first {
            b"VALUE" => Some(length(words_of.nth(2)?)?),
            b"VA" => Some(length(words_of.next()?)?),
            _ => None,
        };
        Some(Self { first, line, value })
    }

    fn is_error(&self) -> bool {
        matches!(self.first, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR")
    }

    /// The key that it names: of a `VALUE`, or the echo of a meta reply.
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        match self.first {
            b"VALUE" => words(self.line).nth(1),
            _ => self.echoes().find_map(|word| word.strip_prefix(b"k")),
        }
    }

    /// The echoed key and opaque of a meta reply.
    pub(crate) fn echoes(&self) -> impl Iterator<Item = &'a [u8]> {
        let meta = matches!(self.first, b"VA" | b"HD" | b"EN" | b"NF" | b"NS" | b"EX");
        let skip = if meta { 1 } else { usize::MAX };
        words(self.line).skip(skip).filter(|word| matches!(word.first(), Some(b'k' | b'O')))
    }

    /// Does it bring back an opaque, which tells whose it is?
    pub(crate) fn has_opaque(&self) -> bool {
        self.echoes().any(|word| word.starts_with(b"O"))
    }

    /// Is it what `mn` alone is answered with?
    pub(crate) fn is_no_op(&self) -> bool {
        self.first == b"MN"
    }

    /// The line with another length.
    pub(crate) fn with_length(&self, length: u64) -> Option<Bytes> {
        let at = if self.first == b"VALUE" { 3 } else { 1 };
        self.with_word(at, length.to_string().as_bytes())
    }

    /// The line with another key, if it names one: its last byte changed.
    pub(crate) fn with_other_key(&self) -> Option<Bytes> {
        let key = self.key()?;
        let names = |word: &[u8]| word == key || word.strip_prefix(b"k") == Some(key);
        let at = words(self.line).skip(1).position(names)? + 1;
        let mut word = words(self.line).nth(at)?.to_vec();
        let last = word.last_mut()?;
        *last = if *last == b'z' { b'y' } else { b'z' };
        self.with_word(at, &word)
    }

    fn with_word(&self, at: usize, word: &[u8]) -> Option<Bytes> {
        let mut all: Vec<&[u8]> = words(self.line).collect();
        *all.get_mut(at)? = word;
        let end = &self.line[trimmed(self.line).len()..];
        Some([&all.join(&b' ')[..], end].concat().into())
    }

    /// Can it be (a line of) the reply to a command whose echo would be `echo`?
    pub(crate) fn fits(&self, command: Command, quiet: bool, echo: &[u8]) -> Fit {
        use Command as C;
        if self.is_error() {
            // `mn` cannot fail, but there are servers that do not know it.
            return if command == C::Mn && self.first != b"ERROR" { Fit::No } else { Fit::Last };
        }
        let fits = match command {
            C::Get | C::Gets | C::Gat | C::Gats => match self.first {
                b"VALUE" => return Fit::More,
                first => first == b"END",
            },
            C::Stats => match self.first {
                b"STAT" | b"ITEM" | b"PREFIX" => return Fit::More,
                first => matches!(first, b"END" | b"RESET" | b"OK"),
            },
            C::Set | C::Add | C::Replace | C::Append | C::Prepend | C::Cas => {
                matches!(self.first, b"STORED" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND")
            }
            C::Delete => matches!(self.first, b"DELETED" | b"NOT_FOUND"),
            C::Touch => matches!(self.first, b"TOUCHED" | b"NOT_FOUND"),
            C::Incr | C::Decr => self.first == b"NOT_FOUND" || digits(self.first).is_some(),
            // What goes without saying is what quiet requests are not answered with.
            C::Mg if quiet => matches!(self.first, b"VA" | b"HD"),
            C::Ms | C::Md if quiet && self.first == b"HD" => false,
            C::Mg => matches!(self.first, b"VA" | b"HD" | b"EN"),
            C::Ms => matches!(self.first, b"HD" | b"NS" | b"EX" | b"NF"),
            C::Md => matches!(self.first, b"HD" | b"NF" | b"EX"),
            C::Ma => matches!(self.first, b"VA" | b"HD" | b"NF" | b"NS" | b"EX"),
            C::Me => matches!(self.first, b"ME" | b"EN"),
            C::Mn => self.first == b"MN",
            C::Version => self.first == b"VERSION",
            C::FlushAll | C::Verbosity => self.first == b"OK",
            C::Quit => false,
        };
        // What it echoes must have been asked for; a bare miss echoes nothing.
        let echoed = self.echoes().all(|word| words(echo).any(|asked| asked == word));
        if fits && echoed { Fit::Last } else { Fit::No }
    }
}
