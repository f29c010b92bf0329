//! Requests: any key, value, time and token gives exactly one command, and that command says what was asked.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Cursor;
use crate::key::{KEY_MAX, Key, KeyError};
use crate::op::Op;
use crate::wire::meta::codec;

/// Longest line that memcached reads as a command.
const LINE_MAX: usize = 2048;

/// One command as a strict server reads it.
#[derive(Debug)]
struct Command<'a> {
    name: &'a [u8],
    key: &'a [u8],
    /// Letter and argument, sorted.
    flags: Vec<(u8, &'a [u8])>,
    data: Option<&'a [u8]>,
}

/// Encodes ops. The input: op (10 is a multi-get, then its number of keys), opaque, then keys, times and so on.
pub fn request(data: &[u8]) {
    let mut input = Cursor(data);
    let kind = input.pick(10);
    let opaque = input.number() as u32;
    // Whatever is there already stays as it is.
    let before = input.one_of([&b""[..], b"mg k v k O1\r\n", b"ms k 1 T0 k O1\r\n"]);
    let mut out = BytesMut::from(before);
    if kind == 9 {
        let keys: Vec<Key> = (0..1 + input.pick(100)).map_while(|_| key(&mut input)).collect();
        for (n, key) in keys.iter().enumerate() {
            codec::encode_get(key, opaque.wrapping_add(n as u32), &mut out);
        }
        let mut left = after(&out, before);
        for (n, key) in keys.iter().enumerate() {
            let command;
            (command, left) = strict(left);
            expect(&command, "mg", key, &[('v', None)], opaque.wrapping_add(n as u32), None);
        }
        return assert!(left.is_empty(), "more commands than keys: {}", left.escape_ascii());
    }
    let Some(op) = op(kind, &mut input) else { return };
    codec::encode(&op, opaque, &mut out);
    check(&op, opaque, after(&out, before));

    let cap = Duration::from_millis(input.number() >> input.pick(64));
    let capped = op.with_ttl_max(cap);
    out.clear();
    codec::encode(&capped, opaque, &mut out);
    check(&capped, opaque, &out);
    if let Op::Set { ttl, .. } | Op::Add { ttl, .. } | Op::Touch(_, ttl) = &capped {
        assert!(ttl.is_some_and(|ttl| ttl <= cap), "{ttl:?} is more than {cap:?}");
    }
}

fn after<'a>(out: &'a [u8], before: &[u8]) -> &'a [u8] {
    assert!(out.starts_with(before), "what was there has changed");
    &out[before.len()..]
}

fn op(kind: usize, input: &mut Cursor<'_>) -> Option<Op> {
    let key = key(input)?;
    Some(match kind {
        0 => Op::Get(key),
        1 => Op::Lease { key, lease: time(input), refresh: maybe(input) },
        2 => Op::Set { key, value: value(input), ttl: maybe(input) },
        3 => Op::Add { key, value: value(input), ttl: maybe(input) },
        4 => Op::Cas { key, value: value(input), ttl: maybe(input), token: input.number() },
        5 => Op::Delete(key),
        6 => Op::Invalidate { key, stale_for: time(input) },
        7 => {
            let delta = input.number();
            let initial = (input.pick(2) == 1).then(|| (input.number(), maybe(input)));
            Op::Incr { key, delta, initial }
        }
        _ => Op::Touch(key, maybe(input)),
    })
}

