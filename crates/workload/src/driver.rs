//! The one loop that makes load. Arrivals, mix, keys and values are arguments; nothing here asks which they are.
//!
//! A driver is one task with its own random source, schedule and recorder; several of them share the client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use memcache_client::Client;
use observation::Outcome;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::arrivals::pacer::{Pace, Pacer, Step};
use crate::events::EventSink;
use crate::keys::{KeyDistribution, KeyTable};
use crate::mix::{Mix, OpKind};
use crate::op::{Finished, PlannedOp};
use crate::recorder::{Ended, Recorder};
use crate::sizes::ValueSize;
use crate::ttl::Ttl;
use crate::values;

/// Ops in flight when the load stops may take this long to end.
const DRAIN: Duration = Duration::from_secs(2);

/// What all drivers of a load share.
#[derive(Debug)]
pub struct Shared {
    /// The client under test.
    pub client: Client,
    /// Which ops.
    pub mix: Mix,
    /// Keys of values.
    pub table: KeyTable,
    /// Keys of counters; kept apart, because a counter's value is not one of ours.
    pub counters: KeyTable,
    /// How long values are.
    pub value_size: ValueSize,
    /// Time to live of what is written.
    pub ttl: Ttl,
    /// Version of the next value; grows over all drivers.
    pub version: AtomicU64,
    /// Where wrong values are reported.
    pub events: EventSink,
}

/// One task's part of the load.
#[derive(Debug)]
pub struct Driver {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its own random source.
    pub rng: ChaCha8Rng,
    /// Which keys.
    pub keys: Box<dyn KeyDistribution>,
    /// What it did since the last tick.
    pub recorder: Arc<Mutex<Recorder>>,
}

impl Driver {
    /// Makes load until `stop`, then lets the ops in flight end.
    pub async fn run(mut self, pace: Pace, stop: CancellationToken) {
        let (shared, recorder) = (Arc::clone(&self.shared), Arc::clone(&self.recorder));
        let mut pacer = Pacer::new(pace, Alarm::exact());
        let mut in_flight = FuturesUnordered::new();
        loop {
            match pacer.next(&mut in_flight, &stop).await {
                Step::Stopped => break,
                Step::Ended(finished) => self.record(finished),
                Step::Start(start) => {
                    let (op, client, recorder) = (self.plan(), &shared.client, &*recorder);
                    in_flight.push(async move {
                        start.count(recorder);
                        op.run(client, start.intended).await
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

    fn plan(&mut self) -> PlannedOp {
        let shared = Arc::clone(&self.shared);
        let op = shared.mix.draw(&mut self.rng);
        let mut key = || shared.table.key(self.keys.draw(&mut self.rng));
        match op.kind {
            OpKind::Get => PlannedOp::Get(key()),
            OpKind::Delete => PlannedOp::Delete(key()),
            OpKind::MultiGet => PlannedOp::MultiGet((0..op.keys).map(|_| key()).collect()),
            OpKind::Touch => PlannedOp::Touch(key(), shared.ttl.draw(&mut self.rng)),
            OpKind::Set | OpKind::Add => {
                let key = key();
                let version = shared.version.fetch_add(1, Ordering::Relaxed);
                let value = values::encode(key.as_bytes(), version, shared.value_size.draw(&mut self.rng));
                let ttl = shared.ttl.draw(&mut self.rng);
                match op.kind {
                    OpKind::Set => PlannedOp::Set(key, value, ttl),
                    _ => PlannedOp::Add(key, value, ttl),
                }
            }
            OpKind::Incr => {
                let n = self.rng.random_range(0..shared.counters.len());
                PlannedOp::Incr(shared.counters.key(n))
            }
        }
    }

    fn record(&self, finished: Finished) {
        let mut recorder = self.recorder();
        let latency_us = micros(finished.ended.saturating_duration_since(finished.intended));
        let service_us = micros(finished.ended.saturating_duration_since(finished.started));
        // The schedule counted the multi-get once; it stands for its keys.
        let keys = finished.results.len() as u64;
        recorder.offered += keys.saturating_sub(1);
        recorder.started += keys.saturating_sub(1);
        for attempt in &finished.attempts {
            recorder.attempted(attempt.server, attempt.outcome);
        }
        for result in &finished.results {
            let mut outcome = result.outcome;
            if let Some(violation) = &result.violation {
                outcome = Outcome::WrongValue;
                self.shared.events.wrong_value(result.home, &result.key, violation);
            }
            recorder.ended(Ended { kind: finished.kind, home: result.home, outcome, latency_us, service_us });
        }
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
