//! Replies: bytes of a fuzzer's choice, or whole replies that it has damaged, in pieces of its choice.
//!
//! What is accepted is read again by rules that are written down here a second time, and naively.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Cursor;
use crate::error::Error;
use crate::key::Key;
use crate::op::{LeaseReply, Op, Reply};
use crate::wire::check_header;
use crate::wire::meta::codec::{self, Raw, Rules, Step};

/// A stream that is not longer is fed byte by byte, too.
const BYTEWISE_MAX: usize = 256;

/// A request whose reply is awaited.
struct Asked {
    op: Op,
    opaque: u32,
}

/// Does the server echo its misses?
fn is_strict(asked: &[Asked]) -> bool {
    asked.len() % 2 == 1
}

/// What the caller of one request gets.
#[derive(Debug, PartialEq)]
enum Got {
    Reply(Reply),
    Refused(String),
}

/// How a stream was read.
#[derive(Debug, PartialEq)]
struct Trace {
    /// What each request got, and where its reply ended.
    got: Vec<(Got, usize)>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    /// All requests have their replies; so many bytes are left.
    Answered(usize),
    /// So many bytes are missing at least.
    Need(usize),
    OutOfStep(String),
}

/// Feeds replies to the parser. The input, where each choice is one byte and the digit 0 is the first one:
/// made or given, limit of values, number of requests, first opaque, then an op and a key for each request; number of
/// cuts, then so many sizes; and the bytes of the stream, or choices of what to make and how to damage it.
pub fn reply(data: &[u8]) {
    let mut input = Cursor(data);
    let made = input.pick(2) == 1;
    let value_max = input.one_of([1000, 0, 1, 8192, 8193, 20_000, 1 << 20, 1 << 30]);
    let requests = 1 + input.pick(4);
    let first: u32 = input.one_of([7, 0, u32::MAX, 1_000_000]);
    let asked: Vec<Asked> = (0..requests).map(|n| ask(&mut input, first.wrapping_add(n as u32))).collect();
    let cuts = input.pick(16);
    let cuts: Vec<usize> = input.take(cuts).iter().map(|byte| 1 + usize::from(*byte)).collect();
    let (stream, expected) = match made {
        true => make(&asked, value_max, &mut input),
        false => (input.rest().to_vec(), None),
    };

    second_driver(&stream, value_max);
    let whole = read(&asked, value_max, &[&stream]);
    if let Some(expected) = expected {
        let got: Vec<&Got> = whole.got.iter().map(|(got, _)| got).collect();
        assert_eq!(got, expected.iter().collect::<Vec<_>>(), "{}", stream.escape_ascii());
        assert_eq!(whole.end, End::Answered(0));
    }
    let mut pieces = Vec::new();
    let mut left = &stream[..];
    for cut in cuts {
        let (piece, rest) = left.split_at(cut.min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces.extend(left.chunks(4093));
    assert_eq!(read(&asked, value_max, &pieces), whole, "cut: {}", stream.escape_ascii());
    if stream.len() <= BYTEWISE_MAX {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&asked, value_max, &bytes), whole, "byte by byte: {}", stream.escape_ascii());
    }
}

/// The crate of the second codec allocates what this rule of its own finds in the first line.
fn second_driver(stream: &[u8], value_max: usize) {
    let Some(end) = stream.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(line) = std::str::from_utf8(&stream[..=end]) else { return };
    let refusal = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR", "END"].iter().any(|word| line.starts_with(word));
    let length = line.split(' ').nth(3).and_then(|text| text.trim_end().parse::<usize>().ok());
    if !refusal && check_header(&stream[..end], value_max).is_ok() {
        assert!(length.is_none_or(|length| length <= value_max), "{line:?}");
    }
}

