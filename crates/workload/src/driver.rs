//! The one loop that makes load. Arrivals, mix, keys and values are arguments; nothing here asks which they are.
//!
//! A driver is one task with its own random source, schedule and recorder; several of them share the client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alarm::Alarm;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use memcache_client::Client;
use observation::Outcome;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use smallvec::{SmallVec, smallvec};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::pacer::{Pace, Pacer, Step};
use crate::events::{BadRead, EventSink};
use crate::flight::Ring;
use crate::keys::{KeyDistribution, KeyTable};
use crate::look_aside::ThroughCache;
use crate::mix::{Mix, OpKind};
use crate::op::{Finished, KeyResult, Planned, PlannedOp};
use crate::op_log::OpLog;
use crate::oracles::{Fate, OracleCounts, Oracles};
use crate::recorder::{Recorder, micros};
use crate::recording::Recording;
use crate::sizes::ValueSize;
use crate::trace::OpTrace;
use crate::ttl::Ttl;
use crate::values;

/// Ops in flight when the load stops may take this long to end.
const DRAIN: Duration = Duration::from_secs(2);

/// What all drivers of a load share.
#[derive(Debug)]
pub struct Shared {
    /// The client under test.
    pub client: Client,
    /// Keys of values.
    pub table: KeyTable,
    /// Keys of counters; kept apart, because a counter's value is not one of ours.
    pub counters: KeyTable,
    /// How long values are.
    pub value_size: ValueSize,
    /// Time to live of what is written.
    pub ttl: Ttl,
    /// What must hold between ops; also gives the versions of values, which grow over all drivers.
    pub oracles: Oracles,
    /// Where wrong values are reported.
    pub events: EventSink,
    /// Where every op is written, if it is.
    pub(crate) op_log: Option<OpLog>,
}

/// One task's part of the load.
#[derive(Debug)]
pub struct Driver {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Which ops.
    pub mix: Arc<Mix>,
    /// The same, as it changes.
    pub(crate) mixes: watch::Receiver<Arc<Mix>>,
    /// Its own random source.
    pub rng: ChaCha8Rng,
    /// Which keys.
    pub keys: Box<dyn KeyDistribution>,
    /// Through a cache to a database, in place of the mix.
    pub(crate) look_aside: Option<ThroughCache>,
    /// What it did.
    pub(crate) recording: Recording,
}

/// What a driver starts next.
enum Next {
    Op(Planned),
    /// A request for the key of this number.
    Request(ThroughCache, usize),
}

