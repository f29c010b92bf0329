//! A look-aside cache in memory before a simulated database, under paused time: seconds of it in milliseconds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use database::{Config, Database, Service};
use look_aside::{LookAside, Memory, Mitigation, Policy, Setup};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What happens at a moment, s.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// This share of the keys is removed.
    Flush(f64),
    /// The database's capacity changes to this share.
    Capacity(f64),
    /// What is queued in the database is thrown away.
    DropQueue,
    /// A node of the cache is lost.
    Lost(usize),
    /// Requests a second from now on.
    Rate(f64),
}

/// Load, cache, database and what happens to them.
#[derive(Debug, Clone)]
pub struct Model {
    pub rate: f64,
    pub keys: usize,
    /// Exponent of Zipf's law; 0: uniform.
    pub zipf: f64,
    /// 0: no cache.
    pub ttl: f64,
    pub nodes: usize,
    pub setup: Setup,
    pub deeds: Vec<(f64, Deed)>,
    pub seconds: usize,
}

/// One second of the schedule: its requests, and what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Second {
    pub offered: u32,
    pub good: u32,
    pub hits: u32,
    /// Queries that the database was asked within it.
    pub demanded: u64,
}

impl Second {
    pub fn goodput(&self) -> f64 {
        f64::from(self.good) / f64::from(self.offered.max(1))
    }
}

/// 5 workers of 20 ms, and callers of 200 ms and two retries.
fn setup(workers: usize, service_ms: u64, patience_ms: u64, retries: u32) -> Setup {
    let service = Service::Exponential(Duration::from_millis(service_ms));
    let database = Config { workers, service, ..Config::default() };
    let policy = Policy { patience: Duration::from_millis(patience_ms), retries, ..Policy::default() };
    Setup { database, policy, failover: false }
}

impl Model {
    /// FAST: all is flushed after 8 s, and 22 s are watched.
    pub fn fast() -> Self {
        Self {
            rate: 1_000.0,
            keys: 1_000,
            zipf: 0.0,
            ttl: 10.0,
            nodes: 1,
            setup: setup(5, 20, 200, 2),
            deeds: vec![(8.0, Deed::Flush(1.0))],
            seconds: 30,
        }
    }

    /// ZIPF: all is flushed after 8 s; 1.5 lives of a key are watched, and some more.
    pub fn zipf() -> Self {
        let setup = setup(5, 10, 250, 2);
        Self { rate: 2_000.0, keys: 5_000, zipf: 0.9, ttl: 30.0, setup, seconds: 60, ..Self::fast() }
    }

    /// RETRY: no cache; after 5 s the database has 0.3 of its capacity for so long.
    pub fn retry(retries: u32, dip: f64) -> Self {
        let setup = setup(10, 10, 100, retries);
        let deeds = vec![(5.0, Deed::Capacity(0.3)), (5.0 + dip, Deed::Capacity(1.0))];
        Self { rate: 700.0, keys: 1, ttl: 0.0, setup, deeds, seconds: 30, ..Self::fast() }
    }

    /// The same with these switched on: names, separated by spaces.
    pub fn with(mut self, mitigations: &str) -> Self {
        let mitigations: Vec<Mitigation> =
            mitigations.split_whitespace().map(|name| name.parse().unwrap()).collect();
        self.setup = self.setup.with(&mitigations);
        self
    }

