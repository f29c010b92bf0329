//! The last writes and deletes of every key, on the logical clock.
//!
//! Of a key the last [`ENTRIES_MAX`] are kept (fewer of very many keys). Of an older write only a bound of its end is
//! known, which is enough to judge its version. A read of the newest version, the usual case, takes no lock.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Fate;

/// Writes and deletes that are kept of one key.
const ENTRIES_MAX: usize = 16;
/// Fewest of one key.
const ENTRIES_MIN: usize = 4;
/// Entries over all keys, as long as each has [`ENTRIES_MIN`]: 128 MiB.
const ENTRIES_TOTAL: usize = 1 << 22;
/// Versions with an unknown end that are kept; all below a forgotten one are never judged.
const UNKNOWN_MAX: usize = 1 << 18;

/// Memory of the histories of this number of keys, bytes at most.
pub(super) fn memory(keys: usize) -> u64 {
    let entries = entries_max(keys).saturating_mul(keys);
    let bytes = |count: usize, size: usize| (count as u64).saturating_mul(size as u64);
    bytes(keys, size_of::<Cell>() + BLOCK).saturating_add(bytes(entries, size_of::<Entry>()))
}

/// What an allocator takes for a block beside what was asked for.
const BLOCK: usize = 16;

fn entries_max(keys: usize) -> usize {
    (ENTRIES_TOTAL / keys.max(1)).clamp(ENTRIES_MIN, ENTRIES_MAX)
}

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Write,
    Delete,
}

/// When a write or delete ended, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// On the logical clock.
    pub(super) tick: u64,
    /// On the run's clock.
    pub(super) at_us: u64,
    /// At another than the key's home server.
    pub(super) elsewhere: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    began: u64,
    deed: Deed,
    /// `None`: it runs.
    acknowledged: Option<Moment>,
}

/// The tick at which the write of a version had ended, at the latest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written(u64);

/// By what a version was superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superseded {
    /// Tick (for a write: version).
    pub(crate) by: u64,
    /// When that was acknowledged, on the run's clock.
    pub(crate) at_us: u64,
    /// It was served by another than the key's home server.
    pub(crate) elsewhere: bool,
}

/// One key's.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By begin.
    entries: VecDeque<Entry>,
    /// Latest end of the writes that are not kept any more; 0: there are none.
    forgotten: u64,
}

impl History {
    /// The earliest acknowledged `deed` that began after `written` and ended before `asked`.
    pub(super) fn superseded(&self, deed: Deed, written: Written, asked: u64) -> Option<Superseded> {
        self.entries
            .iter()
            .filter(|entry| entry.deed == deed && entry.began > written.0)
            .filter_map(|entry| entry.acknowledged.map(|end| (entry.began, end)))
            .filter(|(_, end)| end.tick < asked)
            .min_by_key(|(_, end)| end.tick)
            .map(|(by, end)| Superseded { by, at_us: end.at_us, elsewhere: end.elsewhere })
    }

    /// Makes room; gives the version of a write that still runs and had to go.
    fn forget_one(&mut self) -> Option<u64> {
        let ended = self.entries.iter().position(|entry| entry.acknowledged.is_some());
        let entry = self.entries.remove(ended.unwrap_or(0))?;
        match (entry.deed, entry.acknowledged) {
            (Deed::Delete, _) => None,
            (Deed::Write, None) => Some(entry.began),
            (Deed::Write, Some(end)) => {
                self.forgotten = self.forgotten.max(end.tick);
                None
            }
        }
    }

    fn written(&self, version: u64) -> Option<Written> {
        let entry = self.entries.iter().find(|entry| entry.began == version && entry.deed == Deed::Write);
        match entry {
            Some(entry) => entry.acknowledged.map(|end| Written(end.tick)),
            None => (self.forgotten > version).then_some(Written(self.forgotten)),
        }
    }
}

#[derive(Debug, Default)]
struct Cell {
    /// The latest begin of a write or delete.
    newest: AtomicU64,
    history: Mutex<History>,
}

/// Versions that may appear at any time.
#[derive(Debug, Default)]
struct Unknown {
    versions: HashSet<u64>,
    order: VecDeque<u64>,
    forgotten: u64,
}

impl Unknown {
    fn insert(&mut self, version: u64) {
        if self.versions.insert(version) {
            self.order.push_back(version);
        }
        if self.order.len() > UNKNOWN_MAX
            && let Some(version) = self.order.pop_front()
        {
            self.versions.remove(&version);
            self.forgotten = self.forgotten.max(version);
        }
    }
}

/// All keys'.
#[derive(Debug)]
pub(super) struct Histories {
    /// Versions below are not ours.
    first: u64,
    cells: Vec<Cell>,
    entries_max: usize,
    unknown: Mutex<Unknown>,
    /// So that as long as there is none no lock is taken.
    unknowns: AtomicUsize,
}

impl Histories {
    pub(super) fn new(first: u64, keys: usize) -> Self {
        let keys = keys.max(1);
        Self {
            first,
            cells: (0..keys).map(|_| Cell::default()).collect(),
            entries_max: entries_max(keys),
            unknown: Mutex::default(),
            unknowns: AtomicUsize::new(0),
        }
    }

    fn cell(&self, number: usize) -> &Cell {
        &self.cells[number % self.cells.len()]
    }

    pub(super) fn begin(&self, number: usize, began: u64, deed: Deed) {
        let cell = self.cell(number);
        cell.newest.fetch_max(began, Ordering::Relaxed);
        let mut history = lock(&cell.history);
        let running = if history.entries.len() >= self.entries_max { history.forget_one() } else { None };
        history.entries.push_back(Entry { began, deed, acknowledged: None });
        // Its end will find nothing; from now on it counts as unknown.
        if let Some(version) = running {
            self.make_unknown(version);
        }
    }

    pub(super) fn end(&self, number: usize, began: u64, fate: Fate, end: Moment) {
        let mut history = lock(&self.cell(number).history);
        let Some(at) = history.entries.iter().position(|entry| entry.began == began) else { return };
        let deed = history.entries[at].deed;
        if fate.may_come_late && deed == Deed::Write {
            // While the history is locked: no read may see the version as neither running nor unknown.
            self.make_unknown(began);
        }
        if fate.acknowledged {
            history.entries[at].acknowledged = Some(end);
        } else {
            history.entries.remove(at);
        }
    }

    /// Nothing can have superseded this version, for nothing has begun since. Takes no lock.
    pub(super) fn is_newest(&self, number: usize, version: u64) -> bool {
        version < self.first || version >= self.cell(number).newest.load(Ordering::Relaxed)
    }

    /// Judges a version whose write is known to have ended.
    pub(super) fn look<T: Default>(
        &self,
        number: usize,
        version: u64,
        judge: impl FnOnce(&History, Written) -> T,
    ) -> T {
        let history = lock(&self.cell(number).history);
        match history.written(version) {
            Some(written) if !self.is_unknown(version) => judge(&history, written),
            _ => T::default(),
        }
    }

    fn make_unknown(&self, version: u64) {
        let mut unknown = lock(&self.unknown);
        unknown.insert(version);
        self.unknowns.store(unknown.order.len(), Ordering::Relaxed);
    }

    fn is_unknown(&self, version: u64) -> bool {
        if self.unknowns.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let unknown = lock(&self.unknown);
        version <= unknown.forgotten || unknown.versions.contains(&version)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
