//! Bytes ↔ ops, without I/O: memcached's meta commands. Every request carries an opaque number and asks for its key to
//! be echoed; a reply that brings others back belongs to somebody else. (Some versions send misses without the echoes;
//! there the order of the connection has to do. A server that has echoed them once is held to it.)

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Error, ProtocolError};
use crate::key::Key;
use crate::op::{LeaseReply, Op, Reply};

/// Longest reply line: the longest key, flags and numbers fit many times.
const LINE_MAX: usize = 8 * 1024;
/// Values up to this many bytes are copied out, so that the input buffer keeps its memory; longer ones are cut off it.
const COPIED: usize = 8 * 1024;
/// Bytes of a strange reply that are kept for the error.
const SHOWN: usize = 64;

/// Appends the request for `op` to `out`.
pub(crate) fn encode(op: &Op, opaque: u32, out: &mut BytesMut) {
    match op {
        Op::Get(key) => encode_get(key, opaque, out),
        Op::Lease { key, lease, refresh } => {
            begin(b"mg", key, out);
            number(b" v c N", seconds(*lease).into(), out);
            if let Some(refresh) = refresh {
                number(b" R", seconds(*refresh).into(), out);
            }
            end(opaque, out);
        }
        Op::Set { key, value, ttl } => store(key, value, *ttl, b"", opaque, out),
        Op::Add { key, value, ttl } => store(key, value, *ttl, b" ME", opaque, out),
        Op::Cas { key, value, ttl, token } => {
            let mut mode = [b' '; 22];
            mode[1] = b'C';
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(*token).as_bytes();
            mode[2..2 + digits.len()].copy_from_slice(digits);
            store(key, value, *ttl, &mode[..2 + digits.len()], opaque, out);
        }
        Op::Delete(key) => {
            begin(b"md", key, out);
            end(opaque, out);
        }
        Op::Invalidate { key, stale_for } => {
            begin(b"md", key, out);
            number(b" I T", seconds(*stale_for).into(), out);
            end(opaque, out);
        }
        Op::Incr { key, delta, initial } => {
            begin(b"ma", key, out);
            number(b" v D", *delta, out);
            if let Some((value, ttl)) = initial {
                number(b" N", exptime(*ttl).into(), out);
                number(b" J", *value, out);
            }
            end(opaque, out);
        }
        Op::Touch(key, ttl) => {
            begin(b"mg", key, out);
            number(b" T", exptime(*ttl).into(), out);
            end(opaque, out);
        }
    }
}

/// Appends a read of one key.
pub(crate) fn encode_get(key: &Key, opaque: u32, out: &mut BytesMut) {
    begin(b"mg", key, out);
    out.put_slice(b" v");
    end(opaque, out);
}

fn begin(command: &[u8; 2], key: &Key, out: &mut BytesMut) {
    out.put_slice(command);
    out.put_u8(b' ');
    out.put_slice(key.as_bytes());
}

fn number(flag: &[u8], n: u64, out: &mut BytesMut) {
    out.put_slice(flag);
    out.put_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Ends a request line with the flags that every request has: echo key and opaque.
fn end(opaque: u32, out: &mut BytesMut) {
    number(b" k O", opaque.into(), out);
    out.put_slice(b"\r\n");
}

fn store(key: &Key, value: &[u8], ttl: Option<Duration>, mode: &[u8], opaque: u32, out: &mut BytesMut) {
    out.reserve(value.len() + key.as_bytes().len() + 80);
    begin(b"ms", key, out);
    number(b" ", value.len() as u64, out);
    number(b" T", exptime(ttl).into(), out);
    out.put_slice(mode);
    end(opaque, out);
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// memcached's expiry in seconds: 0 is for ever, a fraction is rounded up so that it does not become for ever, and
/// beyond 30 days it would be read as a Unix time.
pub(crate) fn exptime(ttl: Option<Duration>) -> u32 {
    ttl.map_or(0, seconds)
}

fn seconds(time: Duration) -> u32 {
    const THIRTY_DAYS: u128 = 30 * 24 * 3600;
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000).clamp(1, THIRTY_DAYS)).unwrap_or(u32::MAX)
}

/// What the first word of a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Va,
    Hd,
    En,
    Nf,
    Ns,
    Ex,
}

/// What a reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Longest value, bytes.
    pub(crate) value_max: usize,
    /// Misses and refusals must carry the echoes too.
    pub(crate) strict: bool,
}

/// A whole reply that is that of its request.
#[derive(Debug)]
pub(crate) struct Raw {
    code: Code,
    value: Option<Bytes>,
    cas: u64,
    won: bool,
    stale: bool,
    taken: bool,
    pub(crate) echoes: Echoes,
}

