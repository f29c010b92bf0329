//! What a client under test says of itself: hello, ticks, events.

use serde::{Deserialize, Serialize};

use crate::{Counts, WireDriver};

/// First record of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hello {
    /// Schema version, [`crate::SCHEMA_VERSION`].
    pub v: u32,
    /// Name and version of the client under test.
    pub client: ClientInfo,
    /// Identifies this process start; a change means that the source restarted and its counters began anew.
    pub instance: String,
    /// The source's monotonic clock at the moment of sending.
    pub at_us: u64,
    /// The source's wall clock at the same moment, Unix milliseconds; 0: not said.
    #[serde(default)]
    pub wall_ms: u64,
    /// The servers in the order of the client's configuration.
    pub servers: Vec<Server>,
    /// Everything that an expectation depends on.
    pub settings: Settings,
}

/// Name and version of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientInfo {
    /// For example `memcache-client`.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// One server as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Server {
    /// The client's name for it; used in every tick and event.
    pub name: String,
    /// `host:port` that the client dials.
    pub addr: String,
}

/// The settings that an expectation oracle needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Settings {
    /// Wire driver, for example `meta` or `memcache-async`.
    #[serde(default)]
    pub driver: WireDriver,
    /// Deadline of one attempt, from permit to whole reply.
    pub op_timeout_ms: u64,
    /// Deadline of one op, all its attempts together; absent: there is none, or it is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u64>,
    /// Limit of one dial; the op's deadline holds too. 0: not said.
    #[serde(default)]
    pub connect_timeout_ms: u64,
    /// Connections per server at most; absent: no limit.
    #[serde(default = "no_limit")]
    pub pool_max: u32,
    /// Dials a second at most, per server, after many connections were lost at once; absent: no limit, or it is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dials_per_s: Option<f64>,
    /// Ops that may wait for a connection, per server; absent: no limit.
    #[serde(default = "no_limit")]
    pub pool_max_waiting: u32,
    /// Retries after a failed attempt of an idempotent op.
    #[serde(default)]
    pub retries: u32,
    /// Breaker per server; absent: there is none.
    pub breaker: Option<BreakerSettings>,
    /// What happens when a server is not available; absent: ops fail.
    #[serde(default)]
    pub routing: RoutingSettings,
    /// How load is made.
    pub load: LoadSettings,
}

/// When a breaker opens, and how it closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BreakerSettings {
    /// Opens after this many timeouts in a row; absent: rule off.
    pub consecutive_timeouts: Option<u32>,
    /// Opens at a share of failures in a rolling window; absent: rule off.
    pub ratio: Option<RatioRule>,
    /// Opens at a share of slow replies, unless most servers are slow; absent: rule off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowRule>,
    /// One refused connect opens it.
    #[serde(default)]
    pub trip_on_refused: bool,
    /// Time in the open state, the first of an outage.
    pub open_ms: u64,
    /// The open time doubles with every failed probe up to this; absent: it stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_max_ms: Option<u64>,
    /// Time over which a breaker that has closed admits a growing share of ops; 0: all at once.
    #[serde(default)]
    pub ramp_ms: u64,
    /// Each open time is drawn from `open_ms * (1 ± open_jitter)`.
    #[serde(default)]
    pub open_jitter: f64,
    /// Probes in flight at most while half-open.
    #[serde(default = "one")]
    pub half_open_probes: u32,
    /// Successes that close a half-open breaker.
    #[serde(default = "one")]
    pub successes_to_close: u32,
}

/// "`share` of at least `min_calls` calls within `window_ms` took longer than `threshold_ms`".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowRule {
    /// A reply after this time is slow.
    pub threshold_ms: u64,
    /// Share of slow calls that trips, 0-1.
    pub share: f64,
    /// Length of the rolling window.
    pub window_ms: u64,
    /// Fewer calls than this never trip.
    pub min_calls: u32,
}

