//! Everything that can be set, with the defaults and their reasons.

use std::str::FromStr;
use std::time::Duration;

use crate::bugs::Bugs;
use crate::connect::Dial;

/// A server's name and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddr {
    /// Decides where keys live; shown in metrics and records.
    pub name: String,
    /// `host:port`, resolved at every dial, or `unix:/path`.
    pub addr: String,
}

/// Settings of a client. [`Default`] is what a careful operator would choose; see each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Time of one attempt, from the breaker's permit to the whole reply. 250 ms: above one retransmission
    /// (206 ms) of a lossy network, and low enough that a hung server is noticed at once.
    pub op_timeout: Duration,
    /// Time of all attempts of one op together.
    pub total_timeout: Duration,
    /// Time of one dial; the attempt's time holds too.
    pub connect_timeout: Duration,
    /// Connections per server.
    pub pool: PoolConfig,
    /// Breaker per server; `None`: there is none.
    pub breaker: Option<BreakerConfig>,
    /// What happens when a server is not available.
    pub routing: Routing,
    /// Further attempts of an idempotent op after a failed one.
    pub retries: u32,
    /// Retries are at most this share of ops, and one a second.
    pub retry_budget: f64,
    /// A second copy of a slow read; `None`: never.
    pub hedge: Option<Hedge>,
    /// How the client speaks.
    pub codec: Codec,
    /// One op at a time on each of many connections, or many ops in flight on a few.
    pub mode: Mode,
    /// Login, TLS, other ways to connect.
    pub dial: Dial,
    /// Longest value in bytes, sent or received. memcached's default item limit is 1 MiB, header included.
    pub value_max: usize,
    /// Seed of the jitter.
    pub seed: u64,
    /// What is wrong with this client on purpose. Without the feature `seeded-bugs` nothing can be.
    pub bugs: Bugs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            op_timeout: Duration::from_millis(250),
            total_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(250),
            pool: PoolConfig::default(),
            breaker: Some(BreakerConfig::default()),
            routing: Routing::default(),
            retries: 1,
            retry_budget: 0.1,
            hedge: None,
            codec: Codec::Meta,
            mode: Mode::Pooled,
            dial: Dial::default(),
            value_max: 1024 * 1024,
            seed: 0,
            bugs: Bugs::default(),
        }
    }
}

/// How ops share connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An op has a connection of its own while it runs. What goes wrong with it costs no other op anything.
    Pooled,
    /// Ops share connections: less CPU an op, but one lost connection fails all that are in flight on it.
    Pipelined {
        /// Connections per server.
        connections: usize,
        /// Ops in flight on each at most.
        depth: usize,
    },
}

/// When a read is asked a second time on another connection. The first answer wins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// Time without a reply.
    pub after: Duration,
    /// Hedges are at most this share of ops, and one a second.
    pub budget: f64,
}

/// Connections of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// Connections at most; a hung server can hold no more ops than this.
    pub max: usize,
    /// Ops that may wait for a connection; 4 times the pool.
    pub max_waiting: usize,
    /// Longest wait, as a share of `op_timeout`. 0.1: the server still has most of the deadline, so that a timeout
    /// is the server's and not the queue's.
    pub max_wait_share: f64,
    /// A connection idle for longer is closed before use.
    pub idle_max: Duration,
    /// A connection older than this (less up to a tenth, drawn) is closed instead of used again; `None`: never.
    pub lifetime_max: Option<Duration>,
    /// Dials a second after many connections were lost at once, in steps of a tenth of that; `None`: `max` a second. A
    /// restarted server is not met by every connection in the same instant.
    pub dials_per_s: Option<f64>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max: 32,
            max_waiting: 128,
            max_wait_share: 0.1,
            idle_max: Duration::from_secs(60),
            lifetime_max: None,
            dials_per_s: None,
        }
    }
}