/// What a reply tells of how its server sends misses and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echoes {
    /// Nothing: it is neither.
    Found,
    /// Without key and opaque.
    BareMiss,
    /// With both.
    EchoedMiss,
}

/// What the input holds.
#[derive(Debug)]
pub(crate) enum Step {
    /// Not a whole reply yet; at least so many bytes are missing.
    Need(usize),
    /// One reply, taken off the input.
    Whole(Raw),
    /// The server's own words: a whole reply too, the stream stays in step.
    ServerError(Error),
}

/// Takes the next reply off `input`. `searched` is for the caller to keep between calls of one reply (it starts at 0):
/// the bytes that have no line end. An error means that the stream is out of step.
pub(crate) fn parse(
    input: &mut BytesMut,
    searched: &mut usize,
    key: &Key,
    opaque: u32,
    rules: Rules,
) -> Result<Step, Error> {
    let Some(at) = memchr::memchr(b'\n', &input[(*searched).min(input.len())..]) else {
        *searched = input.len();
        return if input.len() > LINE_MAX {
            Err(ProtocolError::LineTooLong(LINE_MAX).into())
        } else {
            Ok(Step::Need(1))
        };
    };
    let line_end = *searched + at;
    // Whether the line end came with the rest or later must not matter.
    if line_end > LINE_MAX {
        return Err(ProtocolError::LineTooLong(LINE_MAX).into());
    }
    let line = &input[..line_end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (code, rest) = match line {
        [b'V', b'A', b' ', rest @ ..] => (Code::Va, rest),
        [b'H', b'D', rest @ ..] => (Code::Hd, rest),
        [b'E', b'N', rest @ ..] => (Code::En, rest),
        [b'N', b'F', rest @ ..] => (Code::Nf, rest),
        [b'N', b'S', rest @ ..] => (Code::Ns, rest),
        [b'E', b'X', rest @ ..] => (Code::Ex, rest),
        _ => return strange(input, line_end, searched),
    };
    let (length, flags) = match code {
        Code::Va => {
            let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
            (Some(length(&rest[..end], rules.value_max)?), &rest[end..])
        }
        _ if rest.first().is_none_or(|byte| *byte == b' ') => (None, rest),
        _ => return strange(input, line_end, searched),
    };
    let whole = line_end + 1 + length.map_or(0, |length| length + 2);
    if input.len() < whole {
        // The line is searched again with the next bytes; values are few and lines are short.
        return Ok(Step::Need(whole - input.len()));
    }
    let mut raw = Raw::new(code, None);
    raw.read_flags(flags, line, key, opaque, rules.strict)?;
    *searched = 0;
    if let Some(length) = length {
        let begin = line_end + 1;
        if &input[begin + length..whole] != b"\r\n" {
            return Err(ProtocolError::BadValueEnd.into());
        }
        if length <= COPIED {
            raw.value = Some(Bytes::copy_from_slice(&input[begin..begin + length]));
        } else {
            input.advance(begin);
            raw.value = Some(input.split_to(length).freeze());
            input.advance(2);
            return Ok(Step::Whole(raw));
        }
    }
    input.advance(whole);
    Ok(Step::Whole(raw))
}

/// A line that no request asks for.
fn strange(input: &mut BytesMut, line_end: usize, searched: &mut usize) -> Result<Step, Error> {
    let line = input[..line_end].trim_ascii_end();
    if let Some(text) = line.strip_prefix(b"SERVER_ERROR") {
        let error = Error::Server(shown(text.trim_ascii()).into());
        input.advance(line_end + 1);
        *searched = 0;
        return Ok(Step::ServerError(error));
    }
    if line.starts_with(b"ERROR Too many open connections") {
        return Err(Error::TooManyConnections);
    }
    Err(ProtocolError::Unexpected(shown(line)).into())
}

fn length(text: &[u8], value_max: usize) -> Result<usize, Error> {
    match atoi(text) {
        Some(length) if length <= value_max as u64 => Ok(length as usize),
        _ => Err(ProtocolError::BadLength { got: shown(text), limit: value_max }.into()),
    }
}

/// A number of digits alone, without sign or space.
fn atoi(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(digit.into())
    })
}

impl Raw {
    fn new(code: Code, value: Option<Bytes>) -> Self {
        Self { code, value, cas: 0, won: false, stale: false, taken: false, echoes: Echoes::Found }
    }