    /// Runs it in a world of its own.
    pub fn run(&self, seed: u64) -> Vec<Second> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(self.seconds(seed))
    }

    async fn seconds(&self, seed: u64) -> Vec<Second> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let database = Database::start(Config { seed, ..self.setup.database }).unwrap();
        let ttl = Duration::from_secs_f64(self.ttl);
        let memory = Memory::new(self.nodes, self.keys, ttl, self.setup.failover);
        let weights = self.weights();
        if self.ttl > 0.0 {
            // As it would be after a long time: a key is there with the share of time that it is, and its age is any.
            for (key, share) in weights.iter().map(|(_, share)| share).enumerate() {
                let life = share * self.rate * self.ttl;
                if rng.random::<f64>() < life / (1.0 + life) {
                    memory.put(key, ttl.mul_f64(rng.random()));
                }
            }
        }
        let look_aside = LookAside::new(memory.clone(), database.clone(), self.setup.policy, seed);
        let seconds = Arc::new(Mutex::new(vec![Second::default(); self.seconds]));
        let (began, mut deeds, mut rate) = (Instant::now(), self.deeds.iter().peekable(), self.rate);
        let mut requests = JoinSet::new();
        let (mut at, mut demanded) = (0.0, 0);
        let mut counted = 0;
        loop {
            let arrives = at - (1.0 - rng.random::<f64>()).ln() / rate.max(1e-9);
            let deed = deeds.next_if(|(when, _)| *when <= arrives);
            // A change of the rate forgets the gap that was drawn, which has no memory.
            let next = deed.map_or(arrives, |(when, _)| *when);
            while counted < self.seconds && next >= (counted + 1) as f64 {
                // Sleeps: in paused time, until this second is over.
                tokio::time::sleep_until(began + Duration::from_secs(counted as u64 + 1)).await;
                let now = database.snapshot().demanded;
                seconds.lock().unwrap()[counted].demanded = now - std::mem::replace(&mut demanded, now);
                counted += 1;
            }
            if next >= self.seconds as f64 {
                break;
            }
            // Sleeps: in paused time, until the next request or deed.
            tokio::time::sleep_until(began + Duration::from_secs_f64(next)).await;
            at = next;
            match deed {
                Some((_, Deed::Flush(share))) => memory.flush(|_| rng.random::<f64>() < *share),
                Some((_, Deed::Capacity(factor))) => database.set_capacity(*factor).unwrap(),
                Some((_, Deed::DropQueue)) => drop(database.drop_queue()),
                Some((_, Deed::Lost(node))) => memory.set_up(*node, false),
                Some((_, Deed::Rate(new))) => rate = *new,
                None => {
                    let point = rng.random::<f64>();
                    let key = weights.partition_point(|(end, _)| *end < point).min(self.keys - 1);
                    let (look_aside, seconds) = (look_aside.clone(), Arc::clone(&seconds));
                    requests.spawn(async move {
                        let end = look_aside.request(key).await;
                        let mut seconds = seconds.lock().unwrap();
                        let second = &mut seconds[next as usize];
                        second.offered += 1;
                        second.good += u32::from(end.is_good());
                        second.hits += u32::from(end == look_aside::End::Hit);
                    });
                    while requests.try_join_next().is_some() {}
                }
            }
        }
        requests.join_all().await;
        let seconds = seconds.lock().unwrap();
        seconds.clone()
    }

    /// By key: upper end of its share of all requests, and the share.
    fn weights(&self) -> Vec<(f64, f64)> {
        let weights: Vec<f64> = (1..=self.keys).map(|rank| (rank as f64).powf(-self.zipf)).collect();
        let total: f64 = weights.iter().sum();
        let mut end = 0.0;
        weights
            .into_iter()
            .map(|weight| {
                end += weight / total;
                (end, weight / total)
            })
            .collect()
    }
}

/// Goodput of these seconds together.
pub fn goodput(seconds: &[Second]) -> f64 {
    let offered: u32 = seconds.iter().map(|second| second.offered).sum();
    let good: u32 = seconds.iter().map(|second| second.good).sum();
    f64::from(good) / f64::from(offered.max(1))
}

/// Goodput of the last 10 s: 4.4 of the ground.
pub fn end(seconds: &[Second]) -> f64 {
    goodput(&seconds[seconds.len() - 10..])
}

/// Seconds from `after` until the goodput is 0.95 and stays so for 3 s.
pub fn recovered_after(seconds: &[Second], after: usize) -> Option<usize> {
    let good = |second: &Second| second.goodput() >= 0.95;
    seconds[after..].windows(3).position(|three| three.iter().all(good))
}
