//! What the fake has seen.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Commands counted by name.
const NAMES: [&str; 20] = [
    "get",
    "gets",
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "delete",
    "incr",
    "decr",
    "touch",
    "flush_all",
    "version",
    "verbosity",
    "quit",
    "mg",
    "ms",
    "md",
    "ma",
    "mn",
];

/// Counts since the fake began.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    open: AtomicUsize,
    requests: AtomicU64,
    names: [AtomicU64; NAMES.len()],
    changed: Notify,
}

impl Counters {
    /// Connections accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Whole requests read, known or not, answered or not.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Requests with the command of this name; 0 for a command that the fake does not know.
    pub fn seen(&self, command: &str) -> u64 {
        let at = NAMES.iter().position(|name| *name == command);
        at.and_then(|at| self.names.get(at)).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Every command seen, with its count.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().map(|name| (name, self.seen(name))).filter(|(_, count)| *count > 0)
    }

    /// Waits until the counts are as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&Self) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if wanted(self) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn connected(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.accepted.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    pub(crate) fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    pub(crate) fn request(&self, command: Option<&[u8]>) {
        let at = command.and_then(|command| NAMES.iter().position(|name| name.as_bytes() == command));
        if let Some(count) = at.and_then(|at| self.names.get(at)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}
