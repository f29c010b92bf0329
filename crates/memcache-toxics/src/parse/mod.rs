//! Cuts the bytes of one direction into lines and values, in whatever pieces they come. Values are handed through, never
//! collected; the only bytes that are kept are those of a line whose end has not come yet.

pub(crate) mod reply;
pub(crate) mod request;

use bytes::{Bytes, BytesMut};

/// Longest value; memcached takes none above it, whatever its settings.
pub(crate) const VALUE_MAX: u64 = 1 << 30;

/// Why the bytes are no longer understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A line is longer than any that memcached takes or sends.
    LineTooLong,
    /// A line that is no known request or reply: another protocol, or a wrong place to begin.
    Unknown,
    /// No line end behind a value.
    BadValueEnd,
    /// A reply that none of the requests can have.
    Unasked,
    /// Too many requests without a reply.
    TooMany,
}

/// One piece of the stream, with every byte of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole line with its end.
    Line(Bytes),
    /// Some bytes of a value.
    Value(Bytes),
    /// The line end behind a value.
    End(Bytes),
}

#[derive(Debug)]
enum FramerState {
    Line,
    Value(u64),
    End,
}

/// What the lines of one direction look like.
#[derive(Debug)]
pub(crate) struct Grammar {
    /// May a line begin so? Asked before its end has come.
    pub(crate) begins: fn(&[u8]) -> bool,
    /// How long a line that begins so may be.
    pub(crate) line_max: fn(&[u8]) -> usize,
}

/// Cuts one direction.
#[derive(Debug)]
pub(crate) struct Framer {
    grammar: &'static Grammar,
    state: FramerState,
    /// A line without its end, or the first byte of the end of a value.
    partial: BytesMut,
}

impl Framer {
    pub(crate) fn new(grammar: &'static Grammar) -> Self {
        Self { grammar, state: FramerState::Line, partial: BytesMut::new() }
    }

    /// A value follows the line just taken.
    pub(crate) fn expect_value(&mut self, length: u64) {
        self.state = if length == 0 { FramerState::End } else { FramerState::Value(length) };
    }

    /// Takes the next piece off `input`; `None`: more bytes are needed. After an error what was not handed out is in
    /// [`Framer::take_partial`] and `input`.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Frame>, Why> {
        if input.is_empty() {
            return Ok(None);
        }
        match self.state {
            FramerState::Line => self.line(input),
            FramerState::Value(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - here as u64;
                self.state = if left == 0 { FramerState::End } else { FramerState::Value(left) };
                Ok(Some(Frame::Value(input.split_to(here))))
            }
            FramerState::End => {
                let wanted = &b"\r\n"[self.partial.len()..];
                let here = wanted.len().min(input.len());
                if input[..here] != wanted[..here] {
                    return Err(Why::BadValueEnd);
                }
                let end = self.joined(input.split_to(here));
                if end.len() < 2 {
                    self.put_back(&end);
                    return Ok(None);
                }
                self.state = FramerState::Line;
                Ok(Some(Frame::End(end)))
            }
        }
    }

    fn line(&mut self, input: &mut Bytes) -> Result<Option<Frame>, Why> {
        let Some(at) = memchr::memchr(b'\n', input) else {
            self.partial.extend_from_slice(&input.split_to(input.len()));
            return self.judge(&self.partial).map(|()| None);
        };
        let line = self.joined(input.split_to(at + 1));
        if let Err(why) = self.judge(&line) {
            self.put_back(&line);
            return Err(why);
        }
        Ok(Some(Frame::Line(line)))
    }

    fn judge(&self, line: &[u8]) -> Result<(), Why> {
        match line {
            _ if !(self.grammar.begins)(line) => Err(Why::Unknown),
            _ if line.len() > (self.grammar.line_max)(line) => Err(Why::LineTooLong),
            _ => Ok(()),
        }
    }

    /// What was kept, and `more` behind it.
    fn joined(&mut self, more: Bytes) -> Bytes {
        if self.partial.is_empty() {
            return more;
        }
        self.partial.extend_from_slice(&more);
        self.take_partial()
    }

    /// A line that was handed out is not understood: it counts as kept again.
    pub(crate) fn put_back(&mut self, line: &[u8]) {
        self.partial = BytesMut::from(line);
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn kept(&self) -> usize {
        self.partial.len()
    }

    /// What is kept, to be passed on as it is.
    pub(crate) fn take_partial(&mut self) -> Bytes {
        std::mem::take(&mut self.partial).freeze()
    }
}

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    trimmed(line).split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// A line without its end.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A number of digits alone.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A value's length.
pub(crate) fn length(text: &[u8]) -> Option<u64> {
    digits(text).filter(|length| *length <= VALUE_MAX)
}

/// The first word so far, and whether it has ended.
fn first_word(line: &[u8]) -> (&[u8], bool) {
    match memchr::memchr3(b' ', b'\r', b'\n', line) {
        Some(end) => (&line[..end], true),
        None => (line, false),
    }
}

#[cfg(test)]
mod tests;
