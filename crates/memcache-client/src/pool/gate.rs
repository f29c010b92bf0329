//! How many ops may be inside, how many may wait outside, and how long.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::error::{Error, PoolFull};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Semaphore, SemaphorePermit, timeout};

#[derive(Debug)]
pub(crate) struct Gate {
    max: usize,
    max_waiting: usize,
    wait_max: Duration,
    /// FIFO and safe to cancel: a dropped waiter leaves the queue, a dropped permit wakes the next.
    slots: Semaphore,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

impl Gate {
    pub(crate) fn new(max: usize, max_waiting: usize, wait_max: Duration) -> Self {
        let (waiting, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { max, max_waiting, wait_max, slots: Semaphore::new(max), waiting, refused }
    }

    /// In at once, or after a wait of at most `wait_max`.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, Error> {
        match self.try_enter() {
            Some(permit) => Ok(permit),
            None => self.wait().await,
        }
    }

    /// In at once, or not.
    pub(crate) fn try_enter(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.try_acquire().ok()
    }

    async fn wait(&self) -> Result<SemaphorePermit<'_>, Error> {
        if self.slots.is_closed() {
            return Err(Error::Closed);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        if waiting >= self.max_waiting {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::PoolExhausted(PoolFull::Waiters(waiting)));
        }
        match timeout(self.wait_max, self.slots.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(self.waited()),
        }
    }

    /// The error of an op that has waited as long as it may; counted.
    pub(crate) fn waited(&self) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Error::PoolExhausted(PoolFull::Waited(self.wait_max))
    }

    /// Waits for those inside, for at most `patience`, then refuses everybody.
    pub(crate) async fn close(&self, patience: Duration) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        if timeout(patience, self.slots.acquire_many(all)).await.is_err() {
            tracing::warn!("ops still hold connections {patience:?} after the client was closed");
        }
        self.slots.close();
    }

    pub(crate) fn wait_max(&self) -> Duration {
        self.wait_max
    }

    pub(crate) fn inside(&self) -> usize {
        self.max.saturating_sub(self.slots.available_permits())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Ops that did not get in, since start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.slots.available_permits()
    }
}

/// Counts one waiter for as long as it waits.
struct Waiting<'a>(&'a Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
