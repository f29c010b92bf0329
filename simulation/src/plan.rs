//! What a seed draws: how many servers and clients, every setting, and how the load looks. Faults are drawn in
//! [`fault`](crate::fault).

use std::time::Duration;

use memcache_client::{
    BreakerConfig, Config, Hedge, Mode, OnOpen, PoolConfig, Probes, RatioRule, Routing, SlowRule,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fault::{self, Event};

/// Times of a run that every seed shares.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);
/// After the last fault, beyond a breaker's open time, until all breakers must be closed.
const RECOVERY: Duration = Duration::from_secs(3);
/// How long the load goes on after that.
const PEACE: Duration = Duration::from_secs(1);

/// One run, before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What all was drawn from.
    pub seed: u64,
    /// Servers.
    pub servers: usize,
    /// Processes that have a client each.
    pub clients: usize,
    /// Tasks that share a client.
    pub tasks: usize,
    /// Settings of every client.
    pub config: Config,
    /// Shortest and longest way of a message.
    pub latency: (Duration, Duration),
    /// Longest pause of a task between two ops.
    pub pause: Duration,
    /// Share of ops that are dropped while the faults last.
    pub drops: f64,
    /// Bytes that values may be longer than they must be.
    pub padding: usize,
    /// What happens to the servers and the network; in order of time.
    pub faults: Vec<Event>,
    /// When the last fault has ended.
    pub healed: Duration,
}

/// A generator of its own for each part of a run, so that one part's draws do not move another's.
pub(crate) fn generator(seed: u64, part: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(part);
    rng
}

impl Plan {
    /// Draws the run of this seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = generator(seed, 1);
        let rng = &mut rng;
        let servers = rng.random_range(1..=5);
        let clients = if rng.random_bool(0.3) { 2 } else { 1 };
        let op_timeout = ms(rng.random_range(80..=250));
        let shortest = rng.random_range(0..=2);
        let longest = rng.random_range(shortest + 1..=op_timeout.as_millis() as u64 / 8);
        let healed = ms(rng.random_range(3_000..=7_000));
        let calm = rng.random_bool(0.1);
        let config = config(rng, seed, servers, op_timeout);
        let mut plan = Self {
            seed,
            servers,
            clients,
            tasks: rng.random_range(3..=10),
            config,
            latency: (ms(shortest), ms(longest)),
            pause: ms(rng.random_range(5..=40)),
            drops: if rng.random_bool(0.8) { 0.01 } else { 0.1 },
            padding: if rng.random_bool(0.7) { 40 } else { 20_000 },
            faults: Vec::new(),
            healed,
        };
        if !calm {
            plan.faults = fault::draw(&plan);
        }
        plan
    }

    /// No fault at all?
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }

    /// When all breakers must be closed.
    pub fn recovered(&self) -> Duration {
        let open = self.config.breaker.as_ref().map_or(Duration::ZERO, |breaker| {
            breaker.open_max.unwrap_or(breaker.open).max(breaker.open).mul_f64(1.0 + breaker.open_jitter)
        });
        self.healed + open + RECOVERY
    }

    /// When the load ends.
    pub fn end(&self) -> Duration {
        self.recovered() + PEACE
    }

    /// Does load reach this server once all are well? Ops go to a stand-in only while a home is ejected: without probes
    /// of the client's own, its breaker stays open until it is needed.
    pub fn is_visited(&self, server: usize) -> bool {
        let probes = self.config.breaker.as_ref().map(|breaker| breaker.probes);
        let stands_in = self.config.routing.gutter.contains(&format!("server-{server}"));
        !stands_in || probes == Some(Probes::OutOfBand)
    }

    /// Servers that may be ejected at a time.
    pub fn max_ejected(&self) -> usize {
        self.config.routing.max_ejected.unwrap_or(self.servers - 1)
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(rng: &mut ChaCha8Rng, seed: u64, servers: usize, op_timeout: Duration) -> Config {
    let hedge = rng.random_bool(0.4).then(|| Hedge {
        after: op_timeout.mul_f64(rng.random_range(0.1..0.6)),
        budget: rng.random_range(0.05..=1.0),
    });
    let mode = if rng.random_bool(0.5) {
        Mode::Pooled
    } else {
        Mode::Pipelined { connections: rng.random_range(1..=3), depth: rng.random_range(1..=16) }
    };
    Config {
        op_timeout,
        total_timeout: op_timeout.mul_f64(rng.random_range(1.0..4.0)),
        connect_timeout: op_timeout.mul_f64(rng.random_range(0.5..1.5)),
        pool: PoolConfig {
            max: rng.random_range(1..=8),
            max_waiting: rng.random_range(0..=32),
            max_wait_share: rng.random_range(0.0..=0.5),
            idle_max: ms(rng.random_range(500..=60_000)),
            lifetime_max: rng.random_bool(0.3).then(|| ms(rng.random_range(500..=5_000))),
            dials_per_s: rng.random_bool(0.3).then(|| rng.random_range(5.0..=50.0)),
        },
        breaker: rng.random_bool(0.95).then(|| breaker(rng, op_timeout)),
        routing: Routing {
            on_open: if rng.random_bool(0.6) { OnOpen::Failover } else { OnOpen::FailFast },
            failover_ttl: ms(rng.random_range(1_000..=10_000)),
            max_ejected: rng.random_bool(0.2).then(|| rng.random_range(0..servers)),
            gutter: if servers > 2 && rng.random_bool(0.2) {
                vec![format!("server-{}", servers - 1)]
            } else {
                Vec::new()
            },
        },
        retries: rng.random_range(0..=2),
        retry_budget: rng.random_range(0.0..=1.0),
        hedge,
        mode,
        seed,
        ..Config::default()
    }
}

fn breaker(rng: &mut ChaCha8Rng, op_timeout: Duration) -> BreakerConfig {
    let open = ms(rng.random_range(200..=1_000));
    BreakerConfig {
        consecutive_timeouts: rng.random_bool(0.8).then(|| rng.random_range(1..=6)),
        ratio: rng.random_bool(0.8).then(|| RatioRule {
            failure_ratio: rng.random_range(0.3..=0.9),
            window: ms(rng.random_range(1_000..=10_000)),
            min_calls: rng.random_range(5..=20),
        }),
        slow: rng.random_bool(0.25).then(|| SlowRule::above(op_timeout.mul_f64(0.6))),
        trip_on_refused: rng.random_bool(0.5),
        open,
        open_max: rng.random_bool(0.3).then(|| open * 4),
        open_jitter: rng.random_range(0.0..=0.3),
        half_open_probes: rng.random_range(1..=3),
        successes_to_close: rng.random_range(1..=4),
        probes: if rng.random_bool(0.6) { Probes::InBand } else { Probes::OutOfBand },
        ramp: if rng.random_bool(0.3) { ms(rng.random_range(100..=1_000)) } else { Duration::ZERO },
    }
}