/// "`failure_ratio` of at least `min_calls` calls within `window_ms`".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RatioRule {
    /// Share of failures that trips, 0-1.
    pub failure_ratio: f64,
    /// Length of the rolling window.
    pub window_ms: u64,
    /// Fewer calls than this never trip.
    pub min_calls: u32,
}

/// Routing when the home server of a key is not available.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoutingSettings {
    /// Next server, or an error at once.
    pub on_open: OnOpen,
    /// Time to live of a value that was written to another than its home server; 0: not said.
    #[serde(default)]
    pub failover_ttl_ms: u64,
    /// Servers that may be ejected at the same time; absent: all.
    #[serde(default = "no_limit")]
    pub max_ejected: u32,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self { on_open: OnOpen::FailFast, failover_ttl_ms: 0, max_ejected: no_limit() }
    }
}

fn no_limit() -> u32 {
    u32::MAX
}

fn one() -> u32 {
    1
}

/// What an op does when its home server's breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnOpen {
    /// It fails at once.
    FailFast,
    /// It goes to the next server of the key's order.
    Failover,
}

/// How load is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadSettings {
    /// Open or closed loop.
    pub kind: LoadKind,
    /// Arrival process of an open loop.
    pub arrivals: Option<Arrivals>,
    /// Target rate of an open loop, ops/s over all servers.
    pub rate_ops_per_s: Option<f64>,
    /// Closed loop: workers. Open loop: ops in flight at most.
    pub concurrency: u32,
    /// Preset or mix text.
    #[serde(default)]
    pub workload: String,
    /// Number of keys; 0: not said.
    #[serde(default)]
    pub keys: u64,
    /// Seed of keys, ops and arrivals.
    #[serde(default)]
    pub seed: u64,
    /// What is read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSettings>,
    /// Which of several generators this is; rate, concurrency and keys are its own part. Absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardSettings>,
}

/// What a load reads and writes; what is absent was not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DataSettings {
    /// How requests are spread over the keys: `uniform`, `hot`, `zipf:0.99`, `sequential`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_distribution: Option<String>,
    /// Keys that take more than their share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_keys: Option<u64>,
    /// Share of the requests that goes to them, 0-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_share: Option<f64>,
    /// Bytes of a value: `N`, `MIN-MAX`, `lognormal:MEDIAN,SIGMA`, `etc`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_size: Option<String>,
    /// Time to live of written values as it is sent, ms; 0: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How far times to live differ from it, as a share of it, 0-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_jitter: Option<f64>,
}

/// One of several load generators of the same experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardSettings {
    /// From 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

/// Open loop: ops start when the schedule says so. Closed loop: when a worker is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// Starts follow a schedule.
    Open,
    /// Starts follow completions.
    Closed,
}

/// Arrival process of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Exponential gaps.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// What happened since the previous tick; a tick covers `(at_us - period_us, at_us]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tick {
    /// End of the interval.
    pub at_us: u64,
    /// Length of the interval, about 100 000.
    pub period_us: u64,
    /// Ops that the schedule asked for (closed loop: equal to `started`).
    pub offered: u64,
    /// Ops that were started.
    #[serde(default)]
    pub started: u64,
    /// Starts more than 10 ms behind their intended time.
    #[serde(default)]
    pub late: u64,
    /// Starts more than 1 ms behind their intended time; those of `late` are among them.
    #[serde(default)]
    pub late_1ms: u64,
    /// Offered ops that were never started: too many were in flight, or the generator was stalled.
    #[serde(default)]
    pub dropped: u64,
    /// Open loop: how far each start lay behind its intended time.
    #[serde(default)]
    pub lag: Histogram,
    /// One entry a server, in the order of [`Hello::servers`].
    pub servers: Vec<ServerTick>,
}

