//! What becomes of an op that has ended: counted, kept for a while, judged by the oracles, written to the op log.

use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::Shared;
use crate::flight::Ring;
use crate::op::Finished;
use crate::recorder::{Ended, Recorder, micros};

/// Where one task's ops go.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) shared: Arc<Shared>,
    /// What it did since the last tick.
    pub(crate) recorder: Arc<Mutex<Recorder>>,
    /// Its last ops.
    pub(crate) ring: Ring,
}

impl Recording {
    pub(crate) fn new(shared: Arc<Shared>, recorder: Arc<Mutex<Recorder>>) -> Self {
        Self { shared, recorder, ring: Ring::default() }
    }

    /// An op has ended.
    pub(crate) fn record(&mut self, finished: &Finished) {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let latency_us = micros(finished.ended.saturating_duration_since(finished.intended));
        let service_us = micros(finished.ended.saturating_duration_since(finished.started));
        // The schedule counted the multi-get once; it stands for its keys.
        let keys = finished.results.len() as u64;
        recorder.offered += keys.saturating_sub(1);
        recorder.started += keys.saturating_sub(1);
        for attempt in &finished.attempts {
            recorder.attempted(attempt.server, attempt.outcome);
        }
        for (number, result) in finished.numbers.iter().zip(&finished.results) {
            let mut trace = self.shared.trace(finished, *number, result);
            self.ring.push(trace);
            if let Some(violation) = &result.violation {
                self.shared.events.wrong_value(result.home, &result.key, violation, &self.ring);
            }
            if let Some(outcome) =
                self.shared.judge(&mut recorder.oracles, finished, *number, result, &self.ring)
            {
                trace.outcome = outcome;
            }
            if let Some(log) = &self.shared.op_log {
                log.push(trace);
            }
            let (kind, home, outcome) = (finished.kind, result.home, trace.outcome);
            recorder.ended(Ended { kind, home, outcome, latency_us, service_us });
        }
    }

    /// An op has ended for which the schedule did not ask.
    pub(crate) fn record_unasked(&mut self, finished: &Finished) {
        {
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.offered += 1;
            recorder.started += 1;
            recorder.requests.unasked += 1;
        }
        self.record(finished);
    }
}