fn ask(input: &mut Cursor<'_>, opaque: u32) -> Asked {
    let kind = input.pick(10);
    let key = input.one_of(["k1", "k", "k12", "a-key:with/~punctuation", LONGEST]);
    let Ok(key) = Key::new(key) else { unreachable!("all keys above are keys") };
    let (value, ttl, time) = (Bytes::new(), None, Duration::from_secs(1));
    let op = match kind {
        2 => Op::Lease { key, lease: time, refresh: None },
        3 => Op::Set { key, value, ttl },
        4 => Op::Add { key, value, ttl },
        5 => Op::Cas { key, value, ttl, token: 1 },
        6 => Op::Delete(key),
        7 => Op::Invalidate { key, stale_for: time },
        8 => Op::Incr { key, delta: 1, initial: None },
        9 => Op::Touch(key, ttl),
        _ => Op::Get(key),
    };
    Asked { op, opaque }
}

/// 250 bytes.
const LONGEST: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    01234567890123456789012345678901234567890123456789";

/// Reads a stream that comes in `pieces`.
fn read(asked: &[Asked], value_max: usize, pieces: &[&[u8]]) -> Trace {
    let rules = Rules { value_max, strict: is_strict(asked) };
    let stream = pieces.concat();
    let (mut input, mut searched) = (BytesMut::new(), 0);
    // Bytes that have come, that were taken, and that must have come before the next reply can be whole.
    let (mut fed, mut taken, mut least) = (0, 0, 0);
    let mut got = Vec::new();
    let mut end = End::Need(1);
    for piece in pieces {
        input.extend_from_slice(piece);
        fed += piece.len();
        loop {
            let Some(asked) = asked.get(got.len()) else {
                end = End::Answered(stream.len() - taken);
                return Trace { got, end };
            };
            let before = input.len();
            let step = match codec::parse(&mut input, &mut searched, asked.op.key(), asked.opaque, rules) {
                Err(error) => {
                    end = End::OutOfStep(format!("{error:?}"));
                    return Trace { got, end };
                }
                Ok(Step::Need(missing)) => {
                    assert!(missing > 0, "nothing is missing, and yet no reply");
                    assert_eq!(input.len(), before, "took a part of a reply");
                    assert!(searched <= input.len());
                    least = fed + missing;
                    end = End::Need(missing);
                    break;
                }
                Ok(step) => step,
            };
            assert!(fed >= least, "whole at {fed} bytes, but {least} were said to be needed");
            assert!(input.len() < before, "a reply of no bytes");
            let begin = taken;
            taken += before - input.len();
            assert_eq!(searched, 0);
            assert_eq!(&input[..], &stream[taken..fed], "the rest of the stream has changed");
            let this = match step {
                Step::Whole(raw) => whole(asked, raw, &stream[begin..taken], value_max),
                step => refused(&step, &stream[begin..taken]),
            };
            got.push((this, taken));
        }
    }
    if got.len() == asked.len() {
        end = End::Answered(stream.len() - taken);
    }
    Trace { got, end }
}

fn refused(step: &Step, bytes: &[u8]) -> Got {
    let Step::ServerError(error) = step else { unreachable!("all other steps are looked at before") };
    assert!(
        bytes.starts_with(b"SERVER_ERROR") && bytes.iter().position(|b| *b == b'\n') == Some(bytes.len() - 1)
    );
    Got::Refused(format!("{error:?}"))
}

/// Judges a reply that was accepted: is it that of `asked`, and does it say what the caller is told?
fn whole(asked: &Asked, raw: Raw, bytes: &[u8], value_max: usize) -> Got {
    let shown = bytes[..bytes.len().min(300)].escape_ascii();
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    assert!(line_end.is_some(), "no line: {shown}");
    let (line, rest) = bytes.split_at(line_end.unwrap_or_default());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    let mut words = text.split(' ');
    let code = words.next().unwrap_or_default();
    let mut value = None;
    if code == "VA" {
        let length = words.next().and_then(|word| word.parse::<usize>().ok());
        assert!(length.is_some_and(|length| length <= value_max), "length: {shown}");
        let length = length.unwrap_or_default();
        assert_eq!(rest.len(), 1 + length + 2, "length: {shown}");
        assert!(rest.ends_with(b"\r\n"), "end: {shown}");
        value = Some(&rest[1..1 + length]);
    } else {
        assert_eq!(rest.len(), 1, "length: {shown}");
        assert!(["HD", "EN", "NF", "NS", "EX"].contains(&code), "code: {shown}");
    }
    let key = asked.op.key().to_string();
    let (mut keys, mut opaques) = (0, 0);
    let flags: Vec<&str> = words.collect();
    for word in &flags {
        if let Some(echo) = word.strip_prefix('k') {
            assert_eq!(echo, key, "key: {shown}");
            keys += 1;
        }
        if let Some(echo) = word.strip_prefix('O') {
            assert_eq!(echo.parse(), Ok(asked.opaque), "opaque: {shown}");
            opaques += 1;
        }
    }
    assert!(!["HD", "VA"].contains(&code) || keys > 0 && opaques > 0, "no echo: {shown}");

    let got = raw.reply(&asked.op).map_or_else(|error| Got::Refused(format!("{error:?}")), Got::Reply);
    let says = match &got {
        Got::Refused(_) => true,
        Got::Reply(reply) => fits(&asked.op, reply, code, &flags, value),
    };
    assert!(says, "{got:?} of {shown}");
    got
}

