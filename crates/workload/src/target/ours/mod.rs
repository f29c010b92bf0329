//! Our own client.

mod ready;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use memcache_client::breaker;
use memcache_client::{Client, CloseReason, Config, ConfigError, Mode, Reply, ServerAddr, Transition};
use observation::{
    BreakerSettings, BreakerState, ClientInfo, LoadSettings, OnOpen, Outcome, PoolTick, RatioRule,
    RoutingSettings, Server, Settings, SlowRule,
};
use prometheus::Registry;

use super::{
    Answer, Attempt, Attempts, Done, Greeting, KeyEnd, MultiDone, NoServer, Observer, Op, ServerStats, Target,
};
use crate::mix::OpKind;
use crate::recorder::millis;

// Keys of every load are the client's own: our client takes them without a copy.
pub use memcache_client::{KEY_MAX, Key, KeyError};

/// The value that a new counter has.
const COUNTER_START: u64 = 0;

/// Our own client, and what was asked of it.
#[derive(Clone)]
pub struct Ours {
    client: Client,
    /// As given; those in effect may differ in a client that is wrong on purpose.
    config: Arc<Config>,
    relay: Arc<Relay>,
}

impl Ours {
    /// Makes the client; nothing is dialled before the first op.
    pub fn new(config: Config, servers: Vec<Server>) -> Result<Self, ConfigError> {
        let servers = servers.into_iter().map(|Server { name, addr }| ServerAddr { name, addr }).collect();
        let relay = Arc::<Relay>::default();
        let observer = Arc::clone(&relay) as Arc<dyn memcache_client::Observer>;
        let client = Client::new(servers, config.clone(), observer)?;
        Ok(Self { client, config: Arc::new(config), relay })
    }
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Target for Ours {
    fn greeting(&self) -> Greeting {
        let servers = self.client.servers().into_iter();
        let missing = (!self.config.codec.has_touch()).then_some(OpKind::Touch);
        Greeting {
            client: ClientInfo {
                name: "memcache-client".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            servers: servers.map(|ServerAddr { name, addr }| Server { name, addr }).collect(),
            ops: OpKind::ALL.into_iter().filter(|kind| Some(*kind) != missing).collect(),
            // The second codec's writes are sent without asking for an answer.
            acknowledges: self.config.codec != memcache_client::Codec::MemcacheAsync,
        }
    }

    fn settings(&self, load: LoadSettings) -> Settings {
        settings(&self.config, self.client.servers().len(), load)
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        if self.relay.observer.set(observer).is_err() {
            tracing::error!("the client has an observer already; the second one hears nothing");
        }
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        memcache_client::metrics::register(registry, &self.client)
    }

    async fn ready(&self, patience: Duration) -> Result<(), NoServer> {
        ready::wait(&self.client.servers(), &self.config, patience).await
    }

    async fn execute(&self, op: Op) -> Done {
        let done = self.client.execute(into_op(op)).await;
        let (home, outcome) = (done.home, outcome(done.outcome()));
        let answer = match done.result {
            Ok(Reply::Value(value)) => Answer::Value(value),
            Ok(Reply::Counter(value)) => Answer::Counter(value),
            _ => Answer::Nothing,
        };
        Done { end: KeyEnd { home, outcome, answer }, attempts: attempts(&done.attempts) }
    }

    async fn multi_get(&self, keys: &[Key]) -> MultiDone {
        let done = self.client.multi_get(keys).await;
        let ends = done.keys.into_iter().map(|end| {
            let (home, outcome) = (end.home, outcome(end.outcome()));
            let answer = match end.result {
                Ok(Some(value)) => Answer::Value(value),
                _ => Answer::Nothing,
            };
            KeyEnd { home, outcome, answer }
        });
        MultiDone { ends: ends.collect(), attempts: attempts(&done.attempts) }
    }

    fn stats(&self) -> Vec<ServerStats> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let stats = self.client.stats().into_iter();
        let stats = stats.map(|of| ServerStats {
            bytes_read: of.bytes_read,
            bytes_written: of.bytes_written,
            in_flight: of.in_flight,
            pool: Some(PoolTick {
                total: count(of.pool.total),
                active: count(of.pool.active),
                idle: count(of.pool.idle),
                waiting: count(of.pool.waiting),
            }),
            breaker: of.breaker.map(|breaker| breaker_state(breaker.state)),
        });
        stats.collect()
    }

    async fn close(&self) {
        self.client.close().await;
    }
}

/// Passes on what the client tells. The client wants an observer when it is made, and a load has one only later.
#[derive(Debug, Default)]
struct Relay {
    observer: OnceLock<Arc<dyn Observer>>,
}

impl memcache_client::Observer for Relay {
    fn breaker(&self, server: usize, transition: &Transition) {
        if let Some(observer) = self.observer.get() {
            let (from, to) = (breaker_state(transition.from), breaker_state(transition.to));
            observer.breaker(server, from, to, transition.reason.to_string());
        }
    }