    /// Compares the echoed `k` and `O` flags. `HD` and `VA` must carry both; `EN`, `NF`, `NS` and `EX` may be bare
    /// unless the rules are strict.
    fn read_flags(
        &mut self,
        mut flags: &[u8],
        line: &[u8],
        key: &Key,
        opaque: u32,
        strict: bool,
    ) -> Result<(), Error> {
        let (mut saw_key, mut saw_opaque) = (false, false);
        while let Some((b' ', rest)) = flags.split_first() {
            let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
            match rest[..end].split_first() {
                Some((b'k', got)) => {
                    saw_key = true;
                    if got != key.as_bytes() {
                        return Err(desync("key", key.to_string(), got));
                    }
                }
                Some((b'O', got)) => {
                    saw_opaque = true;
                    if atoi(got) != Some(opaque.into()) {
                        return Err(desync("opaque", opaque.to_string(), got));
                    }
                }
                Some((b'c', got)) => self.cas = atoi(got).unwrap_or(0),
                Some((b'W', [])) => self.won = true,
                Some((b'X', [])) => self.stale = true,
                Some((b'Z', [])) => self.taken = true,
                _ => {}
            }
            flags = &rest[end..];
        }
        let found = matches!(self.code, Code::Hd | Code::Va);
        let echoed = saw_key && saw_opaque;
        self.echoes = match (found, echoed) {
            (true, _) => Echoes::Found,
            (false, true) => Echoes::EchoedMiss,
            (false, false) => Echoes::BareMiss,
        };
        if (found || strict) && !echoed {
            return Err(desync("key and opaque", format!("{key} {opaque}"), line));
        }
        Ok(())
    }

    fn unexpected(&self) -> Error {
        ProtocolError::Unexpected(format!("{:?}", self.code).to_uppercase()).into()
    }