fn fits(op: &Op, reply: &Reply, code: &str, flags: &[&str], value: Option<&[u8]>) -> bool {
    let writes = matches!(op, Op::Set { .. } | Op::Add { .. } | Op::Cas { .. });
    match reply {
        Reply::Value(got) => matches!(op, Op::Get(_)) && Some(&got[..]) == value,
        Reply::Lease(lease) => {
            let (won, stale, taken) = (flags.contains(&"W"), flags.contains(&"X"), flags.contains(&"Z"));
            let token = flags.iter().rev().find_map(|flag| flag.strip_prefix('c')).unwrap_or_default();
            let digits = token.bytes().all(|byte| byte.is_ascii_digit());
            let value = value.filter(|value| !(value.is_empty() && (won || taken)));
            let wanted = LeaseReply {
                value: value.map(Bytes::copy_from_slice),
                won,
                stale,
                token: token.parse().ok().filter(|_| digits).unwrap_or(0),
            };
            matches!(op, Op::Lease { .. }) && code == "VA" && *lease == wanted
        }
        Reply::Miss => matches!(op, Op::Get(_) | Op::Lease { .. }) && code == "EN",
        Reply::Stored => writes && code == "HD",
        Reply::NotStored => {
            writes && ["NS", "EX"].contains(&code) || matches!(op, Op::Incr { .. }) && code == "NS"
        }
        Reply::Deleted => matches!(op, Op::Delete(_) | Op::Invalidate { .. }) && code == "HD",
        Reply::NotFound => code == "NF" || code == "EN" && matches!(op, Op::Touch(..)),
        Reply::Counter(n) => {
            let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            matches!(op, Op::Incr { .. }) && text.trim().parse() == Ok(*n)
        }
        Reply::Touched => matches!(op, Op::Touch(..)) && code == "HD",
    }
}

/// Makes the replies to `asked`, and what must be read from them unless they are damaged or change their places.
fn make(asked: &[Asked], value_max: usize, input: &mut Cursor<'_>) -> (Vec<u8>, Option<Vec<Got>>) {
    let (mut replies, expected): (Vec<Vec<u8>>, Vec<Got>) =
        asked.iter().map(|one| make_one(one, value_max, is_strict(asked), input)).unzip();
    let turned = input.pick(asked.len());
    replies.rotate_left(turned);
    let mut stream = replies.concat();
    let damages = input.pick(4);
    for _ in 0..damages {
        damage(&mut stream, input);
    }
    (stream, (turned == 0 && damages == 0).then_some(expected))
}

