//! Values that say whose they are, so that every read can be checked.
//!
//! Layout: `KEY VERSION LENGTH CRC32\n` in ASCII, then filler bytes; LENGTH is that of the whole value in
//! bytes, CRC32 (hex) covers the filler. The filler differs from version to version, so a torn mix of two
//! versions does not pass.

use bytes::{BufMut, Bytes, BytesMut};
use observation::IntegrityKind;

/// A value for `key` of about `length` bytes (longer if the header needs it).
pub fn encode(key: &[u8], version: u64, length: usize) -> Bytes {
    let header_length = |total: usize| key.len() + digits(version) + digits(total as u64) + 8 + 4;
    // The header contains the length, and the length the header: each digit more may need another one.
    let mut total = length;
    while total < header_length(total) {
        total = header_length(total);
    }
    let filler_length = total - header_length(total);
    let mut value = BytesMut::with_capacity(total);
    value.put_bytes(0, header_length(total));
    fill(&mut value, version, filler_length);
    let crc = crc32fast::hash(&value[header_length(total)..]);
    let mut header = &mut value[..];
    for part in [key, b" "] {
        header.put_slice(part);
    }
    header.put_slice(itoa::Buffer::new().format(version).as_bytes());
    header.put_slice(b" ");
    header.put_slice(itoa::Buffer::new().format(total).as_bytes());
    header.put_slice(b" ");
    for shift in (0..8).rev() {
        header.put_u8(b"0123456789abcdef"[(crc >> (shift * 4)) as usize & 15]);
    }
    header.put_u8(b'\n');
    value.freeze()
}

/// What a value says when it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The version that the writer gave.
    pub version: u64,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In which way.
    pub kind: IntegrityKind,
    /// What was expected.
    pub expected: String,
    /// The beginning of what came, escaped.
    pub got: String,
}

/// Bytes of a wrong value that are kept for the report.
const SHOWN_BYTES: usize = 96;

/// Is `value` one that was written for `key`, whole and unchanged?
pub fn verify(key: &[u8], value: &[u8]) -> Result<Verified, Violation> {
    let wrong = |kind, expected: String| {
        let got = value[..value.len().min(SHOWN_BYTES)].escape_ascii().to_string();
        Err(Violation { kind, expected, got: format!("{got} ({} bytes)", value.len()) })
    };
    let foreign = || wrong(IntegrityKind::Foreign, format!("a value of {}", key.escape_ascii()));
    let Some(header_end) = value.iter().take(MAX_HEADER_BYTES).position(|b| *b == b'\n') else {
        return foreign();
    };
    let mut fields = value[..header_end].split(|b| *b == b' ');
    let (Some(owner), Some(version), Some(length), Some(crc), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return foreign();
    };
    let (Some(version), Some(length)) = (number(version), number(length)) else { return foreign() };
    if owner != key {
        return wrong(IntegrityKind::WrongKey, format!("the value of {}", key.escape_ascii()));
    }
    if length != value.len() as u64 {
        return wrong(IntegrityKind::WrongLength, format!("{length} bytes"));
    }
    let expected = format!("{:08x}", crc32fast::hash(&value[header_end + 1..]));
    if crc != expected.as_bytes() {
        return wrong(IntegrityKind::Corrupt, format!("filler with CRC {}", crc.escape_ascii()));
    }
    Ok(Verified { version })
}

/// Longest key, two numbers of 20 digits, CRC and separators.
const MAX_HEADER_BYTES: usize = 250 + 20 + 20 + 8 + 4;

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn digits(n: u64) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Pseudo-random printable-free bytes from the version: SplitMix64, 8 bytes a step.
fn fill(out: &mut BytesMut, version: u64, length: usize) {
    let mut state = version;
    let mut left = length;
    while left > 0 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bytes = (word ^ (word >> 31)).to_le_bytes();
        let n = left.min(bytes.len());
        out.put_slice(&bytes[..n]);
        left -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_verifies_at_every_length() {
        for length in (0..600).chain([4096, 70_000, 99_999, 100_000, 1 << 20]) {
            for version in [0, 9, 10, u64::MAX] {
                let value = encode(b"lg:k:00000017", version, length);
                assert!(value.len() >= length && value.len() <= length.max(300) + 1);
                assert_eq!(verify(b"lg:k:00000017", &value), Ok(Verified { version }));
            }
        }
    }

    #[test]
    fn short_values_of_keys_of_every_length_verify() {
        for key in (1..=250).map(|length| vec![b'k'; length]) {
            for length in 0..=320 {
                for version in [0, 99, 1_764_000_000_000 << 10] {
                    let value = encode(&key, version, length);
                    assert!(value.len() >= length);
                    assert_eq!(verify(&key, &value), Ok(Verified { version }), "{} {length}", key.len());
                }
            }
        }
    }

    #[test]
    fn every_single_changed_byte_and_every_cut_is_found() {
        let value = encode(b"k", 42, 200);
        for at in 0..value.len() {
            let mut changed = value.to_vec();
            changed[at] ^= 1;
            // The version alone may change unseen: it is data, not a checksum.
            if verify(b"k", &changed).is_ok() {
                assert!((2..4).contains(&at), "byte {at}");
            }
            assert!(verify(b"k", &value[..at]).is_err(), "cut at {at}");
        }
        let longer = [&value[..], b"x"].concat();
        assert_eq!(verify(b"k", &longer).unwrap_err().kind, IntegrityKind::WrongLength);
    }

    #[test]
    fn kinds_of_wrong_are_told_apart() {
        let kind = |key: &[u8], value: &[u8]| verify(key, value).unwrap_err().kind;
        let value = encode(b"a", 1, 100);
        assert_eq!(kind(b"b", &value), IntegrityKind::WrongKey);
        assert_eq!(kind(b"a", &value[..99]), IntegrityKind::WrongLength);
        assert_eq!(kind(b"a", b"hello"), IntegrityKind::Foreign);
        assert_eq!(kind(b"a", b""), IntegrityKind::Foreign);
        // The head of one version with the body of another.
        let torn = [&encode(b"a", 1, 100)[..50], &encode(b"a", 2, 100)[50..]].concat();
        assert_eq!(kind(b"a", &torn), IntegrityKind::Corrupt);
    }
}