    /// What the reply means for `op`.
    pub(crate) fn reply(self, op: &Op) -> Result<Reply, Error> {
        match (op, self.code, &self.value) {
            (Op::Get(_), Code::Va, Some(_)) => Ok(self.value.map_or(Reply::Miss, Reply::Value)),
            (Op::Lease { .. }, Code::Va, Some(_)) => Ok(Reply::Lease(self.lease())),
            (Op::Get(_) | Op::Lease { .. }, Code::En, None) => Ok(Reply::Miss),
            (Op::Set { .. } | Op::Add { .. } | Op::Cas { .. }, Code::Hd, None) => Ok(Reply::Stored),
            (Op::Set { .. } | Op::Add { .. } | Op::Cas { .. }, Code::Ns | Code::Ex, None) => {
                Ok(Reply::NotStored)
            }
            (Op::Cas { .. }, Code::Nf, None) => Ok(Reply::NotFound),
            (Op::Delete(_) | Op::Invalidate { .. }, Code::Hd, None) => Ok(Reply::Deleted),
            (Op::Touch(..), Code::Hd, None) => Ok(Reply::Touched),
            (Op::Delete(_) | Op::Invalidate { .. } | Op::Incr { .. }, Code::Nf, None)
            | (Op::Touch(..), Code::En | Code::Nf, None) => Ok(Reply::NotFound),
            (Op::Incr { .. }, Code::Ns, None) => Ok(Reply::NotStored),
            (Op::Incr { .. }, Code::Va, Some(value)) => {
                atoi(value.trim_ascii()).map(Reply::Counter).ok_or_else(|| self.unexpected())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn lease(self) -> LeaseReply {
        // An item that was only made to hold the lease has no bytes.
        let value = self.value.filter(|value| !(value.is_empty() && (self.won || self.taken)));
        LeaseReply { value, won: self.won, stale: self.stale, token: self.cas }
    }
}

fn desync(what: &'static str, expected: String, got: &[u8]) -> Error {
    ProtocolError::Desync { what, expected, got: shown(got) }.into()
}

/// The beginning of some bytes, for people.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("k1").unwrap()
    }

    fn ask(op: &Op) -> String {
        let mut out = BytesMut::new();
        encode(op, 7, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// Feeds `bytes` in pieces of `chunk`.
    fn answer(op: &Op, bytes: &[u8], chunk: usize) -> Option<Result<Reply, Error>> {
        let (mut input, mut searched) = (BytesMut::new(), 0);
        for piece in bytes.chunks(chunk) {
            input.extend_from_slice(piece);
            match parse(&mut input, &mut searched, op.key(), 7, Rules { value_max: 1000, strict: false }) {
                Ok(Step::Need(n)) => assert!(n > 0),
                Ok(Step::Whole(raw)) => return Some(raw.reply(op)),
                Ok(Step::ServerError(error)) | Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    #[test]
    fn requests_are_what_memcached_reads() {
        let (key, second) = (key(), Some(Duration::from_secs(1)));
        assert_eq!(ask(&Op::Get(key.clone())), "mg k1 v k O7\r\n");
        assert_eq!(ask(&Op::Delete(key.clone())), "md k1 k O7\r\n");
        let value = Bytes::from_static(b"ab");
        let set = Op::Set { key: key.clone(), value: value.clone(), ttl: second };
        assert_eq!(ask(&set), "ms k1 2 T1 k O7\r\nab\r\n");
        let cas = Op::Cas { key: key.clone(), value, ttl: None, token: u64::MAX };
        assert_eq!(ask(&cas), "ms k1 2 T0 C18446744073709551615 k O7\r\nab\r\n");
        let lease = Op::Lease { key: key.clone(), lease: Duration::from_secs(9), refresh: second };
        assert_eq!(ask(&lease), "mg k1 v c N9 R1 k O7\r\n");
        let incr = Op::Incr { key, delta: 2, initial: Some((5, None)) };
        assert_eq!(ask(&incr), "ma k1 v D2 N0 J5 k O7\r\n");
    }

    #[test]
    fn replies_may_come_in_any_pieces() {
        for chunk in 1..20 {
            let get = Op::Get(key());
            let got = answer(&get, b"VA 3 kk1 O7\r\na\nb\r\n", chunk).unwrap().unwrap();
            assert_eq!(got, Reply::Value(Bytes::from_static(b"a\nb")));
            assert_eq!(answer(&get, b"EN\r\n", chunk).unwrap().unwrap(), Reply::Miss);
            let lease = Op::Lease { key: key(), lease: Duration::from_secs(1), refresh: None };
            let Reply::Lease(got) = answer(&lease, b"VA 0 c12 W kk1 O7\r\n\r\n", chunk).unwrap().unwrap()
            else {
                panic!()
            };
            assert_eq!(got, LeaseReply { value: None, won: true, stale: false, token: 12 });
        }
    }

    #[test]
    fn what_is_not_the_reply_is_refused() {
        let get = Op::Get(key());
        for bad in [
            "VA 3 kk2 O7\r\nabc\r\n",
            "VA 3 kk1 O8\r\nabc\r\n",
            "VA 3 O7\r\nabc\r\n",
            "VA 3 kk1\r\nabc\r\n",
            "VA 1001 kk1 O7\r\n",
            "VA -1 kk1 O7\r\n",
            "VA 99999999999999999999 kk1 O7\r\n",
            "VA 2 kk1 O7\r\nabc\r\n",
            "HD kk1 O7\r\n",
            "NF kk1 O7\r\n",
            "HDX\r\n",
            "EN kother\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
        ] {
            let ended = answer(&get, bad.as_bytes(), 5);
            assert!(matches!(ended, Some(Err(Error::Protocol(_)))), "{bad:?}: {ended:?}");
        }
        assert!(matches!(answer(&get, b"SERVER_ERROR busy\r\n", 5), Some(Err(Error::Server(_)))));
        let full = answer(&get, b"ERROR Too many open connections\r\n", 64);
        assert!(matches!(full, Some(Err(Error::TooManyConnections))));
        assert!(matches!(answer(&get, &[b'x'; 9000], 512), Some(Err(Error::Protocol(_)))));
    }

    #[test]
    fn a_server_that_echoes_misses_is_held_to_it() {
        let rules = Rules { value_max: 10, strict: true };
        let step = |bytes: &[u8]| parse(&mut BytesMut::from(bytes), &mut 0, &key(), 7, rules);
        assert!(matches!(step(b"EN kk1 O7\r\n"), Ok(Step::Whole(raw)) if raw.echoes == Echoes::EchoedMiss));
        for bare in ["EN\r\n", "NF\r\n", "EN O7\r\n", "EN kk1\r\n"] {
            assert!(
                matches!(step(bare.as_bytes()), Err(Error::Protocol(ProtocolError::Desync { .. }))),
                "{bare}"
            );
        }
    }

    #[test]
    fn a_line_is_too_long_in_any_pieces() {
        let get = Op::Get(key());
        for length in [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 2 * LINE_MAX] {
            let reply = format!("{:1$}\r\nabc\r\n", "VA 3 kk1 O7", length - "\r".len());
            for chunk in [1, 100, LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, LINE_MAX + 2, 3 * LINE_MAX] {
                let ended = answer(&get, reply.as_bytes(), chunk).unwrap();
                assert_eq!(ended.is_ok(), length <= LINE_MAX, "{length} in pieces of {chunk}: {ended:?}");
            }
        }
    }

    #[test]
    fn a_short_life_is_not_for_ever() {
        assert_eq!(exptime(None), 0);
        assert_eq!(exptime(Some(Duration::ZERO)), 1);
        assert_eq!(exptime(Some(Duration::from_millis(1_001))), 2);
        assert_eq!(exptime(Some(Duration::new(1, 1))), 2);
        assert_eq!(exptime(Some(Duration::from_secs(u64::MAX))), 2_592_000);
    }
}
