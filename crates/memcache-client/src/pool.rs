//! Connections of one server: a bulkhead. At most `max` ops hold a slot, and with it the right to one connection; a
//! bounded number waits, in order, for a bounded time. A slot that is dropped gives itself back, whatever happened, and
//! closes its connection unless the op said that its reply was read to the end.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::config::PoolConfig;
use crate::driver::Connection;
use crate::error::{Error, PoolFull};
use crate::observer::CloseReason;

pub(crate) struct Pool {
    config: PoolConfig,
    wait_max: Duration,
    /// FIFO and safe to cancel: a dropped waiter leaves the queue, a dropped permit wakes the next.
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
    waiting: AtomicUsize,
    created: AtomicU64,
    acquire_errors: AtomicU64,
    discards: [AtomicU64; CloseReason::ALL.len()],
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Connections and waiters of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Open connections, dials in progress included.
    pub total: usize,
    /// Slots in use.
    pub active: usize,
    /// Clean connections without an op.
    pub idle: usize,
    /// Ops that wait for a slot.
    pub waiting: usize,
    /// Connections at most.
    pub limit: usize,
    /// Dials that succeeded, since start.
    pub created: u64,
    /// Ops that got no slot, since start.
    pub acquire_errors: u64,
    /// Closed connections since start, indexed like [`CloseReason::ALL`].
    pub discards: [u64; CloseReason::ALL.len()],
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, wait_max: Duration) -> Self {
        Self {
            slots: Semaphore::new(config.max),
            wait_max,
            idle: Mutex::new(Vec::with_capacity(config.max)),
            waiting: AtomicUsize::new(0),
            created: AtomicU64::new(0),
            acquire_errors: AtomicU64::new(0),
            discards: Default::default(),
            config,
        }
    }

    /// A slot, at once or after a wait of at most `wait_max`.
    pub(crate) async fn acquire(&self) -> Result<Slot<'_>, Error> {
        let permit = match self.slots.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait().await.inspect_err(|_| {
                self.acquire_errors.fetch_add(1, Ordering::Relaxed);
            })?,
        };
        Ok(Slot { pool: self, _permit: permit, connection: None, expected_end: None })
    }

    async fn wait(&self) -> Result<SemaphorePermit<'_>, Error> {
        if self.slots.is_closed() {
            return Err(Error::Closed);
        }
        let _waiting = Waiting::enter(self)?;
        match tokio::time::timeout(self.wait_max, self.slots.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::PoolExhausted(PoolFull::Waited(self.wait_max))),
        }
    }

    /// Closes idle connections, refuses new ops, and waits for those that run.
    pub(crate) async fn close(&self, patience: Duration) -> Vec<CloseReason> {
        let all = u32::try_from(self.config.max).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout(patience, self.slots.acquire_many(all)).await;
        if drained.is_err() {
            tracing::warn!("ops still hold connections {patience:?} after the client was closed");
        }
        self.slots.close();
        let closed: Vec<Idle> = self.idle().drain(..).collect();
        closed.iter().map(|_| self.discarded(CloseReason::Drain)).collect()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let idle = self.idle().len();
        let active = self.config.max.saturating_sub(self.slots.available_permits());
        PoolStats {
            total: (idle + active).min(self.config.max),
            active,
            idle,
            waiting: self.waiting.load(Ordering::Relaxed),
            limit: self.config.max,
            created: self.created.load(Ordering::Relaxed),
            acquire_errors: self.acquire_errors.load(Ordering::Relaxed),
            discards: std::array::from_fn(|n| self.discards[n].load(Ordering::Relaxed)),
        }
    }

    fn discarded(&self, reason: CloseReason) -> CloseReason {
        self.discards[reason as usize].fetch_add(1, Ordering::Relaxed);
        reason
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one waiter for as long as it waits.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn enter(pool: &'a Pool) -> Result<Self, Error> {
        let waiting = pool.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = Self(pool);
        if waiting >= pool.config.max_waiting {
            return Err(Error::PoolExhausted(PoolFull::Waiters(waiting)));
        }
        Ok(guard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to use one connection.
pub(crate) struct Slot<'a> {
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
    connection: Option<Connection>,
    /// While a connection is in use: the deadline of its op, to tell a timeout from a cancel when it is dropped.
    expected_end: Option<Instant>,
}

impl Slot<'_> {
    /// Takes the youngest idle connection that is still good. The reasons are those of the ones that were not.
    pub(crate) fn take_idle(&mut self) -> (bool, Vec<CloseReason>) {
        let mut closed = Vec::new();
        loop {
            let Some(idle) = self.pool.idle().pop() else { return (false, closed) };
            if idle.since.elapsed() > self.pool.config.idle_max {
                closed.push(self.pool.discarded(CloseReason::Idle));
            } else if !idle.connection.is_quiet() {
                closed.push(self.pool.discarded(CloseReason::Reset));
            } else {
                self.connection = Some(idle.connection);
                return (true, closed);
            }
        }
    }

    /// Takes a connection that has just been dialled.
    pub(crate) fn put_new(&mut self, connection: Connection) {
        self.pool.created.fetch_add(1, Ordering::Relaxed);
        self.connection = Some(connection);
    }

    /// The connection, for an op that must end by `deadline`.
    pub(crate) fn use_until(&mut self, deadline: Instant) -> Option<&mut Connection> {
        self.expected_end = Some(deadline);
        self.connection.as_mut()
    }

    /// The reply was read to its last byte: the connection may serve the next op, unless something follows already.
    pub(crate) fn finish(mut self) -> Option<CloseReason> {
        let connection = self.connection.take()?;
        if !connection.is_quiet() {
            return Some(self.pool.discarded(CloseReason::Protocol));
        }
        // Before the permit is given back, so that there are never more than `max`.
        self.pool.idle().push(Idle { connection, since: Instant::now() });
        None
    }

    /// Closes the connection for a reason that is known.
    pub(crate) fn close(mut self, reason: CloseReason) -> Option<CloseReason> {
        let connection = self.connection.take();
        connection.map(|_| self.pool.discarded(reason))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            let timed_out = self.expected_end.is_some_and(|end| Instant::now() >= end);
            self.pool.discarded(if timed_out { CloseReason::Timeout } else { CloseReason::Cancelled });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(max: usize, max_waiting: usize) -> Pool {
        let config = PoolConfig { max, max_waiting, ..PoolConfig::default() };
        Pool::new(config, Duration::from_millis(25))
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded_in_number_and_time() {
        let pool = pool(2, 3);
        let _held = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let began = Instant::now();
        let outcomes = futures::future::join_all((0..5).map(|_| pool.acquire())).await;
        let full = |outcome: &Result<Slot<'_>, Error>, wanted: PoolFull| matches!(outcome, Err(Error::PoolExhausted(full)) if *full == wanted);
        let waited = outcomes.iter().filter(|o| full(o, PoolFull::Waited(Duration::from_millis(25)))).count();
        let refused = outcomes
            .iter()
            .filter(|o| full(o, PoolFull::Waiters(3)) || full(o, PoolFull::Waiters(4)))
            .count();
        assert_eq!((waited, refused), (3, 2));
        assert_eq!(began.elapsed(), Duration::from_millis(25));
        assert_eq!((pool.stats().waiting, pool.stats().acquire_errors), (0, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn no_slot_is_lost_by_any_number_of_cancelled_waiters() {
        let pool = pool(4, 1_000);
        for round in 0..2_000u64 {
            let ops = (0..16u64).map(|n| {
                let pool = &pool;
                async move {
                    let work = async {
                        let slot = pool.acquire().await;
                        tokio::time::sleep(Duration::from_micros((round * 7 + n * 13) % 50)).await;
                        drop(slot);
                    };
                    // Dropped at some point of waiting or working.
                    let _ =
                        tokio::time::timeout(Duration::from_micros((round * 5 + n * 11) % 60), work).await;
                }
            });
            futures::future::join_all(ops).await;
            let stats = pool.stats();
            assert_eq!((stats.active, stats.waiting, pool.slots.available_permits()), (0, 0, 4));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_pool_refuses() {
        let pool = pool(2, 2);
        pool.close(Duration::from_secs(1)).await;
        assert!(matches!(pool.acquire().await, Err(Error::Closed)));
    }
}
