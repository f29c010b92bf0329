//! What all drivers of a load did from one tick to the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use observation::{ServerTick, Tick};
use tokio::time::Instant;

use crate::recorder::{Recorder, micros, sparse};

/// Cuts the time of a load into intervals.
#[derive(Debug)]
pub(crate) struct Intervals {
    recorders: Vec<Arc<Mutex<Recorder>>>,
    sum: Recorder,
    spare: Recorder,
    began: Instant,
}

/// The interval that has just ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval<'a> {
    /// What all drivers recorded.
    pub(crate) recorded: &'a Recorder,
    /// When it ended.
    pub(crate) ended: Instant,
    /// How long it was.
    pub(crate) period: Duration,
}

impl Intervals {
    /// The first begins now. `servers`: as many as the recorders have.
    pub(crate) fn new(recorders: Vec<Arc<Mutex<Recorder>>>, servers: usize) -> Self {
        let (sum, spare) = (Recorder::new(servers), Recorder::new(servers));
        Self { recorders, sum, spare, began: Instant::now() }
    }

    /// Ends the interval; the next begins.
    pub(crate) fn end(&mut self) -> Interval<'_> {
        self.sum.clear();
        for recorder in &self.recorders {
            // Drivers wait for the exchange only, not for the sum.
            std::mem::swap(&mut *recorder.lock().unwrap_or_else(PoisonError::into_inner), &mut self.spare);
            self.sum.add(&self.spare);
            self.spare.clear();
        }
        let ended = Instant::now();
        let period = ended - std::mem::replace(&mut self.began, ended);
        Interval { recorded: &self.sum, ended, period }
    }
}

impl Interval<'_> {
    /// As it goes into the observation stream.
    pub(crate) fn tick(&self, at_us: u64, servers: Vec<ServerTick>) -> Tick {
        let recorded = self.recorded;
        Tick {
            at_us,
            period_us: micros(self.period),
            offered: recorded.offered,
            started: recorded.started,
            late: recorded.late,
            late_1ms: recorded.late_1ms,
            dropped: recorded.dropped,
            lag: sparse(&recorded.lag),
            servers,
        }
    }
}
