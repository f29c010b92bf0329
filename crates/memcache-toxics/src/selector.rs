//! Which ops a fault acts on: the attributes that every fault has.

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use toxiproxy::toxic::{Param, number, text};
use toxiproxy::wire::{Attribute, Attributes};

use crate::command::Commands;
use crate::parse::request::Request;

/// Longest key that memcached takes.
const KEY_MAX: usize = 250;
/// A share of all, in parts per million.
const ALL_PPM: i64 = 1_000_000;

/// Its attributes.
pub(crate) const COMMANDS: Param = Param::text("commands");
pub(crate) const KEY_PREFIX: Param = Param::text("key_prefix");
pub(crate) const MIN_SIZE: Param = Param::number("min_size");
pub(crate) const MAX_SIZE: Param = Param::number("max_size");
pub(crate) const SHARE_PPM: Param = Param::number_or("share_ppm", ALL_PPM);

/// Each with what it says, for the documentation.
pub(crate) const PARAMS: [(Param, &str); 5] = [
    (
        COMMANDS,
        "comma list of commands (`get`, `ms`, `version`, ...) and groups: `read` (get gets gat gats mg), `write` (the stores, \
         delete incr decr touch md ma), `data` (both). Empty: all of `data` that the fault can act on",
    ),
    (KEY_PREFIX, "only ops one of whose keys begins so, as sent (an encoded key is compared encoded)"),
    (
        MIN_SIZE,
        "only ops whose value has at least so many bytes: the request's own, else the reply's. With it, ops without a value \
         are spared",
    ),
    (MAX_SIZE, "the same upwards; 0: no limit"),
    (
        SHARE_PPM,
        "share of the ops chosen so far, in parts per million, drawn for each op from the server's seed",
    ),
];

/// Where a fault has to know the size of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acts {
    /// Before the request goes on: only its own value is known.
    OnRequests,
    OnReplies,
}

/// Says yes or no to each op.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    commands: Commands,
    key_prefix: Bytes,
    min: u64,
    /// 0: none.
    max: u64,
    share: f64,
}

impl Selector {
    /// Reads the attributes of a fault that can act on `within`.
    pub(crate) fn read(attributes: &Attributes, within: Commands, acts: Acts) -> Result<Self, String> {
        let mut commands = Commands::parse(text(attributes, COMMANDS.name), within)?;
        let key_prefix = text(attributes, KEY_PREFIX.name);
        if key_prefix.len() > KEY_MAX || key_prefix.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(format!(
                "key_prefix is {key_prefix:?}; keys have at most {KEY_MAX} bytes, no spaces and no control characters"
            ));
        }
        let (min, max) = (number(attributes, MIN_SIZE.name), number(attributes, MAX_SIZE.name));
        if max > 0 && min > max {
            return Err(format!("min_size is {min}, above max_size, {max}"));
        }
        if min > 0 || max > 0 {
            let sized = if acts == Acts::OnRequests { Commands::STORE } else { Commands::SIZED };
            let named = commands.names();
            commands = commands.and(sized);
            if commands.is_empty() {
                return Err(format!(
                    "min_size and max_size need a value to look at, and it looks at {}; {named} has none there",
                    if acts == Acts::OnRequests { "requests" } else { "requests and replies" }
                ));
            }
        }
        let share = attributes.get(SHARE_PPM.name).and_then(Attribute::number).unwrap_or(ALL_PPM);
        if !(1..=ALL_PPM).contains(&share) {
            return Err(format!(
                "share_ppm is {share}; a share in parts per million lies between 1 and {ALL_PPM}"
            ));
        }
        let key_prefix = Bytes::copy_from_slice(key_prefix.as_bytes());
        Ok(Self { commands, key_prefix, min, max, share: share as f64 / ALL_PPM as f64 })
    }

    /// Chooses a request, as far as a request can tell.
    pub(crate) fn chooses(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> bool {
        self.commands.has(request.command)
            && (self.key_prefix.is_empty() || request.keys().any(|key| self.has_prefix(key)))
            && request.value.is_none_or(|size| self.has_size(Some(size)))
            && (self.share >= 1.0 || rng.random_bool(self.share))
    }

    pub(crate) fn has_prefix(&self, key: &[u8]) -> bool {
        key.starts_with(&self.key_prefix)
    }

    /// Is a value of that size, or none, among the wanted ones?
    pub(crate) fn has_size(&self, size: Option<u64>) -> bool {
        match size {
            Some(size) => size >= self.min && (self.max == 0 || size <= self.max),
            None => self.min == 0 && self.max == 0,
        }
    }
}
