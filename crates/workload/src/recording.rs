//! What becomes of an op that has ended: counted, kept for a while, judged by the oracles, written to the op log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use look_aside::End;
use observation::Outcome;

use crate::events::BadRead;
use crate::flight::Ring;
use crate::mix::OpKind;
use crate::op::{Finished, KeyResult};
use crate::oracles::{Fate, OracleCounts};
use crate::recorder::{self, Recorder, micros};
use crate::shared::Shared;
use crate::trace::OpTrace;

/// Where one task's ops go.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) shared: Arc<Shared>,
    /// What it did since the last tick.
    pub(crate) recorder: Arc<Mutex<Recorder>>,
    /// Its last ops.
    pub(crate) ring: Ring,
}

/// What a driver started and has ended.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for every op")]
pub(crate) enum Ended {
    Op(Finished),
    /// A request; its ops have been recorded as they ended.
    Request {
        end: End,
        /// From the intended start.
        latency_us: u64,
    },
}

impl Recording {
    pub(crate) fn new(shared: Arc<Shared>, recorder: Arc<Mutex<Recorder>>) -> Self {
        Self { shared, recorder, ring: Ring::default() }
    }

    /// What a driver started has ended.
    pub(crate) fn record(&mut self, ended: &Ended) {
        match ended {
            Ended::Op(finished) => self.record_op(finished),
            Ended::Request { end, latency_us } => lock(&self.recorder).requests.ended(*end, *latency_us),
        }
    }

    /// An op has ended.
    pub(crate) fn record_op(&mut self, finished: &Finished) {
        let mut recorder = lock(&self.recorder);
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
            let mut trace = trace(&self.shared, finished, *number, result);
            self.ring.push(trace);
            if let Some(violation) = &result.violation {
                self.shared.events.wrong_value(result.home, &result.key, violation, &self.ring);
            }
            let judged = judge(&self.shared, &mut recorder.oracles, finished, *number, result, &self.ring);
            trace.outcome = judged.unwrap_or(trace.outcome);
            if let Some(log) = &self.shared.op_log {
                log.push(trace);
            }
            let (kind, home, outcome) = (finished.kind, result.home, trace.outcome);
            recorder.ended(recorder::Ended { kind, home, outcome, latency_us, service_us });
        }
    }

    /// An op has ended for which the schedule did not ask.
    pub(crate) fn record_unasked(&mut self, finished: &Finished) {
        {
            let mut recorder = lock(&self.recorder);
            recorder.offered += 1;
            recorder.started += 1;
            recorder.requests.unasked += 1;
        }
        self.record_op(finished);
    }
}

/// A write or delete has ended that is no part of the load: only the oracles hear of it, and they find nothing.
pub(crate) fn tell_oracles(shared: &Shared, finished: &Finished) {
    for (number, result) in finished.numbers.iter().zip(&finished.results) {
        judge(shared, &mut OracleCounts::default(), finished, *number, result, &Ring::default());
    }
}

/// What is kept of one op.
fn trace(shared: &Shared, finished: &Finished, number: usize, result: &KeyResult) -> OpTrace {
    let version = match finished.kind {
        OpKind::Get | OpKind::MultiGet => result.version,
        OpKind::Set | OpKind::Add => Some(finished.tick),
        OpKind::Incr => result.counter,
        OpKind::Delete | OpKind::Touch => None,
    };
    // The attempts of a multi-get are not those of one key.
    let last = finished.attempts.last().filter(|_| finished.kind != OpKind::MultiGet);
    OpTrace {
        kind: finished.kind,
        outcome: if result.violation.is_some() { Outcome::WrongValue } else { result.outcome },
        key: if finished.kind == OpKind::Incr { &shared.counters } else { &shared.table }.number(number),
        home: result.home as u32,
        server: last.map(|last| last.server as u32),
        version,
        intended_us: shared.events.at_us(finished.intended),
        lag_us: micros(finished.started.saturating_duration_since(finished.intended)),
        latency_us: micros(finished.ended.saturating_duration_since(finished.intended)),
    }
}

/// Tells the oracles what has ended, and the world what they say; the outcome if it is another one by that.
fn judge(
    shared: &Shared,
    counts: &mut OracleCounts,
    finished: &Finished,
    number: usize,
    result: &KeyResult,
    ring: &Ring,
) -> Option<Outcome> {
    let Shared { oracles, events, .. } = shared;
    let elsewhere = finished.attempts.last().is_some_and(|last| last.server != result.home);
    let acknowledges = oracles.acknowledges() || matches!(finished.kind, OpKind::Add | OpKind::Incr);
    let attempts = finished.attempts.iter().map(|attempt| attempt.outcome);
    let fate = || Fate::new(result.outcome, attempts, acknowledges);
    match finished.kind {
        OpKind::Set | OpKind::Add | OpKind::Delete => {
            oracles.changed(number, finished.tick, fate(), elsewhere, events.at_us(finished.ended));
        }
        OpKind::Get | OpKind::MultiGet => {
            let version = result.version?;
            let found = oracles.read(number, version, finished.tick);
            let read = BadRead { version, elsewhere, at_us: events.at_us(finished.started) };
            if let Some(by) = found.stale {
                counts.stale += 1;
                counts.stale_worst_us = counts.stale_worst_us.max(read.age_us(by));
                events.stale(result.home, &result.key, read, by, ring);
            }
            if let Some(by) = found.resurrected {
                counts.resurrected += 1;
                events.resurrected(result.home, &result.key, read, by, ring);
            }
        }
        OpKind::Incr => {
            let value = result.counter;
            let found = oracles.counted(number, finished.token?, fate(), value);
            if found.reset {
                counts.counter_resets += 1;
                events.counter_reset(result.home, &result.key, value);
            }
            if let Some(violation) = found.violation {
                events.wrong_value(result.home, &result.key, &violation, ring);
                return Some(Outcome::WrongValue);
            }
        }
        OpKind::Touch => {}
    }
    None
}

fn lock(recorder: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