impl Driver {
    /// Makes load until `stop`, then lets the ops in flight end.
    pub async fn run(mut self, pace: Pace, stop: CancellationToken) {
        let (shared, recorder) = (Arc::clone(&self.shared), Arc::clone(&self.recording.recorder));
        let mut pacer = Pacer::new(pace, Alarm::exact());
        let mut in_flight = FuturesUnordered::new();
        loop {
            match pacer.next(&mut in_flight, &stop).await {
                Step::Stopped => break,
                Step::Ended(finished) => self.record(finished),
                Step::Start(start) => {
                    if self.mixes.has_changed().unwrap_or(false) {
                        self.mix = Arc::clone(&self.mixes.borrow_and_update());
                    }
                    let (next, client, recorder) = (self.next(), &shared.client, &*recorder);
                    in_flight.push(async move {
                        start.count(recorder);
                        next.run(client, recorder, start.intended).await
                    });
                }
            }
        }
        let drain = async {
            while let Some(finished) = in_flight.next().await {
                self.record(finished);
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            tracing::warn!(
                "ops were still in flight {DRAIN:?} after the end of the load; they are not counted"
            );
        }
    }

    fn next(&mut self) -> Next {
        match &self.look_aside {
            Some(through) => Next::Request(through.clone(), self.keys.draw(&mut self.rng)),
            None => Next::Op(self.plan()),
        }
    }

    fn record(&mut self, finished: Option<Finished>) {
        if let Some(finished) = finished {
            self.recording.record(&finished);
        }
    }

    fn plan(&mut self) -> Planned {
        let shared = Arc::clone(&self.shared);
        let oracles = &shared.oracles;
        let op = self.mix.draw(&mut self.rng);
        if op.kind == OpKind::Incr {
            let n = self.rng.random_range(0..shared.counters.len());
            let token = Some(oracles.plan_incr(n));
            let op = PlannedOp::Incr(shared.counters.key(n));
            return Planned { op, numbers: smallvec![n], tick: 0, token };
        }
        let numbers: SmallVec<[usize; 1]> = (0..op.keys).map(|_| self.keys.draw(&mut self.rng)).collect();
        let (n, key) = (numbers[0], shared.table.key(numbers[0]));
        let (tick, op) = match op.kind {
            OpKind::Get | OpKind::Incr => (oracles.plan_read(), PlannedOp::Get(key)),
            OpKind::Delete => (oracles.plan_delete(n), PlannedOp::Delete(key)),
            OpKind::MultiGet => {
                let keys = numbers.iter().map(|n| shared.table.key(*n)).collect();
                (oracles.plan_read(), PlannedOp::MultiGet(keys))
            }
            OpKind::Touch => (0, PlannedOp::Touch(key, shared.ttl.draw(&mut self.rng))),
            OpKind::Set | OpKind::Add => {
                let version = oracles.plan_write(n);
                let value = values::encode(key.as_bytes(), version, shared.value_size.draw(&mut self.rng));
                let ttl = shared.ttl.draw(&mut self.rng);
                let planned = if op.kind == OpKind::Set { PlannedOp::Set } else { PlannedOp::Add };
                (version, planned(key, value, ttl))
            }
        };
        Planned { op, numbers, tick, token: None }
    }
}

impl Next {
    /// `None`: a request, which is counted; its ops have been recorded as they ended.
    async fn run(self, client: &Client, recorder: &Mutex<Recorder>, intended: Instant) -> Option<Finished> {
        match self {
            Next::Op(planned) => Some(planned.run(client, intended).await),
            Next::Request(through, key) => {
                let end = through.request(key).await;
                let latency_us = micros(intended.elapsed());
                let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
                recorder.requests.ended(end, latency_us);
                None
            }
        }
    }
}

impl Shared {
    /// What is kept of one op.
    pub(crate) fn trace(&self, finished: &Finished, number: usize, result: &KeyResult) -> OpTrace {
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
            key: if finished.kind == OpKind::Incr { &self.counters } else { &self.table }.number(number),
            home: result.home as u32,
            server: last.map(|last| last.server as u32),
            version,
            intended_us: self.events.at_us(finished.intended),
            lag_us: micros(finished.started.saturating_duration_since(finished.intended)),
            latency_us: micros(finished.ended.saturating_duration_since(finished.intended)),
        }
    }

    /// Tells the oracles what has ended, and the world what they say; the outcome if it is another one by that.
    pub(crate) fn judge(
        &self,
        counts: &mut OracleCounts,
        finished: &Finished,
        number: usize,
        result: &KeyResult,
        ring: &Ring,
    ) -> Option<Outcome> {
        let Shared { oracles, events, .. } = self;
        let elsewhere = finished.attempts.last().is_some_and(|last| last.server != result.home);
        match finished.kind {
            OpKind::Set | OpKind::Add | OpKind::Delete => {
                let acknowledges = oracles.acknowledges() || finished.kind == OpKind::Add;
                let attempts = finished.attempts.iter().map(|attempt| attempt.outcome);
                let fate = Fate::new(result.outcome, attempts, acknowledges);
                oracles.changed(number, finished.tick, fate, elsewhere, events.at_us(finished.ended));
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
                let found = oracles.counted(number, finished.token?, result.outcome, value, finished.ended);
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
}