    fn probe(&self, server: usize, ended: memcache_client::Outcome, took: Duration) {
        if let Some(observer) = self.observer.get() {
            observer.probe(server, outcome(ended), took);
        }
    }

    fn dial(&self, server: usize, error: Option<String>, took: Duration) {
        if let Some(observer) = self.observer.get() {
            observer.dial(server, error, took);
        }
    }

    fn closed(&self, server: usize, reason: CloseReason) {
        if let Some(observer) = self.observer.get() {
            observer.closed(server, reason.name());
        }
    }
}

fn into_op(op: Op) -> memcache_client::Op {
    use memcache_client::Op as Theirs;
    match op {
        Op::Get(key) => Theirs::Get(key),
        Op::Set { key, value, ttl } => Theirs::Set { key, value, ttl },
        Op::Add { key, value, ttl } => Theirs::Add { key, value, ttl },
        Op::Delete(key) => Theirs::Delete(key),
        Op::Incr { key, by } => Theirs::Incr { key, delta: by, initial: Some((COUNTER_START, None)) },
        Op::Touch { key, ttl } => Theirs::Touch(key, ttl),
    }
}

fn attempts(attempts: &memcache_client::Attempts) -> Attempts {
    attempts.iter().map(|one| Attempt { server: one.server, outcome: outcome(one.outcome) }).collect()
}

fn outcome(outcome: memcache_client::Outcome) -> Outcome {
    use memcache_client::Outcome as Theirs;
    match outcome {
        Theirs::Hit => Outcome::Hit,
        Theirs::Miss => Outcome::Miss,
        Theirs::Stored => Outcome::Stored,
        Theirs::NotStored => Outcome::NotStored,
        Theirs::Deleted => Outcome::Deleted,
        Theirs::NotFound => Outcome::NotFound,
        Theirs::Timeout => Outcome::Timeout,
        Theirs::Connect => Outcome::Connect,
        Theirs::Reset => Outcome::Reset,
        Theirs::Protocol => Outcome::Protocol,
        Theirs::ServerError => Outcome::ServerError,
        Theirs::PoolExhausted => Outcome::PoolExhausted,
        Theirs::BreakerOpen => Outcome::BreakerOpen,
        Theirs::WrongValue => Outcome::WrongValue,
        Theirs::Cancelled => Outcome::Cancelled,
    }
}

fn breaker_state(state: breaker::BreakerState) -> BreakerState {
    match state {
        breaker::BreakerState::Closed => BreakerState::Closed,
        breaker::BreakerState::HalfOpen => BreakerState::HalfOpen,
        breaker::BreakerState::Open => BreakerState::Open,
    }
}

/// What an expectation of a client with this configuration depends on.
fn settings(config: &Config, servers: usize, load: LoadSettings) -> Settings {
    Settings {
        driver: config.codec.name().into(),
        op_timeout_ms: millis(config.op_timeout),
        total_timeout_ms: Some(millis(config.total_timeout)),
        connect_timeout_ms: millis(config.connect_timeout),
        pool_max: u32::try_from(in_flight_max(config)).unwrap_or(u32::MAX),
        dials_per_s: Some(config.pool.dials_per_s.unwrap_or(config.pool.max as f64)),
        pool_max_waiting: u32::try_from(config.pool.max_waiting).unwrap_or(u32::MAX),
        retries: config.retries,
        breaker: config.breaker.as_ref().map(breaker_settings),
        routing: RoutingSettings {
            on_open: match config.routing.on_open {
                memcache_client::OnOpen::Failover => OnOpen::Failover,
                memcache_client::OnOpen::FailFast => OnOpen::FailFast,
            },
            failover_ttl_ms: millis(config.routing.failover_ttl),
            max_ejected: config.routing.max_ejected.unwrap_or(servers.saturating_sub(1)) as u32,
        },
        load,
    }
}

fn breaker_settings(breaker: &memcache_client::BreakerConfig) -> BreakerSettings {
    BreakerSettings {
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
    }
}

/// Ops in flight at one server at most.
fn in_flight_max(config: &Config) -> usize {
    match config.mode {
        Mode::Pooled => config.pool.max,
        Mode::Pipelined { connections, depth } => connections * depth,
    }
}
