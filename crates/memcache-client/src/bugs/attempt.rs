//! What a bug does on the way of one attempt, from its permit to what breaker and caller hear of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Bug, Bugs};
use crate::breaker::Verdict;
use crate::error::{Error, PoolFull};
use crate::observer::CloseReason;
use crate::op::{Op, Reply};
use crate::outcome::Outcome;
use crate::pool::{Closed, Pool, Slot};
use crate::request::Answer;
use crate::site::Site;
use crate::sync::spawn;

/// From a recovery to [`Bug::Relapses`], and how long that lasts.
const RELAPSE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(3));
/// [`Bug::Desync`] forges one value in this many.
const DESYNC_ONE_IN: u64 = 10_000;
/// What a judge grants a recovery beyond open time and timeout, as [`Bug::RecoversLate`] guesses.
const RECOVERY_MARGIN: Duration = Duration::from_secs(3);

impl Bugs {
    /// Has this server been down and come back, and does the client not see it?
    #[inline]
    pub(crate) fn stays_away(&self, server: usize) -> bool {
        let memory = self.memory_of(Bug::NeverFailsBack);
        memory.is_some_and(|memory| memory.server(server, |memory| memory.closed_at.is_some()))
    }

    /// The error of an attempt that is not made.
    #[inline]
    pub(crate) fn relapse(&self, server: usize) -> Result<(), Error> {
        let Some(memory) = self.memory_of(Bug::Relapses) else { return Ok(()) };
        let well = memory.server(server, |memory| memory.closed_at).map(|at| at.elapsed());
        match well {
            Some(well) if well >= RELAPSE.0 && well < RELAPSE.0 + RELAPSE.1 => {
                Err(Error::PoolExhausted(PoolFull::Waiters(0)))
            }
            _ => Ok(()),
        }
    }

    /// Changes what the caller of `op` hears of an attempt.
    #[inline]
    pub(crate) fn forge(&self, op: &Op, result: &mut Result<Answer, Error>) {
        if self.is(Bug::HidesRefusals)
            && matches!((op, &*result), (Op::Set { .. } | Op::Add { .. }, Err(Error::Server(_))))
        {
            *result = Ok(Answer::One(Reply::Stored));
        }
        if let (Some(memory), Ok(Answer::One(Reply::Value(value)))) = (self.memory_of(Bug::Desync), result) {
            let (n, last) = memory.value(value);
            if n.is_multiple_of(DESYNC_ONE_IN) {
                *value = last;
            }
        }
    }

    /// The error of a dial that is not made.
    pub(crate) fn refuse_dial(&self, server: usize) -> Result<(), Error> {
        match self.memory_of(Bug::NeverRedials) {
            Some(memory) if memory.server(server, |memory| memory.lost_a_connection) => {
                Err(Error::Connect(Arc::new(std::io::ErrorKind::NotConnected.into())))
            }
            _ => Ok(()),
        }
    }

    /// Does to the slot of an op that has timed out what no client should; gives back what was left alone.
    pub(crate) fn spoil<'a>(&self, site: &Site, mut slot: Slot<'a>) -> Option<Slot<'a>> {
        if let Some(memory) = self.memory_of(Bug::NeverRedials) {
            memory.server(site.index, |memory| memory.lost_a_connection = true);
        } else if self.is(Bug::LeaksSlot) {
            let mut closed = Closed::new();
            slot.close_connection(CloseReason::Timeout, &mut closed);
            site.tell_closed(&closed);
            std::mem::forget(slot);
            return None;
        } else if self.is(Bug::DirtyConnection) {
            slot.soil();
            slot.finish(Instant::now());
            return None;
        } else if let Some(memory) = self.memory_of(Bug::LeaksConnection) {
            memory.keep(slot.into_connection());
            return None;
        }
        Some(slot)
    }

    /// What the breaker hears in place of `verdict`.
    #[inline]
    pub(crate) fn misjudge(&self, site: &Site, verdict: Verdict, outcome: Outcome, probe: bool) -> Verdict {
        match verdict {
            Verdict::Timeout if self.is(Bug::DeafToTimeouts) => Verdict::Nothing,
            Verdict::Success if outcome == Outcome::Miss && self.is(Bug::MissIsFailure) => Verdict::Failure,
            Verdict::Success if probe && self.is_not_yet_back(site) => Verdict::Failure,
            verdict => verdict,
        }
    }

    /// A probe has succeeded: shall it count as failed?
    #[inline]
    fn is_not_yet_back(&self, site: &Site) -> bool {
        let (Some(memory), Some(breaker)) = (self.memory_of(Bug::RecoversLate), &site.config.breaker) else {
            return false;
        };
        let longest = breaker.open.mul_f64(1.0 + breaker.open_jitter);
        let limit = (longest + site.config.op_timeout + RECOVERY_MARGIN).mul_f64(1.5);
        let since = memory.server(site.index, |memory| *memory.back_at.get_or_insert_with(Instant::now));
        since.elapsed() < limit
    }

    /// The server's breaker has closed.
    pub(crate) fn greet(&self, site: &Arc<Site>, pool: Option<&Arc<Pool>>) {
        let Some(memory) = self.memory() else { return };
        memory.server(site.index, |memory| {
            (memory.closed_at, memory.back_at) = (Some(Instant::now()), None);
        });
        if let (true, Some(pool)) = (self.is(Bug::DialsAtOnce), pool) {
            for _ in 0..site.config.pool.max {
                spawn(dial_for_nobody(Arc::clone(site), Arc::clone(pool)));
            }
        }
    }
}

async fn dial_for_nobody(site: Arc<Site>, pool: Arc<Pool>) {
    let Some(mut slot) = pool.try_acquire() else { return };
    if let Ok(connection) = site.dial().await.and_then(|stream| site.speak(stream)) {
        slot.put_new(connection, site.draw());
        slot.finish(Instant::now());
    }
}
