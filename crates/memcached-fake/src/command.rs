//! Cuts a connection's bytes into commands.

use bytes::{Buf, Bytes, BytesMut};

use crate::store::VALUE_MAX;

/// Longest command line, as memcached's.
const LINE_MAX: usize = 2048;
/// Longest key.
pub(crate) const KEY_MAX: usize = 250;

/// One command: its words, and its data block if it has one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) words: Vec<Bytes>,
    pub(crate) data: Option<Bytes>,
}

impl Command {
    /// Its first word.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        self.words.first().map(|word| &word[..])
    }

    /// The keys it is about.
    pub(crate) fn keys(&self) -> &[Bytes] {
        let keys = match self.name() {
            Some(b"get" | b"gets") => self.words.get(1..),
            None | Some(b"mn" | b"version" | b"verbosity" | b"flush_all" | b"quit") => None,
            Some(_) => self.words.get(1..2),
        };
        keys.unwrap_or_default()
    }
}

/// What the buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not a whole command yet.
    More,
    Command(Command),
    /// To be answered with this line; the stream stays in step.
    Bad(&'static str),
    /// To be answered with this line, then closed.
    Fatal(&'static str),
}

/// Takes the next command off the buffer.
pub(crate) fn parse(buffer: &mut BytesMut) -> Parsed {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        return if buffer.len() > LINE_MAX { Parsed::Fatal("ERROR line too long") } else { Parsed::More };
    };
    let line = &buffer[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<Bytes> = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .map(Bytes::copy_from_slice)
        .collect();
    let data_length = match data_length(&words) {
        Ok(None) => {
            buffer.advance(end + 1);
            return Parsed::Command(Command { words, data: None });
        }
        Ok(Some(length)) => length,
        Err(reply) => {
            buffer.advance(end + 1);
            return Parsed::Bad(reply);
        }
    };
    if data_length > VALUE_MAX {
        return Parsed::Fatal("SERVER_ERROR object too large for cache");
    }
    if buffer.len() < end + 1 + data_length + 2 {
        return Parsed::More;
    }
    buffer.advance(end + 1);
    let data = buffer.split_to(data_length).freeze();
    if &buffer[..2] != b"\r\n" {
        return Parsed::Fatal("CLIENT_ERROR bad data chunk");
    }
    buffer.advance(2);
    Parsed::Command(Command { words, data: Some(data) })
}

fn data_length(words: &[Bytes]) -> Result<Option<usize>, &'static str> {
    let at = match words.first().map(|word| &word[..]) {
        Some(b"set" | b"add" | b"replace" | b"append" | b"prepend") => 4,
        Some(b"ms") => 2,
        _ => return Ok(None),
    };
    let length = words.get(at).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    length.map(Some).ok_or("CLIENT_ERROR bad data chunk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_come_in_any_pieces() {
        let bytes = b"set k 0 0 3\r\nabc\r\nget k\r\n";
        for cut in 0..18 {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            assert_eq!(parse(&mut buffer), Parsed::More, "{cut}");
            buffer.extend_from_slice(&bytes[cut..]);
            let Parsed::Command(command) = parse(&mut buffer) else { panic!() };
            assert_eq!((command.words.len(), command.data.as_deref()), (5, Some(&b"abc"[..])));
            let Parsed::Command(command) = parse(&mut buffer) else { panic!() };
            assert_eq!(command.words, ["get", "k"]);
        }
    }

    #[test]
    fn endless_lines_and_lying_lengths_end_the_connection() {
        assert!(matches!(parse(&mut BytesMut::from(&vec![b'x'; 3000][..])), Parsed::Fatal(_)));
        assert!(matches!(parse(&mut BytesMut::from(&b"ms k 99999999\r\n"[..])), Parsed::Fatal(_)));
        assert!(matches!(parse(&mut BytesMut::from(&b"ms k 1\r\nabc\r\n"[..])), Parsed::Fatal(_)));
        assert!(matches!(parse(&mut BytesMut::from(&b"ms k x\r\n"[..])), Parsed::Bad(_)));
    }
}
