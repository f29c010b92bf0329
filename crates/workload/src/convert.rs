//! The client's types as observation records. The client knows nothing of records, and records nothing of it.

use memcache_client::breaker;
use memcache_client::{Config, Mode, OnOpen, Outcome, ServerAddr, ServerStats};
use observation::{
    Arrivals, BreakerSettings, BreakerState, ClientInfo, DataSettings, Hello, LoadKind, LoadSettings,
    OpLogHead, PoolTick, RatioRule, RoutingSettings, SCHEMA_VERSION, Server, ServerTick, Settings,
    ShardSettings, SlowRule,
};

use crate::keys::KeyDist;
use crate::load::LoadConfig;
use crate::mix::OpKind;
use crate::shard::Shard;

pub(crate) fn outcome(outcome: Outcome) -> observation::Outcome {
    use observation::Outcome as O;
    match outcome {
        Outcome::Hit => O::Hit,
        Outcome::Miss => O::Miss,
        Outcome::Stored => O::Stored,
        Outcome::NotStored => O::NotStored,
        Outcome::Deleted => O::Deleted,
        Outcome::NotFound => O::NotFound,
        Outcome::Timeout => O::Timeout,
        Outcome::Connect => O::Connect,
        Outcome::Reset => O::Reset,
        Outcome::Protocol => O::Protocol,
        Outcome::ServerError => O::ServerError,
        Outcome::PoolExhausted => O::PoolExhausted,
        Outcome::BreakerOpen => O::BreakerOpen,
        Outcome::WrongValue => O::WrongValue,
        Outcome::Cancelled => O::Cancelled,
    }
}

pub(crate) fn state(state: breaker::BreakerState) -> BreakerState {
    match state {
        breaker::BreakerState::Closed => BreakerState::Closed,
        breaker::BreakerState::HalfOpen => BreakerState::HalfOpen,
        breaker::BreakerState::Open => BreakerState::Open,
    }
}

/// Adds the client's own state of a server to what was recorded of it. Bytes are those since `before`.
pub(crate) fn with_stats(tick: ServerTick, stats: &ServerStats, before: &ServerStats) -> ServerTick {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    ServerTick {
        bytes_in: stats.bytes_read.saturating_sub(before.bytes_read),
        bytes_out: stats.bytes_written.saturating_sub(before.bytes_written),
        in_flight: stats.in_flight,
        pool: PoolTick {
            total: count(stats.pool.total),
            active: count(stats.pool.active),
            idle: count(stats.pool.idle),
            waiting: count(stats.pool.waiting),
        },
        breaker: stats.breaker.map_or(BreakerState::Closed, |breaker| state(breaker.state)),
        ..tick
    }
}

/// Who speaks, and everything that an expectation depends on. The clock fields are set when it is sent.
pub fn hello(load: &LoadConfig, client: &Config, servers: &[ServerAddr]) -> Hello {
    let servers: Vec<Server> = servers
        .iter()
        .map(|server| Server { name: server.name.clone(), addr: server.addr.clone() })
        .collect();
    let started = observation::clock::wall_ms();
    Hello {
        v: SCHEMA_VERSION,
        client: ClientInfo {
            name: "memcache-client".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        instance: format!("{}-{started}", std::process::id()),
        at_us: 0,
        wall_ms: started,
        settings: Settings {
            driver: client.codec.name().into(),
            op_timeout_ms: millis(client.op_timeout),
            total_timeout_ms: Some(millis(client.total_timeout)),
            connect_timeout_ms: millis(client.connect_timeout),
            pool_max: u32::try_from(in_flight_max(client)).unwrap_or(u32::MAX),
            dials_per_s: Some(client.pool.dials_per_s.unwrap_or(client.pool.max as f64)),
            pool_max_waiting: u32::try_from(client.pool.max_waiting).unwrap_or(u32::MAX),
            retries: client.retries,
            breaker: client.breaker.as_ref().map(|breaker| BreakerSettings {
                consecutive_timeouts: breaker.consecutive_timeouts,
                ratio: breaker.ratio.map(|rule| RatioRule {
                    failure_ratio: rule.failure_ratio,
                    window_ms: millis(rule.window),
                    min_calls: rule.min_calls,
                }),
                slow: breaker.slow.map(|rule| SlowRule {
                    threshold_ms: millis(rule.threshold),
                    share: rule.share,
                    window_ms: millis(rule.window),
                    min_calls: rule.min_calls,
                }),
                trip_on_refused: breaker.trip_on_refused,
                open_ms: millis(breaker.open),
                open_max_ms: breaker.open_max.map(millis),
                ramp_ms: millis(breaker.ramp),
                open_jitter: breaker.open_jitter,
                half_open_probes: breaker.half_open_probes,
                successes_to_close: breaker.successes_to_close,
            }),
            routing: RoutingSettings {
                on_open: match client.routing.on_open {
                    OnOpen::Failover => observation::OnOpen::Failover,
                    OnOpen::FailFast => observation::OnOpen::FailFast,
                },
                failover_ttl_ms: millis(client.routing.failover_ttl),
                max_ejected: client.routing.max_ejected.unwrap_or(servers.len().saturating_sub(1)) as u32,
            },
            load: load_settings(load),
        },
        servers,
    }
}

/// Head of the op log, whose clock begins now.
pub(crate) fn op_log_head(load: &LoadConfig, instance: String, servers: &[String]) -> OpLogHead {
    OpLogHead {
        format: OpLogHead::FORMAT.to_owned(),
        v: OpLogHead::VERSION,
        instance,
        wall_ms: observation::clock::wall_ms(),
        seed: load.seed,
        servers: servers.to_vec(),
        ops: OpKind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
        outcomes: observation::Outcome::ALL.to_vec(),
    }
}

fn load_settings(load: &LoadConfig) -> LoadSettings {
    let arrivals = match load.arrivals {
        crate::Arrivals::Closed => None,
        crate::Arrivals::Poisson(_) => Some(Arrivals::Poisson),
        crate::Arrivals::Constant(_) => Some(Arrivals::Constant),
    };
    LoadSettings {
        kind: if arrivals.is_some() { LoadKind::Open } else { LoadKind::Closed },
        arrivals,
        rate_ops_per_s: load.arrivals.rate(),
        concurrency: u32::try_from(load.in_flight_max).unwrap_or(u32::MAX),
        workload: load.ops(),
        keys: load.keys as u64,
        seed: load.seed,
        shard: (load.shard != Shard::WHOLE)
            .then(|| ShardSettings { number: load.shard.number(), count: load.shard.count() }),
        data: Some(data_settings(load)),
    }
}

fn data_settings(load: &LoadConfig) -> DataSettings {
    let hot = load.key_dist == KeyDist::Hot;
    DataSettings {
        key_distribution: Some(load.key_dist.to_string()),
        hot_keys: hot.then_some(load.hot_keys as u64),
        hot_share: hot.then_some(load.hot_share),
        value_size: Some(load.value_size.to_string()),
        ttl_ms: Some(load.ttl.map_or(0, millis)),
        ttl_jitter: Some(load.ttl_jitter.share()),
    }
}

/// Ops in flight at one server at most.
fn in_flight_max(client: &Config) -> usize {
    match client.mode {
        Mode::Pooled => client.pool.max,
        Mode::Pipelined { connections, depth } => connections * depth,
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