/// When a breaker opens and how it closes.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerConfig {
    /// Opens after that many timeouts in a row; `None`: rule off.
    pub consecutive_timeouts: Option<u32>,
    /// Opens at a share of failures in a rolling window; `None`: rule off.
    pub ratio: Option<RatioRule>,
    /// Opens at a share of slow replies, unless most servers are slow; `None`: rule off. It is off by default: whether
    /// a server that answers late is worse than its neighbours taking its load, its operator knows.
    pub slow: Option<SlowRule>,
    /// Opens at once when a connect is refused: nobody listens there.
    pub trip_on_refused: bool,
    /// Time in the open state.
    pub open: Duration,
    /// The open time doubles with every probe that fails, up to this; `None`: it stays `open`, so that recovery is
    /// noticed as fast after a long outage as after a short one.
    pub open_max: Option<Duration>,
    /// Each open time is drawn from `open * (1 ± open_jitter)`, so that clients do not probe in step.
    pub open_jitter: f64,
    /// Probes in flight at most while half-open.
    pub half_open_probes: u32,
    /// Successful probes that close the breaker.
    pub successes_to_close: u32,
    /// Who probes.
    pub probes: Probes,
    /// After closing, the admitted share of ops grows from a tenth to all over this time; zero: all at once. A server
    /// that comes back cold is not hit by its whole load.
    pub ramp: Duration,
}

/// What tests whether a server is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probes {
    /// The ops of callers.
    InBand,
    /// Reads of the client's own, without a caller. They are whole data commands: a server that answers `version` and
    /// hangs on data is not back.
    OutOfBand,
}

/// "`share` of at least `min_calls` calls within `window` took longer than `threshold`".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowRule {
    /// A reply after this time is slow, and so is none.
    pub threshold: Duration,
    /// Share of slow calls that trips, 0-1.
    pub share: f64,
    /// Length of the rolling window.
    pub window: Duration,
    /// Fewer calls than this never trip.
    pub min_calls: u32,
}

impl SlowRule {
    /// 80 % of at least 20 calls in 2 s.
    pub fn above(threshold: Duration) -> Self {
        Self { threshold, share: 0.8, window: Duration::from_secs(2), min_calls: 20 }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_timeouts: Some(5),
            ratio: Some(RatioRule { failure_ratio: 0.5, window: Duration::from_secs(10), min_calls: 20 }),
            slow: None,
            trip_on_refused: true,
            open: Duration::from_secs(5),
            open_max: None,
            open_jitter: 0.2,
            half_open_probes: 1,
            successes_to_close: 3,
            probes: Probes::InBand,
            ramp: Duration::ZERO,
        }
    }
}

/// "`failure_ratio` of at least `min_calls` calls within `window`".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioRule {
    /// Share of failures that trips, 0-1.
    pub failure_ratio: f64,
    /// Length of the rolling window.
    pub window: Duration,
    /// Fewer calls than this never trip.
    pub min_calls: u32,
}

/// Routing when a key's home server is not available.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// Next server, or an error at once.
    pub on_open: OnOpen,
    /// What is written to another than the home server lives this long at most: it is stale once the home is back.
    pub failover_ttl: Duration,
    /// Servers that may be ejected at the same time; `None`: all but one.
    pub max_ejected: Option<usize>,
    /// Names of servers that are nobody's home: they stand in for those that are ejected, instead of the other homes.
    pub gutter: Vec<String>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            on_open: OnOpen::Failover,
            failover_ttl: Duration::from_secs(10),
            max_ejected: None,
            gutter: Vec::new(),
        }
    }
}

/// What an op does when its home server's breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOpen {
    /// Goes to the next server in the key's order.
    Failover,
    /// Fails at once.
    FailFast,
}

/// How ops become bytes and bytes replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Meta commands; every reply is tied to its request.
    Meta,
    /// Classic text by the crate `memcache-async`: set and delete are sent without asking for a reply.
    MemcacheAsync,
}

impl Codec {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Meta => "meta",
            Codec::MemcacheAsync => "memcache-async",
        }
    }

    /// Has it a touch?
    pub fn has_touch(self) -> bool {
        self == Codec::Meta
    }
}

/// A name that is none of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is none of: {allowed}")]
pub struct UnknownName {
    got: String,
    allowed: &'static str,
}

impl FromStr for Codec {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "meta" => Ok(Codec::Meta),
            "memcache-async" => Ok(Codec::MemcacheAsync),
            _ => Err(UnknownName { got: text.to_owned(), allowed: "meta, memcache-async" }),
        }
    }
}

impl FromStr for OnOpen {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "failover" => Ok(OnOpen::Failover),
            "fail-fast" => Ok(OnOpen::FailFast),
            _ => Err(UnknownName { got: text.to_owned(), allowed: "failover, fail-fast" }),
        }
    }
}

