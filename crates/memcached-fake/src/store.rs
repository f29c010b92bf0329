//! Items and their expiry.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// Largest value, as memcached's default item limit less a small header.
pub(crate) const VALUE_MAX: usize = 1024 * 1024 - 64;
/// Bytes of all values together.
const STORE_MAX: usize = 64 * 1024 * 1024;
/// Beyond 30 days an expiry is a Unix time; the fake has no wall clock and takes it for long enough.
const RELATIVE_MAX: i64 = 30 * 24 * 3600;

#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) expires: Option<Instant>,
    /// Value and flags before the last write. Not counted against the byte limit.
    pub(crate) previous: Option<(Bytes, u32)>,
    /// Another with every write.
    pub(crate) cas: u64,
    /// Somebody has the right to write a newer value.
    pub(crate) taken: bool,
    /// It was invalidated, and lives on for those who do not mind.
    pub(crate) stale: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    items: HashMap<Bytes, Item>,
    bytes: usize,
    writes: u64,
}

/// How a value is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// How that ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Yes,
    No,
    OutOfMemory,
}

/// How counting ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Value(u64),
    Missing,
    NotANumber,
}

/// 0 is for ever, negative is at once.
pub(crate) fn expiry(exptime: i64) -> Option<Instant> {
    match exptime {
        0 => None,
        ..0 => Some(Instant::now()),
        1..=RELATIVE_MAX => Some(Instant::now() + Duration::from_secs(exptime as u64)),
        _ => None,
    }
}

impl Store {
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&Item> {
        if self.items.get(key)?.expires.is_some_and(|at| at <= Instant::now()) {
            self.delete(key);
            return None;
        }
        self.items.get(key)
    }

    pub(crate) fn store(
        &mut self,
        key: &Bytes,
        value: Bytes,
        flags: u32,
        exptime: i64,
        mode: Mode,
    ) -> Stored {
        let old = self.get(key).cloned();
        let previous = old.as_ref().map(|old| (old.value.clone(), old.flags));
        let fresh = |old: Item| Item { taken: false, stale: false, ..old };
        self.writes += 1;
        let cas = self.writes;
        let item = match (mode, old) {
            (Mode::Add, Some(_)) | (Mode::Replace | Mode::Append | Mode::Prepend, None) => return Stored::No,
            (Mode::Append, Some(old)) => {
                Item { value: [&old.value[..], &value].concat().into(), previous, cas, ..fresh(old) }
            }
            (Mode::Prepend, Some(old)) => {
                Item { value: [&value[..], &old.value].concat().into(), previous, cas, ..fresh(old) }
            }
            _ => Item { value, flags, expires: expiry(exptime), previous, cas, ..Item::default() },
        };
        let freed = self.items.get(key).map_or(0, |old| old.value.len());
        if self.bytes - freed + item.value.len() > STORE_MAX || item.value.len() > VALUE_MAX {
            return Stored::OutOfMemory;
        }
        self.bytes = self.bytes - freed + item.value.len();
        self.items.insert(key.clone(), item);
        Stored::Yes
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        match self.items.remove(key) {
            Some(old) => {
                self.bytes -= old.value.len();
                old.expires.is_none_or(|at| at > Instant::now())
            }
            None => false,
        }
    }

    pub(crate) fn touch(&mut self, key: &[u8], exptime: i64) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        if let Some(item) = self.items.get_mut(key) {
            item.expires = expiry(exptime);
        }
        true
    }

    /// Gives the right to write a newer value to one of all who ask: of an item that is stale or has less than `refresh`
    /// seconds left, or, with `vivify` as its time to live, of a missing one. Says whether this caller wins it.
    pub(crate) fn claim(&mut self, key: &Bytes, refresh: Option<u64>, vivify: Option<i64>) -> bool {
        if self.get(key).is_none() {
            let Some(exptime) = vivify else { return false };
            self.store(key, Bytes::new(), 0, exptime, Mode::Set);
            self.items.get_mut(key).is_some_and(|item| !std::mem::replace(&mut item.taken, true))
        } else if let Some(item) = self.items.get_mut(key) {
            let left = item.expires.map(|at| at.saturating_duration_since(Instant::now()));
            let soon = refresh.zip(left).is_some_and(|(refresh, left)| left < Duration::from_secs(refresh));
            (item.stale || soon) && !std::mem::replace(&mut item.taken, true)
        } else {
            false
        }
    }

    /// Marks an item as stale, for `exptime` if given; `false`: there is none.
    pub(crate) fn invalidate(&mut self, key: &[u8], exptime: Option<i64>) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.writes += 1;
        if let Some(item) = self.items.get_mut(key) {
            (item.stale, item.taken, item.cas) = (true, false, self.writes);
            if let Some(exptime) = exptime {
                item.expires = expiry(exptime);
            }
        }
        true
    }

    /// Adds `delta`, wrapping at 64 bits as memcached does, or subtracts it, ending at 0.
    pub(crate) fn count(&mut self, key: &[u8], delta: u64, up: bool) -> Counted {
        let Some(item) = self.get(key) else { return Counted::Missing };
        let Some(value) =
            std::str::from_utf8(&item.value).ok().and_then(|text| text.trim_end().parse::<u64>().ok())
        else {
            return Counted::NotANumber;
        };
        let value = if up { value.wrapping_add(delta) } else { value.saturating_sub(delta) };
        if let Some(item) = self.items.get_mut(key) {
            let text = Bytes::from(value.to_string());
            self.bytes = self.bytes - item.value.len() + text.len();
            item.previous = Some((std::mem::replace(&mut item.value, text), item.flags));
            self.writes += 1;
            item.cas = self.writes;
        }
        Counted::Value(value)
    }

    /// Puts this under the key, whatever the byte limit; hands back what was there.
    pub(crate) fn lay(&mut self, key: &Bytes, item: Option<Item>) -> Option<Item> {
        let new = item.as_ref().map_or(0, |item| item.value.len());
        let old = match item {
            Some(item) => self.items.insert(key.clone(), item),
            None => self.items.remove(key),
        };
        self.bytes = self.bytes + new - old.as_ref().map_or(0, |old| old.value.len());
        old
    }

    /// Another key's item with another value: of all such, the one with the lowest key.
    pub(crate) fn foreign(&self, key: &[u8]) -> Option<&Item> {
        let (own, now) = (self.items.get(key), Instant::now());
        let lives = |item: &Item| item.expires.is_none_or(|at| at > now);
        let others = self.items.iter().filter(|(other, item)| {
            &other[..] != key && lives(item) && own.is_none_or(|own| own.value != item.value)
        });
        others.min_by_key(|(other, _)| *other).map(|(_, item)| item)
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }
}