/// One server's share of a [`Tick`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerTick {
    /// As in [`Server::name`].
    pub server: String,
    /// Ends of ops whose key has its home here, whoever served them.
    pub ops: Counts,
    /// Ends of attempts made at this server (refusals of its breaker and pool included).
    pub attempts: Counts,
    /// Bytes read from this server.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes written to this server.
    #[serde(default)]
    pub bytes_out: u64,
    /// Latency of the `ops` above, from the intended start.
    #[serde(default)]
    pub latency: Histogram,
    /// Latency of the `ops` above, from the actual start.
    #[serde(default)]
    pub service: Histogram,
    /// Ops at this server now.
    #[serde(default)]
    pub in_flight: u64,
    /// Its connections now.
    #[serde(default)]
    pub pool: PoolTick,
    /// Its breaker now.
    #[serde(default)]
    pub breaker: BreakerState,
}

/// Connections of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PoolTick {
    /// Open connections, dials in progress included.
    pub total: u32,
    /// In use.
    pub active: u32,
    /// Clean and waiting for an op.
    pub idle: u32,
    /// Ops waiting for a connection.
    pub waiting: u32,
}

/// State of a breaker; the numbers are those of the gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// 0: traffic flows.
    #[default]
    Closed,
    /// 1: a few probes decide.
    HalfOpen,
    /// 2: everything is refused.
    Open,
}

impl BreakerState {
    /// Value of the gauge: 0 closed, 1 half-open, 2 open.
    pub fn gauge(self) -> i64 {
        match self {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        }
    }

    /// `closed`, `half_open` or `open`.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        }
    }
}

/// Sparse latency histogram: `(lowest value of the bucket in µs, count)`, ascending. Histograms of the same
/// precision (HDR, 2 significant digits) add bucket by bucket. Sums stop at the largest number, as those of [`Counts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Histogram(pub Vec<(u64, u64)>);

impl Histogram {
    /// Samples in all.
    pub fn count(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        if other.0.is_empty() {
            return;
        }
        let mut merged: std::collections::BTreeMap<u64, u64> = self.0.iter().copied().collect();
        for &(value, n) in &other.0 {
            let count = merged.entry(value).or_default();
            *count = n.saturating_add(*count);
        }
        self.0 = merged.into_iter().collect();
    }

    /// The value in µs below or at which a share `q` (0-1) of the samples lies; none without samples.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0u64;
        self.0.iter().find_map(|&(value, n)| {
            seen = seen.saturating_add(n);
            (seen >= rank).then_some(value)
        })
    }

    /// Samples above `limit_us`.
    pub fn above(&self, limit_us: u64) -> u64 {
        self.sum(|value| value > limit_us)
    }

    fn sum(&self, wanted: impl Fn(u64) -> bool) -> u64 {
        let buckets = self.0.iter().filter(|(value, _)| wanted(*value));
        buckets.fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_rank() {
        let h = Histogram(vec![(100, 98), (200, 1), (5000, 1)]);
        assert_eq!(h.quantile_us(0.5), Some(100));
        assert_eq!(h.quantile_us(0.98), Some(100));
        assert_eq!(h.quantile_us(0.99), Some(200));
        assert_eq!(h.quantile_us(1.0), Some(5000));
        assert_eq!(Histogram::default().quantile_us(0.5), None);
    }

    #[test]
    fn merging_keeps_order_and_adds() {
        let mut h = Histogram(vec![(100, 1), (300, 1)]);
        h.merge(&Histogram(vec![(200, 2), (300, 4)]));
        assert_eq!(h.0, [(100, 1), (200, 2), (300, 5)]);
        assert_eq!(h.above(200), 5);
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        let mut h = Histogram(vec![(100, u64::MAX), (200, 1)]);
        h.merge(&h.clone());
        assert_eq!((h.count(), h.above(100), h.above(0)), (u64::MAX, 2, u64::MAX));
        assert_eq!((h.quantile_us(0.5), h.quantile_us(1.0)), (Some(100), Some(100)));
    }
}
