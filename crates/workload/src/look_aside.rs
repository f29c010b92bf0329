//! The workload `look-aside`: a request reads the cache through the client under test, loads what it misses from a
//! simulated database, and fills the cache.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::{Database, Snapshot};
use futures::StreamExt;
use look_aside::{Cache, LookAside, Lookup, Setup};
use observation::{DatabaseTick, Outcome};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::op::{Finished, Planned};
use crate::recorder::{Recorder, sparse};
use crate::recording::{Recording, tell_oracles};
use crate::shared::Shared;
use crate::target::Op;
use crate::values;

/// As the value of `--workload`.
pub const NAME: &str = "look-aside";
/// The random stream of what fills write; drivers and the prefill have others.
const FILL_STREAM: u64 = u64::MAX - 1;
/// Deletes in flight at most: fewer than a pool has connections, so that the load finds some too.
const DELETES_MAX: usize = 16;
/// How often one that fails is tried.
const DELETE_TRIES: usize = 3;

/// Requests through the cache to the database.
pub(crate) type ThroughCache = LookAside<Memcache>;

/// The cache: the client under test. What it does is recorded like any op, apart from the requests.
#[derive(Debug)]
pub(crate) struct Memcache {
    shared: Arc<Shared>,
    recording: Mutex<Recording>,
    rng: Mutex<ChaCha8Rng>,
}

pub(crate) fn through(
    shared: &Arc<Shared>,
    recorder: &Arc<Mutex<Recorder>>,
    database: Database,
    setup: Setup,
    seed: u64,
) -> ThroughCache {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(FILL_STREAM);
    let recording = Mutex::new(Recording::new(Arc::clone(shared), Arc::clone(recorder)));
    let cache = Memcache { shared: Arc::clone(shared), recording, rng: Mutex::new(rng) };
    LookAside::new(cache, database, setup.policy, seed)
}

impl Memcache {
    async fn run(&self, op: Op, number: usize, tick: u64) -> Finished {
        Planned::one(op, number, tick).run(&self.shared.target, Instant::now()).await
    }
}

impl Cache for Memcache {
    async fn get(&self, number: usize) -> Lookup {
        let tick = self.shared.oracles.plan_read();
        let finished = self.run(Op::Get(self.shared.table.key(number)), number, tick).await;
        lock(&self.recording).record_op(&finished);
        match finished.results.first().map(|result| (result.outcome, result.violation.is_some())) {
            Some((Outcome::Hit, false)) => Lookup::Hit,
            Some((Outcome::Miss, _)) => Lookup::Miss,
            _ => Lookup::Failed,
        }
    }

    async fn fill(&self, number: usize) {
        let key = self.shared.table.key(number);
        let version = self.shared.oracles.plan_write(number);
        let (value, ttl) = {
            let mut rng = lock(&self.rng);
            let size = self.shared.value_size.draw(&mut rng);
            (values::encode(key.as_bytes(), version, size), self.shared.ttl.draw(&mut rng))
        };
        // Some fills run in tasks of their own.
        let fill = async {
            let finished = self.run(Op::Set { key, value, ttl }, number, version).await;
            lock(&self.recording).record_unasked(&finished);
        };
        self.shared.deaths.watch("a fill of the cache", fill).await;
    }
}

/// What became of the deletes of a flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Keys that were to be deleted.
    pub asked: u64,
    /// Deletes that no server has acknowledged.
    pub failed: u64,
}

/// Deletes each key with this probability; what fails is tried again.
pub(crate) async fn flush(shared: &Shared, share: f64, seed: u64) -> Flushed {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut left: Vec<usize> = (0..shared.table.len()).filter(|_| rng.random::<f64>() < share).collect();
    let asked = left.len() as u64;
    for _ in 0..DELETE_TRIES {
        let deletes = std::mem::take(&mut left).into_iter().map(|number| {
            let tick = shared.oracles.plan_delete(number);
            let delete = Planned::one(Op::Delete(shared.table.key(number)), number, tick);
            delete.run(&shared.target, Instant::now())
        });
        let mut deletes = futures::stream::iter(deletes).buffer_unordered(DELETES_MAX);
        while let Some(finished) = deletes.next().await {
            tell_oracles(shared, &finished);
            for (number, result) in finished.numbers.iter().zip(&finished.results) {
                if !result.outcome.is_ok() {
                    left.push(*number);
                }
            }
        }
    }
    Flushed { asked, failed: left.len() as u64 }
}

