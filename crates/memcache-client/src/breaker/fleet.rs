//! What the breakers of one client know of each other.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Bounds how many of a client's servers may be ejected (not closed) at the same time, and counts the slow ones.
#[derive(Debug)]
pub struct Fleet {
    members: AtomicUsize,
    ejected: AtomicUsize,
    /// `None`: all but one.
    max_ejected: Option<usize>,
    slow: AtomicUsize,
}

impl Fleet {
    /// Of `members` servers; at most `max_ejected` at a time, `None`: all but one.
    pub fn new(members: usize, max_ejected: Option<usize>) -> Arc<Self> {
        let (ejected, slow) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { members: AtomicUsize::new(members), ejected, max_ejected, slow })
    }

    /// The list of servers has changed.
    pub fn resize(&self, members: usize) {
        self.members.store(members, Ordering::Release);
    }

    /// Servers that may be ejected at the same time.
    pub fn max_ejected(&self) -> usize {
        self.max_ejected.unwrap_or_else(|| self.members.load(Ordering::Acquire).saturating_sub(1))
    }

    pub(super) fn try_eject(&self) -> bool {
        let max = self.max_ejected();
        let more = |n: usize| (n < max).then_some(n + 1);
        self.ejected.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(super) fn restore(&self) {
        self.ejected.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn flag_slow(&self, slow: bool) {
        match slow {
            true => self.slow.fetch_add(1, Ordering::AcqRel),
            false => self.slow.fetch_sub(1, Ordering::AcqRel),
        };
    }

    /// Is a slow server an exception? When most are slow, the cause is elsewhere, and ejecting them would only push
    /// their load onto each other.
    pub(super) fn is_outlier(&self) -> bool {
        2 * self.slow.load(Ordering::Acquire) <= self.members.load(Ordering::Acquire)
    }
}
