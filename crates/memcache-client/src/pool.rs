//! Connections of one server: a bulkhead. At most `max` ops hold a slot, and with it the right to one connection; a
//! bounded number waits, in order, for a bounded time. A slot that is dropped gives itself back, whatever happened, and
//! closes its connection unless the op said that its reply was read to the end.

mod dials;
pub(crate) mod gate;
#[cfg(test)]
mod model;

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bugs::SharedPlace;
use crate::config::PoolConfig;
use crate::error::Error;
use crate::observer::CloseReason;
use crate::sync::{Mutex, MutexGuard, SemaphorePermit, sleep_until};
use crate::timer::Timer;
use crate::wire::Connection;
use dials::{DialLimit, Wait};
use gate::Gate;

/// Dials a second after a loss that even the smallest pool may make.
const DIALS_MIN: f64 = 20.0;

/// A connection that has not been used for this long may have been forgotten by something between us and the server.
/// When one of them fails, the others that are as old are not tried: each would cost an op its deadline.
const SUSPECT: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    config: PoolConfig,
    gate: Gate,
    idle: Mutex<Vec<Parked>>,
    /// Told of each connection that is parked, for ops that have a slot and may not dial yet.
    parked: Notify,
    dials: Mutex<DialLimit>,
    created: AtomicU64,
    dial_errors: AtomicU64,
    discards: [AtomicU64; CloseReason::ALL.len()],
}

struct Parked {
    connection: Connection,
    timer: Timer,
    since: Instant,
    life: Life,
}

/// When a connection was made, and when it shall be used no more.
#[derive(Debug, Clone, Copy)]
struct Life {
    born: Instant,
    retire_at: Option<Instant>,
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
    /// Dials that failed, since start.
    pub dial_errors: u64,
    /// Ops that got no slot, since start.
    pub acquire_errors: u64,
    /// Closed connections since start, indexed like [`CloseReason::ALL`].
    pub discards: [u64; CloseReason::ALL.len()],
}

/// What a slot has found to work with.
pub(crate) enum Found {
    /// A clean connection.
    Idle,
    /// None; the caller shall dial.
    Dial,
}

/// Reasons of connections that were closed on the way; mostly none.
pub(crate) type Closed = SmallVec<[CloseReason; 2]>;

impl Pool {
    pub(crate) fn new(config: PoolConfig, wait_max: Duration) -> Self {
        let dials =
            DialLimit::new(config.max, config.dials_per_s.unwrap_or(DIALS_MIN.max(config.max as f64)));
        Self {
            gate: Gate::new(config.max, config.max_waiting, wait_max),
            idle: Mutex::new(Vec::with_capacity(config.max)),
            parked: Notify::new(),
            dials: Mutex::new(dials),
            created: AtomicU64::new(0),
            dial_errors: AtomicU64::new(0),
            discards: Default::default(),
            config,
        }
    }

    /// A slot, if there is one.
    pub(crate) fn try_acquire(&self) -> Option<Slot<'_>> {
        self.gate.try_enter().map(|permit| self.slot(permit))
    }

    /// A slot, at once or after a wait of at most `wait_max`.
    pub(crate) async fn acquire(&self) -> Result<Slot<'_>, Error> {
        self.gate.enter().await.map(|permit| self.slot(permit))
    }

    fn slot<'a>(&'a self, permit: SemaphorePermit<'a>) -> Slot<'a> {
        Slot {
            pool: self,
            _permit: permit,
            connection: None,
            timer: Timer::default(),
            idle_for: Duration::ZERO,
            life: None,
            expected_end: None,
            _place: SharedPlace::default(),
        }
    }

    /// Closes idle connections, refuses new ops, and waits for those that run.
    pub(crate) async fn close(&self, patience: Duration) -> Closed {
        self.gate.close(patience).await;
        let closed: Vec<Parked> = self.idle().drain(..).collect();
        closed.iter().map(|_| self.discarded(CloseReason::Drain)).collect()
    }

    /// The server has refused a connection for want of room.
    pub(crate) fn no_room(&self) {
        self.dials().pause(Instant::now());
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let idle = self.idle().len();
        let active = self.gate.inside();
        PoolStats {
            total: (idle + active).min(self.config.max),
            active,
            idle,
            waiting: self.gate.waiting(),
            limit: self.config.max,
            created: self.created.load(Ordering::Relaxed),
            dial_errors: self.dial_errors.load(Ordering::Relaxed),
            acquire_errors: self.gate.refused(),
            discards: std::array::from_fn(|n| self.discards[n].load(Ordering::Relaxed)),
        }
    }

    fn discarded(&self, reason: CloseReason) -> CloseReason {
        self.discards[reason as usize].fetch_add(1, Ordering::Relaxed);
        reason
    }

    /// Closes the connections that have been idle as long as one that has just failed.
    fn purge(&self, idle_for: Duration, closed: &mut Closed) {
        if idle_for < SUSPECT {
            return;
        }
        let suspects: Vec<Parked> =
            self.idle().extract_if(.., |parked| parked.since.elapsed() >= SUSPECT).collect();
        closed.extend(suspects.iter().map(|_| self.discarded(CloseReason::Reset)));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dials(&self) -> MutexGuard<'_, DialLimit> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to use one connection.
pub(crate) struct Slot<'a> {
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
    connection: Option<Connection>,
    timer: Timer,
    /// How long the connection was idle before.
    idle_for: Duration,
    life: Option<Life>,
    /// While a connection is in use: the deadline of its op, to tell a timeout from a cancel when it is dropped.
    expected_end: Option<Instant>,
    _place: SharedPlace,
}

