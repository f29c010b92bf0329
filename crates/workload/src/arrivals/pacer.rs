//! Keeps to a schedule: says what a driver does next, and counts what became of each intended start.
//!
//! All starts that are due are given out on one wake-up of the [`Alarm`]; there is no timer an op. After a batch of
//! them replies get their turn and the task yields, so that a backlog never starves the reactor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alarm::Alarm;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Schedule;
use crate::recorder::{LATE, Recorder};

/// A start that lies further behind than this is dropped: a generator that was stalled (a paused machine) must
/// not send its backlog as a burst.
pub(crate) const TOO_LATE: Duration = Duration::from_millis(100);
/// Starts that are given out before replies get their turn.
const STARTS: u32 = 32;
/// Replies that are given out, while starts are due, before the task yields.
const REPLIES: u32 = 64;

/// A change of the rate of a running load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RateChange {
    /// From when on.
    pub(crate) at: Instant,
    /// ops/s of all drivers.
    pub(crate) ops_per_s: f64,
}

/// The changes of a load's rate; `None`: there was none.
pub(crate) type RateChanges = watch::Receiver<Option<RateChange>>;

/// What makes a [`Pacer`].
#[derive(Debug)]
pub(crate) struct Pace {
    /// Open loop: intended starts. `None`: closed loop.
    pub(crate) schedule: Option<Schedule>,
    /// Ops in flight at most.
    pub(crate) in_flight_max: usize,
    /// No start is dropped: what is behind is started late, as soon as there is a slot.
    pub(crate) catch_up: bool,
    /// This driver's share (0-1) of the load's rate.
    pub(crate) share: f64,
    /// Changes of the load's rate.
    pub(crate) rates: RateChanges,
    /// Where starts are counted.
    pub(crate) recorder: Arc<Mutex<Recorder>>,
}

/// Follows one driver's [`Pace`].
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    alarm: Alarm,
    rates_open: bool,
    starts: u32,
    replies: u32,
}

/// What a driver does next.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// Start an op.
    Start(Start),
    /// Record an op that has ended.
    Ended(T),
    /// Start no more.
    Stopped,
}

/// An op that is to be started now.
#[derive(Debug)]
#[must_use]
pub(crate) struct Start {
    intended: Instant,
    open: bool,
}

impl Start {
    /// The op starts at this moment: counts it, and how far it is behind. Gives when it should have started.
    pub(crate) fn begin(self, recorder: &Mutex<Recorder>) -> Instant {
        let lag = self.open.then(|| self.intended.elapsed());
        recorder.lock().unwrap_or_else(PoisonError::into_inner).started(lag);
        self.intended
    }
}

impl Pacer {
    pub(crate) fn new(pace: Pace, alarm: Alarm) -> Self {
        Self { pace, alarm, rates_open: true, starts: 0, replies: 0 }
    }

    /// What to do next, with these ops in flight.
    pub(crate) async fn next<F: Future>(
        &mut self,
        in_flight: &mut FuturesUnordered<F>,
        stop: &CancellationToken,
    ) -> Step<F::Output> {
        loop {
            if self.replies >= REPLIES && self.starts >= STARTS {
                self.rest().await;
            }
            while self.starts < STARTS
                && let Some(now) = self.due(in_flight.len())
            {
                self.starts += 1;
                if let Some(start) = self.admit(now, in_flight.len()) {
                    return Step::Start(start);
                }
            }
            let backlog = self.starts >= STARTS;
            let due = self.next_start(in_flight.len());
            tokio::select! {
                // Replies before more starts: what has just been started is polled here for the first time.
                biased;
                () = stop.cancelled() => {
                    self.give_up();
                    return Step::Stopped;
                }
                Some(ended) = in_flight.next(), if !in_flight.is_empty() => {
                    self.replies += 1;
                    return Step::Ended(ended);
                }
                changed = self.pace.rates.changed(), if self.rates_open => {
                    self.rates_open = changed.is_ok();
                    self.change_rate();
                }
                () = std::future::ready(()), if backlog => self.rest().await,
                () = wake(&mut self.alarm, due), if due.is_some() => (self.starts, self.replies) = (0, 0),
            }
        }
    }

    /// The moment, if something may start at it.
    fn due(&self, in_flight: usize) -> Option<Instant> {
        let now = Instant::now();
        match self.pace.schedule {
            None => (in_flight < self.pace.in_flight_max).then_some(now),
            Some(_) => self.next_start(in_flight).filter(|due| *due <= now).map(|_| now),
        }
    }

    /// Open loop: when the next start is to be looked at. With catch-up a start waits for its slot.
    fn next_start(&self, in_flight: usize) -> Option<Instant> {
        if self.pace.catch_up && in_flight >= self.pace.in_flight_max {
            return None;
        }
        self.pace.schedule.as_ref().and_then(Schedule::next_start)
    }

    /// Takes one intended start, counts it, and says whether it becomes one.
    fn admit(&mut self, now: Instant, in_flight: usize) -> Option<Start> {
        let start = match &mut self.pace.schedule {
            None => Start { intended: now, open: false },
            Some(schedule) => Start { intended: schedule.take()?, open: true },
        };
        let too_late = now.saturating_duration_since(start.intended) > TOO_LATE && !self.pace.catch_up;
        let dropped = too_late || in_flight >= self.pace.in_flight_max;
        let mut recorder = self.pace.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.offered += 1;
        recorder.dropped += u64::from(dropped);
        (!dropped).then_some(start)
    }

    /// Lets the reactor and other tasks run.
    async fn rest(&mut self) {
        (self.starts, self.replies) = (0, 0);
        tokio::task::yield_now().await;
    }

    fn change_rate(&mut self) {
        let change = *self.pace.rates.borrow_and_update();
        if let (Some(schedule), Some(change)) = (&mut self.pace.schedule, change) {
            schedule.set_rate(change.at, change.ops_per_s * self.pace.share);
        }
    }

    /// Counts what a stalled generator still owes at its end.
    fn give_up(&mut self) {
        let Some(schedule) = &mut self.pace.schedule else { return };
        let now = Instant::now();
        let mut recorder = self.pace.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        while schedule.next_start().is_some_and(|due| due + LATE < now) {
            schedule.take();
            recorder.offered += 1;
            recorder.dropped += 1;
        }
    }
}

async fn wake(alarm: &mut Alarm, due: Option<Instant>) {
    match due {
        Some(due) => alarm.until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