/// A key of the bytes at hand; `None` if they are not one, and then that must be right.
fn key(input: &mut Cursor<'_>) -> Option<Key> {
    let way = input.pick(4);
    let length = usize::from(input.byte());
    let bytes: Vec<u8> = match way {
        // As they come.
        0 => input.take(length).to_vec(),
        // Brought into range, so that most are keys.
        1 => input.take(length).iter().map(|byte| 0x21 + byte % 0x5e).collect(),
        // Long ones.
        2 => std::iter::repeat_n(0x21 + input.byte() % 0x5e, length + 1).collect(),
        // One byte in a good key.
        _ => [&b"key"[..], input.take(1), b"end"].concat(),
    };
    let good = (1..=KEY_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    let key = Key::new(bytes.clone());
    assert_eq!(key.is_ok(), good, "{key:?} of {}", bytes.escape_ascii());
    match &key {
        Ok(key) => assert_eq!(key.as_bytes(), bytes),
        Err(KeyError::Empty) => assert!(bytes.is_empty()),
        Err(KeyError::TooLong(length)) => assert_eq!(*length, bytes.len()),
        Err(KeyError::BadByte { at, byte }) => assert_eq!(bytes[*at], *byte),
    }
    key.ok()
}

fn value(input: &mut Cursor<'_>) -> Bytes {
    let times = input.one_of([1, 0, 2, 10, 300]);
    let length = usize::from(input.byte());
    Bytes::from(input.take(length).repeat(times))
}

fn maybe(input: &mut Cursor<'_>) -> Option<Duration> {
    (input.pick(2) == 1).then(|| time(input))
}

fn time(input: &mut Cursor<'_>) -> Duration {
    // Small numbers as often as large ones.
    let seconds = input.number() >> input.pick(64);
    Duration::new(seconds, input.number() as u32 % 1_000_000_000)
}

/// Reads one command; panics on whatever a server could read in another way.
fn strict(bytes: &[u8]) -> (Command<'_>, &[u8]) {
    let line_end = bytes.windows(2).position(|two| two == b"\r\n");
    assert!(line_end.is_some_and(|end| end <= LINE_MAX), "no line: {}", bytes.escape_ascii());
    let (line, rest) = bytes.split_at(line_end.unwrap_or_default());
    let rest = &rest[2..];
    assert!(
        line.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic()),
        "an odd byte: {}",
        line.escape_ascii()
    );
    let mut words = line.split(|byte| *byte == b' ');
    let name = words.next().unwrap_or_default();
    let key = words.next().unwrap_or_default();
    assert!((1..=KEY_MAX).contains(&key.len()));
    let (data, rest) = match name {
        b"ms" => {
            let length = number(words.next().unwrap_or_default()) as usize;
            assert!(rest.len() >= length + 2, "a data block of less than {length}");
            assert_eq!(&rest[length..length + 2], b"\r\n");
            (Some(&rest[..length]), &rest[length + 2..])
        }
        b"mg" | b"md" | b"ma" => (None, rest),
        _ => unreachable!("no such command: {}", line.escape_ascii()),
    };
    let mut flags = Vec::new();
    for word in words {
        assert!(!word.is_empty(), "two spaces: {}", line.escape_ascii());
        flags.push((word[0], &word[1..]));
    }
    flags.sort_unstable();
    assert!(flags.windows(2).all(|two| two[0].0 != two[1].0), "a flag twice: {}", line.escape_ascii());
    (Command { name, key, flags, data }, rest)
}

/// A number as memcached takes it: digits, no leading zero, 64 bits.
fn number(text: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(text);
    let n = text.parse();
    assert_eq!(n.as_ref().map(u64::to_string).as_deref(), Ok(&*text));
    n.unwrap_or_default()
}

fn check(op: &Op, opaque: u32, bytes: &[u8]) {
    let (command, left) = strict(bytes);
    assert!(left.is_empty(), "a second command: {}", left.escape_ascii());
    let exptime = |ttl: &Option<Duration>| Some(ttl.map_or(0, seconds));
    let (name, flags, data) = match op {
        Op::Get(_) => ("mg", vec![('v', None)], None),
        Op::Lease { lease, refresh, .. } => {
            let mut flags = vec![('v', None), ('c', None), ('N', Some(seconds(*lease)))];
            flags.extend(refresh.map(|refresh| ('R', Some(seconds(refresh)))));
            ("mg", flags, None)
        }
        Op::Set { value, ttl, .. } => ("ms", vec![('T', exptime(ttl))], Some(value)),
        Op::Add { value, ttl, .. } => {
            assert!(command.flags.contains(&(b'M', &b"E"[..])));
            ("ms", vec![('T', exptime(ttl))], Some(value))
        }
        Op::Cas { value, ttl, token, .. } => {
            ("ms", vec![('T', exptime(ttl)), ('C', Some(*token))], Some(value))
        }
        Op::Delete(_) => ("md", vec![], None),
        Op::Invalidate { stale_for, .. } => ("md", vec![('I', None), ('T', Some(seconds(*stale_for)))], None),
        Op::Incr { delta, initial, .. } => {
            let mut flags = vec![('v', None), ('D', Some(*delta))];
            if let Some((value, ttl)) = initial {
                flags.extend([('J', Some(*value)), ('N', exptime(ttl))]);
            }
            ("ma", flags, None)
        }
        Op::Touch(_, ttl) => ("mg", vec![('T', exptime(ttl))], None),
    };
    expect(&command, name, op.key(), &flags, opaque, data.map(|data| &data[..]));
}

/// Has `command` these flags, the echoes, and no others?
fn expect(
    command: &Command<'_>,
    name: &str,
    key: &Key,
    flags: &[(char, Option<u64>)],
    opaque: u32,
    data: Option<&[u8]>,
) {
    assert_eq!((command.name, command.key), (name.as_bytes(), key.as_bytes()));
    assert_eq!(command.data, data);
    let got: Vec<(char, Option<u64>)> = command
        .flags
        .iter()
        .filter(|flag| **flag != (b'M', &b"E"[..]))
        .map(|(letter, text)| (char::from(*letter), (!text.is_empty()).then(|| number(text))))
        .collect();
    let mut wanted = [flags, &[('k', None), ('O', Some(opaque.into()))]].concat();
    wanted.sort_unstable();
    assert_eq!(got, wanted, "{command:?}");
}

/// Whole seconds, rounded up; at least one and at most 30 days.
fn seconds(time: Duration) -> u64 {
    let rounded = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    rounded.clamp(1, 30 * 24 * 3600)
}
