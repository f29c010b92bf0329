//! Wakes connections at the instants that their toxics want, all of them by one alarm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use alarm::Alarm;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A timer of one server. Ends when it is dropped.
pub(super) struct Timer {
    due: Arc<Due>,
    task: AbortHandle,
}

#[derive(Default)]
struct Due {
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
    /// There is a new first entry.
    earlier: Notify,
}

struct Entry {
    at: Instant,
    waker: Waker,
}

impl Timer {
    /// Must be called within a runtime.
    pub(super) fn start() -> Self {
        let due = Arc::new(Due::default());
        let task = tokio::spawn(run(Arc::clone(&due))).abort_handle();
        Self { due, task }
    }

    /// Wakes at `at`, once. It cannot be taken back: who asks must bear a wake-up that is not needed any more.
    pub(super) fn wake_at(&self, at: Instant, waker: Waker) {
        let mut heap = self.due.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = heap.peek().is_none_or(|Reverse(first)| at < first.at);
        heap.push(Reverse(Entry { at, waker }));
        drop(heap);
        if is_first {
            self.due.earlier.notify_one();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(due: Arc<Due>) {
    let mut alarm = Alarm::exact();
    loop {
        match due.first() {
            None => due.earlier.notified().await,
            Some(at) => tokio::select! {
                () = alarm.until(at) => due.wake(),
                () = due.earlier.notified() => {}
            },
        }
    }
}

impl Due {
    fn first(&self) -> Option<Instant> {
        let heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        heap.peek().map(|Reverse(first)| first.at)
    }

    fn wake(&self) {
        let now = Instant::now();
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Reverse(first)) = heap.peek()
            && first.at <= now
        {
            if let Some(Reverse(entry)) = heap.pop() {
                entry.waker.wake();
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