/// Why a client cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No servers.
    #[error("a client needs at least one server")]
    NoServers,
    /// Every server is a stand-in.
    #[error("all servers are in routing.gutter; at least one must be a home of keys")]
    OnlyGutter,
    /// A stand-in that is no server.
    #[error("routing.gutter names {0:?}, which is none of the servers")]
    UnknownGutter(String),
    /// Two servers share a name.
    #[error("two servers are named {0:?}; names decide where keys live and must differ")]
    DuplicateServer(String),
    /// A setting outside its range.
    #[error("{field} must be {allowed}")]
    OutOfRange {
        /// Which setting.
        field: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl Config {
    /// Checks every range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, allowed| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { field, allowed }) }
        };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        check(!self.op_timeout.is_zero(), "op_timeout", "more than 0")?;
        check(self.total_timeout >= self.op_timeout, "total_timeout", "at least op_timeout")?;
        check(!self.connect_timeout.is_zero(), "connect_timeout", "more than 0")?;
        check((1..=65_536).contains(&self.pool.max), "pool.max", "1 to 65536")?;
        check(share(self.pool.max_wait_share), "pool.max_wait_share", "0 to 1")?;
        check(share(self.retry_budget), "retry_budget", "0 to 1")?;
        check(self.value_max <= 1 << 30, "value_max", "at most 1 GiB")?;
        if let Some(hedge) = &self.hedge {
            check(share(hedge.budget), "hedge.budget", "0 to 1")?;
            check(hedge.after < self.op_timeout, "hedge.after", "less than op_timeout")?;
        }
        if let Some(rate) = self.pool.dials_per_s {
            check(rate > 0.0 && rate.is_finite(), "pool.dials_per_s", "more than 0")?;
        }
        if let Mode::Pipelined { connections, depth } = self.mode {
            check((1..=1024).contains(&connections), "mode.connections", "1 to 1024")?;
            check((1..=65_536).contains(&depth), "mode.depth", "1 to 65536")?;
            check(self.codec == Codec::Meta, "mode", "pooled with the codec memcache-async")?;
        }
        self.validate_breaker()
    }

    /// Checks a list of servers: names differ, and there is a home for keys besides the stand-ins.
    pub fn validate_servers(&self, servers: &[ServerAddr]) -> Result<(), ConfigError> {
        if servers.is_empty() {
            return Err(ConfigError::NoServers);
        }
        for (index, server) in servers.iter().enumerate() {
            if servers[..index].iter().any(|other| other.name == server.name) {
                return Err(ConfigError::DuplicateServer(server.name.clone()));
            }
        }
        let gutter = &self.routing.gutter;
        if let Some(unknown) = gutter.iter().find(|name| servers.iter().all(|server| server.name != **name)) {
            return Err(ConfigError::UnknownGutter(unknown.clone()));
        }
        if servers.iter().all(|server| gutter.contains(&server.name)) {
            return Err(ConfigError::OnlyGutter);
        }
        Ok(())
    }

    fn validate_breaker(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, allowed| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { field, allowed }) }
        };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        if let Some(breaker) = &self.breaker {
            check(breaker.consecutive_timeouts != Some(0), "breaker.consecutive_timeouts", "at least 1")?;
            check(share(breaker.open_jitter), "breaker.open_jitter", "0 to 1")?;
            check(!breaker.open.is_zero(), "breaker.open", "more than 0")?;
            check(breaker.half_open_probes >= 1, "breaker.half_open_probes", "at least 1")?;
            check(breaker.successes_to_close >= 1, "breaker.successes_to_close", "at least 1")?;
            check(
                breaker.open_max.is_none_or(|max| max >= breaker.open),
                "breaker.open_max",
                "at least open",
            )?;
            if let Some(slow) = &breaker.slow {
                check(slow.share > 0.0 && slow.share <= 1.0, "breaker.slow.share", "above 0, at most 1")?;
                check(!slow.threshold.is_zero(), "breaker.slow.threshold", "more than 0")?;
                check(slow.window >= Duration::from_millis(100), "breaker.slow.window", "at least 100 ms")?;
            }
            if let Some(rule) = &breaker.ratio {
                check(
                    rule.failure_ratio > 0.0 && rule.failure_ratio <= 1.0,
                    "breaker.ratio",
                    "above 0, at most 1",
                )?;
                check(rule.window >= Duration::from_millis(100), "breaker.ratio.window", "at least 100 ms")?;
            }
        }
        Ok(())
    }

    /// Longest wait for a connection.
    pub fn pool_wait(&self) -> Duration {
        self.op_timeout.mul_f64(self.pool.max_wait_share)
    }
}