impl Slot<'_> {
    /// The same slot, which holds a place among those that all servers share besides: a bug that a client may be given.
    pub(crate) fn holding(mut self, place: SharedPlace) -> Self {
        self._place = place;
        self
    }

    /// Takes the youngest idle connection that is still good, or the right to dial: at once, unless the server has
    /// just lost us others. Then whichever comes first, and the right after as long as an op may wait for a slot.
    pub(crate) async fn find(&mut self, now: Instant, closed: &mut Closed) -> Result<Found, Error> {
        let mut deadline = None;
        loop {
            if self.take_idle(now, closed) {
                return Ok(Found::Idle);
            }
            let Some(wait) = self.pool.dials().try_dial(Instant::now()) else { return Ok(Found::Dial) };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.pool.gate.wait_max());
            if Instant::now() >= deadline {
                return match wait {
                    Wait::Storm(_) => Ok(Found::Dial),
                    Wait::NoRoom(_) => Err(self.pool.gate.waited()),
                };
            }
            tokio::select! {
                // A connection rather than a dial; and the same run again does the same.
                biased;
                () = self.pool.parked.notified() => {}
                () = sleep_until(wait.until().min(deadline)) => {}
            }
        }
    }

    /// Takes the youngest idle connection that is still good.
    pub(crate) fn take_idle(&mut self, now: Instant, closed: &mut Closed) -> bool {
        loop {
            let Some(mut parked) = self.pool.idle().pop() else { return false };
            let idle_for = now.saturating_duration_since(parked.since);
            if idle_for > self.pool.config.idle_max {
                closed.push(self.pool.discarded(CloseReason::Idle));
            } else if parked.life.retire_at.is_some_and(|at| now >= at) {
                closed.push(self.pool.discarded(CloseReason::Lifetime));
            } else if !parked.connection.is_quiet() {
                closed.push(self.pool.discarded(CloseReason::Reset));
                self.pool.dials().lost(now, now.saturating_duration_since(parked.life.born));
            } else {
                (self.connection, self.timer) = (Some(parked.connection), parked.timer);
                (self.idle_for, self.life) = (idle_for, Some(parked.life));
                return true;
            }
        }
    }

    /// There is no connection: the dial has failed.
    pub(crate) fn dial_failed(&self) {
        self.pool.dial_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a connection that has just been dialled. `drawn` (0-1) spreads the ends of connections of one age.
    pub(crate) fn put_new(&mut self, connection: Connection, drawn: f64) {
        self.pool.created.fetch_add(1, Ordering::Relaxed);
        self.pool.dials().succeeded();
        let lifetime = self.pool.config.lifetime_max.map(|max| max.mul_f64(1.0 - 0.1 * drawn));
        let born = Instant::now();
        self.life = Some(Life { born, retire_at: lifetime.map(|lifetime| born + lifetime) });
        self.connection = Some(connection);
    }

    /// The connection and its timer, for an op that must end by `deadline`.
    pub(crate) fn use_until(&mut self, deadline: Instant) -> Option<(&mut Connection, &mut Timer)> {
        self.expected_end = Some(deadline);
        self.connection.as_mut().map(|connection| (connection, &mut self.timer))
    }

    /// The reply was read to its last byte: the connection may serve the next op, unless something follows already.
    pub(crate) fn finish(mut self, now: Instant) -> Option<CloseReason> {
        let (mut connection, life) = (self.connection.take()?, self.life?);
        if !connection.is_quiet() {
            return Some(self.pool.discarded(CloseReason::Protocol));
        }
        // Before the permit is given back, so that there are never more than `max`.
        let timer = std::mem::take(&mut self.timer);
        self.pool.idle().push(Parked { connection, timer, since: now, life });
        self.pool.parked.notify_one();
        None
    }

    /// The connection will be used again although its reply has not come: a bug that a client may be given.
    pub(crate) fn soil(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.soil();
        }
    }

    /// The connection without its slot: the pool counts it no more.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Closes the connection for a reason that is known, and others with it that are under suspicion.
    pub(crate) fn close(mut self, reason: CloseReason, closed: &mut Closed) {
        self.close_connection(reason, closed);
    }

    /// The same, but the slot is kept.
    pub(crate) fn close_connection(&mut self, reason: CloseReason, closed: &mut Closed) {
        if self.connection.take().is_some() {
            closed.push(self.pool.discarded(reason));
            if reason == CloseReason::Reset {
                let now = Instant::now();
                let age = self.life.map_or(Duration::ZERO, |life| now.saturating_duration_since(life.born));
                self.pool.dials().lost(now, age);
            }
            if matches!(reason, CloseReason::Reset | CloseReason::Timeout) {
                self.pool.purge(self.idle_for, closed);
            }
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            let timed_out = self.expected_end.is_some_and(|end| Instant::now() >= end);
            self.pool.discarded(if timed_out { CloseReason::Timeout } else { CloseReason::Cancelled });
            if timed_out {
                // Their reasons are counted; the observer hears of the one that the op had.
                self.pool.purge(self.idle_for, &mut Closed::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PoolFull;

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
            assert_eq!((stats.active, stats.waiting, pool.gate.free()), (0, 0, 4));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_pool_refuses() {
        let pool = pool(2, 2);
        pool.close(Duration::from_secs(1)).await;
        assert!(matches!(pool.acquire().await, Err(Error::Closed)));
    }
}
