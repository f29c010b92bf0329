//! Keys that cannot carry a command.

use std::fmt;

use smol_str::SmolStr;

/// Longest key in bytes that memcached accepts.
pub const KEY_MAX: usize = 250;

/// A key of 1-250 bytes of 0x21..=0x7e: no space, no control byte, nothing that could end a command. Cheap to clone: up to
/// 23 bytes lie in the key itself, longer ones are shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmolStr);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes at all.
    #[error("a key has at least one byte")]
    Empty,
    /// More than [`KEY_MAX`] bytes.
    #[error("a key has at most {KEY_MAX} bytes, not {0}")]
    TooLong(usize),
    /// A byte outside 0x21..=0x7e.
    #[error("byte {at} of the key is 0x{byte:02x}; only 0x21 to 0x7e are allowed")]
    BadByte {
        /// Its position, from 0.
        at: usize,
        /// Its value.
        byte: u8,
    },
}

impl Key {
    /// Checks and copies `bytes`.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let bytes = bytes.as_ref();
        match bytes.len() {
            0 => return Err(KeyError::Empty),
            1..=KEY_MAX => {}
            long => return Err(KeyError::TooLong(long)),
        }
        match bytes.iter().position(|byte| !(0x21..=0x7e).contains(byte)) {
            Some(at) => Err(KeyError::BadByte { at, byte: bytes[at] }),
            // ASCII by now: nothing is lost.
            None => Ok(Self(SmolStr::new(String::from_utf8_lossy(bytes)))),
        }
    }

    /// The key as it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_byte_at_every_position_is_judged() {
        for byte in 0..=255u8 {
            for at in 0..3 {
                let mut text = *b"abc";
                text[at] = byte;
                let key = Key::new(text);
                assert_eq!(key.is_ok(), (0x21..=0x7e).contains(&byte), "0x{byte:02x} at {at}");
            }
        }
    }

    #[test]
    fn length_has_its_limits() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert!(Key::new("k".repeat(250)).is_ok());
        assert_eq!(Key::new("k".repeat(251)), Err(KeyError::TooLong(251)));
        assert_eq!(Key::new("a\r\nflush_all"), Err(KeyError::BadByte { at: 1, byte: b'\r' }));
    }
}
