//! What was typed. [`crate::settings`] says what it means.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use telemetry::ListenAddr;

/// Drive continuous load through a memcache client, check every reply, and export what happened.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Servers as HOST:PORT or NAME=HOST:PORT, comma-separated or repeated [default: the three proxies
    /// memcached1..3 on 127.0.0.1:21211-21213]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Target")]
    pub servers: Vec<String>,
    /// Wait this long for a server before giving up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = "Target")]
    pub wait: Duration,

    /// Which ops: mixed, get-heavy or set-heavy
    #[arg(long, value_name = "NAME", default_value = "mixed", help_heading = "Load")]
    pub workload: String,
    /// Closed loop: workers, each with one op in flight
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Load")]
    pub concurrency: usize,
    /// Open loop: ops/s over all servers, whatever the replies do
    #[arg(long, value_name = "OPS_PER_S", value_parser = rate, help_heading = "Load")]
    pub rate: Option<f64>,
    /// Open loop: how starts are spaced
    #[arg(long, value_enum, default_value_t = ArrivalKind::Poisson, help_heading = "Load")]
    pub arrivals: ArrivalKind,
    /// Open loop: ops in flight at most; starts beyond are dropped and counted
    #[arg(long, value_name = "N", default_value_t = 2048, help_heading = "Load")]
    pub max_in_flight: usize,
    /// Number of keys
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = "Load")]
    pub keys: usize,
    /// Number of hot keys, which take 30 % of all requests
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Load")]
    pub hot_keys: usize,
    /// Value size in bytes: N or MIN-MAX
    #[arg(long, value_name = "BYTES", default_value = "64-512", value_parser = value_size, help_heading = "Load")]
    pub value_size: workload::ValueSize,
    /// Time to live of values; 0s: for ever
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help_heading = "Load")]
    pub ttl: Duration,
    /// End after this long [default: until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Load")]
    pub duration: Option<Duration>,
    /// The same seed draws the same ops, keys, sizes and arrivals [default: random, printed]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub seed: Option<u64>,

    /// How the client speaks: meta (ours) or memcache-async (the crate of that name)
    #[arg(long, value_enum, default_value_t = DriverKind::Meta, help_heading = "Client")]
    pub driver: DriverKind,
    /// Deadline of one attempt
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration, help_heading = "Client")]
    pub op_timeout: Duration,
    /// Limit of one dial
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration, help_heading = "Client")]
    pub connect_timeout: Duration,
    /// Connections per server at most
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Client")]
    pub pool_size: usize,
    /// Retries after a failed attempt of an idempotent op, under a budget of 10 %
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Client")]
    pub retries: u32,
    /// When a server's breaker is open: the next server, or an error at once
    #[arg(long, value_enum, default_value_t = OnOpen::Failover, help_heading = "Client")]
    pub on_open: OnOpen,
    /// Time that a breaker stays open before it probes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, help_heading = "Breaker")]
    pub breaker_open: Duration,
    /// Timeouts in a row that open a breaker; 0: rule off
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Breaker")]
    pub breaker_timeouts: u32,
    /// No breakers at all
    #[arg(long, help_heading = "Breaker")]
    pub no_breaker: bool,

    /// Where /metrics, /healthz and /v1/observations are served: :PORT, PORT or HOST:PORT; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = ":9090", help_heading = "Output")]
    pub metrics_port: ListenAddr,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Output")]
    pub max_procs: u16,
    /// Log lines as text or JSON, on standard error; the level comes from LOG (error, warn, info, debug)
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Output")]
    pub log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  loadgen                                     100 workers against the proxies on 127.0.0.1:21211-21213
  loadgen --rate 5000 --duration 60s          open loop, one minute, then a summary
  loadgen --servers a=10.0.0.1:11211,b=10.0.0.2:11211 --on-open fail-fast

Exit codes: 0 ended, 2 usage, 4 no server or port, 5 a wrong value was read.";

/// Values of `--arrivals`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ArrivalKind {
    /// Exponential gaps
    Poisson,
    /// Equal gaps
    Constant,
}

/// Values of `--driver`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DriverKind {
    /// Meta commands, every reply tied to its request
    Meta,
    /// Classic text by the crate memcache-async; its sets and deletes are not acknowledged
    MemcacheAsync,
}

/// Values of `--on-open`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnOpen {
    /// Next server in the key's order
    Failover,
    /// Error at once
    FailFast,
}

/// Values of `--log-format`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it with a unit, like 250ms, 10s or 2m"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number of ops per second".to_owned())?;
    if rate.is_finite() && (0.01..=10_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("the rate must lie between 0.01 and 10000000 ops per second".to_owned())
    }
}

fn value_size(text: &str) -> Result<workload::ValueSize, String> {
    const MAX: usize = 1024 * 1024 - 512;
    let bytes = |text: &str| match text.parse::<usize>() {
        Ok(n) if n <= MAX => Ok(n),
        Ok(n) => Err(format!("{n} bytes are more than memcached's usual limit allows ({MAX})")),
        Err(_) => Err(format!("{text:?} is not a number of bytes; write N or MIN-MAX")),
    };
    match text.split_once('-') {
        None => bytes(text).map(workload::ValueSize::Fixed),
        Some((min, max)) => match (bytes(min)?, bytes(max)?) {
            (min, max) if min <= max => Ok(workload::ValueSize::Uniform { min, max }),
            (min, max) => Err(format!("{min} is more than {max}")),
        },
    }
}
