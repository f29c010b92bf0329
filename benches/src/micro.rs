//! What the parts of one op cost by themselves, without a socket: many batches, the median of their means.

use std::hint::black_box;

use anyhow::{Context, Result};
use memcache_client::breaker::{Breaker, Fleet, Verdict};
use memcache_client::{BreakerConfig, Key, Router};
use observation::Outcome;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio::time::Instant;
use workload::mix::OpKind;
use workload::recorder::{Ended, Recorder};
use workload::values;

use crate::stats::Spread;
use crate::table::Table;

/// Batches of each part.
const BATCHES: usize = 301;
/// Calls of one batch: short enough to fit between two interruptions.
const CALLS: usize = 2_000;
/// Keys that the calls go round.
const KEYS: usize = 1_024;
/// Servers of the router.
const SERVERS: [&str; 3] = ["memcached1", "memcached2", "memcached3"];

/// One part.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Nanoseconds a call.
    pub ns: Spread,
}

/// Measures every part.
pub fn measure() -> Result<Vec<Part>> {
    let keys = (0..KEYS).map(|n| Key::new(format!("bench:{n:08}"))).collect::<Result<Vec<_>, _>>();
    let keys = keys.context("keys")?;
    let made: Vec<_> = keys.iter().map(|key| values::encode(key.as_bytes(), 1, 100)).collect();
    let router = Router::new(SERVERS);
    let breakers = SERVERS.map(|_| breaker());
    let mut recorder = Recorder::new(SERVERS.len());
    Ok(vec![
        part("clock: Instant::now", |_| {
            black_box(Instant::now());
        }),
        part("router: candidates of 3 servers", |n| {
            black_box(router.candidates(black_box(&keys[n]).as_bytes()));
        }),
        part("breaker: permit and success", |_| permit(&breakers[0])),
        part("recorder: one attempt, one end", |n| record(&mut recorder, n % SERVERS.len(), n)),
        part("router + breaker + recorder", |n| {
            let home = router.candidates(black_box(&keys[n]).as_bytes())[0];
            permit(&breakers[home]);
            record(&mut recorder, home, n);
        }),
        part("value: encode 100 bytes", |n| {
            black_box(values::encode(black_box(&keys[n]).as_bytes(), n as u64, 100));
        }),
        part("value: verify 100 bytes", |n| {
            // Right by construction; a wrong one would be no faster.
            let _ = black_box(values::verify(keys[n].as_bytes(), black_box(&made[n])));
        }),
    ])
}

fn breaker() -> Breaker {
    let fleet = Fleet::new(SERVERS.len(), None);
    Breaker::new(BreakerConfig::default(), fleet, ChaCha8Rng::seed_from_u64(0))
}

fn permit(breaker: &Breaker) {
    // An op looks at the clock when it begins and when it ends.
    let now = Instant::now();
    if let (Some(permit), _) = black_box(breaker).try_acquire(now) {
        black_box(permit.end(Verdict::Success, Instant::now()));
    }
}

fn record(recorder: &mut Recorder, home: usize, n: usize) {
    // Latencies as they come: spread over some buckets of the histogram.
    let latency_us = 200 + (n as u64 % 128);
    black_box(&mut *recorder).attempted(home, Outcome::Hit);
    let ended = Ended { kind: OpKind::Get, home, outcome: Outcome::Hit, latency_us, service_us: latency_us };
    black_box(recorder).ended(ended);
}

fn part(name: &'static str, mut call: impl FnMut(usize)) -> Part {
    let mut batch = || {
        let began = Instant::now();
        for n in 0..CALLS {
            call(n % KEYS);
        }
        began.elapsed().as_nanos() as f64 / CALLS as f64
    };
    // The first warms caches and branch predictors.
    batch();
    Part { name, ns: Spread::of((0..BATCHES).map(|_| batch())) }
}

/// As a table.
pub fn table(parts: &[Part]) -> String {
    let mut table = Table::new(["part", "median ns", "least ns"]);
    for part in parts {
        table.row([part.name.to_owned(), format!("{:.1}", part.ns.median), format!("{:.1}", part.ns.min)]);
    }
    table.markdown()
}