/// Sees what the database did since it last looked.
#[derive(Debug)]
pub(crate) struct Watch {
    database: Database,
    before: Snapshot,
}

impl Watch {
    pub(crate) fn new(database: Database) -> Self {
        Self { before: database.snapshot(), database }
    }

    pub(crate) fn record(
        &mut self,
        at_us: u64,
        period: Duration,
        interval: &Recorder,
    ) -> observation::LookAside {
        let now = self.database.snapshot();
        let before = std::mem::replace(&mut self.before, now);
        let [hits, loaded, timed_out, refused, shed] = interval.requests.ends;
        observation::LookAside {
            at_us,
            period_us: period.as_micros() as u64,
            offered: interval.offered.saturating_sub(interval.requests.unasked),
            hits,
            loaded,
            timed_out,
            refused,
            shed,
            latency: interval.requests.latency.as_deref().map(sparse).unwrap_or_default(),
            database: DatabaseTick {
                demanded: now.demanded - before.demanded,
                refused: now.refused - before.refused,
                served: now.served - before.served,
                in_vain: now.in_vain - before.in_vain,
                expired: now.expired - before.expired,
                queued: now.queued as u64,
                in_service: now.in_service as u64,
                oldest_us: now.oldest.as_micros() as u64,
                capacity: self.database.capacity(),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use memcache_client::Config;
    use observation::Record;
    use prometheus::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::fixture::{exported, fake_server, ours, until};
    use crate::{Arrivals, Load, LoadConfig};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_go_through_the_cache_and_what_it_misses_is_loaded_once() {
        let fake = fake_server().await;
        let setup = Setup::default();
        let config = LoadConfig {
            arrivals: Arrivals::Poisson(200.0),
            keys: 20,
            key_dist: "uniform".parse().unwrap(),
            look_aside: Some(setup),
            ..LoadConfig::default()
        };
        let registry = Registry::new();
        let prepared = Load::prepare(&config, ours(&fake, Config::default()), &registry).unwrap();
        let ended = |how| exported(&registry, "loadgen_requests_total", Some(how));
        let mut reader = prepared.hub().subscribe();
        prepared.prefill(&CancellationToken::new(), |_| {}).await;
        let load = prepared.start();
        until(|| ended("hit") >= 80.0).await;
        assert_eq!(load.flush(1.0, 1).await, Flushed { asked: 20, failed: 0 });
        assert!(fake.value(b"lg:k:00000003").is_none());
        let changed = load.control().change(None, Some("set=1".parse().unwrap()));
        assert_eq!(changed, Err(crate::ControlError::NoMix));
        let seen = load.database().unwrap().clone();
        until(|| ended("hit") > 300.0 && ended("loaded") >= 18.0).await;
        let summary = load.stop().await;
        let [hits, loaded, timed_out, ..] = summary.totals.requests.ends;
        assert!(
            hits > 200 && (18..=40).contains(&loaded) && timed_out == 0,
            "{:?}",
            summary.totals.requests.ends
        );
        assert_eq!(seen.snapshot().served, loaded);
        let mut told = observation::LookAside::default();
        while let Ok(Some(line)) = tokio::time::timeout(Duration::from_millis(300), reader.next_line()).await
        {
            if let Ok(Record::LookAside(record)) = serde_json::from_str(&line) {
                told.offered += record.offered;
                (told.hits, told.loaded) = (told.hits + record.hits, told.loaded + record.loaded);
                told.database.demanded += record.database.demanded;
                assert_eq!(record.latency.count(), record.ended());
            }
        }
        assert_eq!((told.hits, told.loaded, told.database.demanded), (hits, loaded, loaded));
        assert_eq!((told.offered, summary.wrong_values()), (told.hits + told.loaded, 0));
    }
}