fn make_one(asked: &Asked, value_max: usize, strict: bool, input: &mut Cursor<'_>) -> (Vec<u8>, Got) {
    let (key, opaque) = (asked.op.key(), asked.opaque);
    let shape = input.pick(6);
    let echoes = match input.pick(3) {
        0 => format!(" k{key} O{opaque}"),
        1 => format!(" f0 O{opaque} s12 k{key} t-1"),
        _ => format!(" h1 k{key} l5 O{opaque} k{key}"),
    };
    let bare = input.pick(2) == 1;
    let unless_bare = if bare && !strict { "" } else { &echoes };
    let line = |code: &str, flags: &str| format!("{code}{flags}\r\n").into_bytes();
    let refused = |text: &str| Got::Refused(format!("{:?}", Error::Server(text.into())));
    if shape == 5 {
        return (line("SERVER_ERROR", " out of memory"), refused("out of memory"));
    }
    let none = shape == 1;
    let reply = match &asked.op {
        Op::Get(_) | Op::Lease { .. } if none => {
            return (line("EN", unless_bare), Got::Reply(Reply::Miss));
        }
        Op::Get(_) => {
            let value = value(value_max, input);
            let bytes = with_value(&value, &echoes);
            return (bytes, Got::Reply(Reply::Value(value)));
        }
        Op::Lease { .. } => {
            let value = value(value_max, input);
            let (won, stale, token) = (shape == 2, input.pick(2) == 1, input.number());
            let flags =
                format!("{echoes} c{token}{}{}", if won { " W" } else { "" }, if stale { " X" } else { "" });
            let bytes = with_value(&value, &flags);
            let value = Some(value).filter(|value| !(value.is_empty() && won));
            return (bytes, Got::Reply(Reply::Lease(LeaseReply { value, won, stale, token })));
        }
        Op::Incr { .. } if !none && value_max >= 22 => {
            let n = input.number();
            let spaces = if bare { " " } else { "" };
            return (with_value(format!("{n}{spaces}").as_bytes(), &echoes), Got::Reply(Reply::Counter(n)));
        }
        Op::Cas { .. } | Op::Delete(_) | Op::Invalidate { .. } | Op::Incr { .. } if none => {
            ("NF", Reply::NotFound)
        }
        Op::Touch(..) if none => (if bare { "NF" } else { "EN" }, Reply::NotFound),
        Op::Incr { .. } => ("NS", Reply::NotStored),
        Op::Set { .. } | Op::Add { .. } | Op::Cas { .. } => match shape {
            2 => ("NS", Reply::NotStored),
            3 => ("EX", Reply::NotStored),
            _ => ("HD", Reply::Stored),
        },
        Op::Delete(_) | Op::Invalidate { .. } => ("HD", Reply::Deleted),
        Op::Touch(..) => ("HD", Reply::Touched),
    };
    let flags = if reply.0 == "HD" { &echoes } else { unless_bare };
    (line(reply.0, flags), Got::Reply(reply.1))
}

fn with_value(value: &[u8], flags: &str) -> Vec<u8> {
    let line = format!("VA {}{flags}\r\n", value.len());
    [line.as_bytes(), value, b"\r\n"].concat()
}

/// A value that looks like anything but a value.
fn value(value_max: usize, input: &mut Cursor<'_>) -> Bytes {
    let length = input.one_of([3, 0, 1, 2, 100, 8192, 8193, 20_000]).min(value_max);
    let pattern =
        input.one_of([&b"abc"[..], b"\r\n", b"\n", b"EN\r\n", b"HD kk1 O7\r\n", b"VA 3 kk1 O7\r\n", b"\0"]);
    pattern.iter().copied().cycle().take(length).collect()
}

fn damage(stream: &mut Vec<u8>, input: &mut Cursor<'_>) {
    let kind = input.pick(8);
    let at = input.short() % (stream.len() + 1);
    let byte = input.byte();
    let end = (at + usize::from(byte)).min(stream.len());
    match kind {
        0 => {
            if let Some(hit) = stream.get_mut(at) {
                *hit = byte;
            }
        }
        1 => stream.insert(at, byte),
        2 => drop(stream.drain(at..end)),
        3 => stream.truncate(at),
        4 => {
            let again = stream[at..end].to_vec();
            stream.splice(at..at, again);
        }
        5 => drop(stream.splice(at..at, std::iter::repeat_n(b' ', usize::from(byte) * 64))),
        6 => drop(stream.splice(at..at, b" x".repeat(usize::from(byte) * 32))),
        _ => {
            if let Some(hit) = stream.get_mut(at) {
                *hit ^= 1 << (byte % 8);
            }
        }
    }
}
