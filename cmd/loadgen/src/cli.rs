//! What was typed. `run` says what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::Duration;
use telemetry::ListenAddr;
use telemetry::logging::LogFormat;
use workload::{ArrivalKind, Jitter, KeyDist, KeySize, Mix, Profile, Rate, Shard, ValueSize};

use crate::client::ClientArgs;
use crate::control::ControlAddr;
use crate::look_aside::LookAsideArgs;
use crate::overload::OverloadArgs;

/// Drive continuous load through a memcache client, check every reply, and export what happened.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than making load
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The servers.
    #[command(flatten)]
    pub at: Where,
    /// What the load is made of.
    #[command(flatten)]
    pub shape: Shape,

    /// Closed loop: workers, each with one op in flight; as many as take 4 GiB of memory, some 400 thousand
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Load")]
    pub concurrency: usize,
    /// Open loop: ops/s over all servers, whatever the replies do
    #[arg(long, value_name = "OPS_PER_S", help_heading = "Load")]
    pub rate: Option<Rate>,
    /// Open loop: rates one after the other as RATE/DURATION,...; the run ends after the last
    #[arg(long, value_name = "STEPS", conflicts_with = "rate", help_heading = "Load")]
    pub profile: Option<Profile>,
    /// Be one of N generators of the same load: I/N takes a part of the rate, the concurrency and the keys (those whose
    /// number leaves the remainder I-1). Give all of them the same flags and --seed
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE, hide_default_value = true, help_heading = "Load")]
    pub shard: Shard,
    /// Make load for this long before it counts in the summary; wrong values count always, and so do metrics
    #[arg(long, value_name = "DURATION", default_value = "0s", help_heading = "Load")]
    pub warm_up: Duration,
    /// End after this long, the warm-up not included [default: until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", help_heading = "Load")]
    pub duration: Option<Duration>,
    /// The database of a look-aside load.
    #[command(flatten)]
    pub look_aside: LookAsideArgs,

    /// The client under test.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Where /metrics, /healthz and /v1/observations are served: :PORT, PORT or HOST:PORT; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = ":9090", help_heading = "Output")]
    pub metrics_port: ListenAddr,
    /// Change the rate and the mix while the load runs: GET and PUT /v1/load with {"rate": OPS_PER_S, "mix": LIST} here.
    /// Loopback only
    #[arg(long, value_name = "127.0.0.1:PORT", help_heading = "Output")]
    pub control: Option<ControlAddr>,
    /// Write every op to FILE, zstd-compressed; read it with `loadgen op-log FILE`
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub op_log: Option<PathBuf>,
    /// Where the last ops before a wrong value, a stale read or a resurrected delete are written, as
    /// flight-UNIX_MS-N.ndjson, at most 16 files
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Output")]
    pub flight_dir: PathBuf,
    /// Exit with 5 too when a read was stale: older than what was acknowledged, or deleted, before it began
    #[arg(long, help_heading = "Output")]
    pub fail_on_stale: bool,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024), global = true, help_heading = "Output")]
    pub max_procs: u16,
    /// Log lines as text or JSON, on standard error; the level comes from LOG (error, warn, info, debug)
    #[arg(long, value_name = "FORM", default_value = "text", global = true, help_heading = "Output")]
    pub log_format: LogFormat,
}

/// Where the load goes.
#[derive(Debug, Args)]
pub struct Where {
    /// Servers as HOST:PORT, unix:/PATH or NAME=one of these, comma-separated or repeated [default: the three proxies
    /// memcached1..3 on 127.0.0.1:21211-21213]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Target")]
    pub servers: Vec<String>,
    /// Wait this long for a server before giving up
    #[arg(long, value_name = "DURATION", default_value = "60s", help_heading = "Target")]
    pub wait: Duration,
}

/// What load is made of, whatever its rate.
#[derive(Debug, Args)]
pub struct Shape {
    /// Which ops: mixed, get-heavy, set-heavy, or look-aside: read the cache, load a miss from a simulated database, fill
    /// the cache
    #[arg(long, value_name = "NAME", default_value = "mixed", help_heading = "Load")]
    pub workload: String,
    /// Which ops instead, by weight: OP=WEIGHT, comma-separated, of get, set, add, delete, incr, touch, multiget (8
    /// keys) and multiget:KEYS
    #[arg(long, value_name = "LIST", conflicts_with = "workload", help_heading = "Load")]
    pub mix: Option<Mix>,
    /// Open loop: how starts are spaced, poisson or constant
    #[arg(long, value_name = "KIND", default_value = "poisson", help_heading = "Load")]
    pub arrivals: ArrivalKind,
    /// Open loop: ops in flight at most; starts beyond are dropped and counted. As many as take 4 GiB of memory, some
    /// 400 thousand
    #[arg(long, value_name = "N", default_value_t = 2048, help_heading = "Load")]
    pub max_in_flight: usize,
    /// Open loop: start what is behind however late, instead of dropping what is more than 100 ms behind
    #[arg(long, help_heading = "Load")]
    pub catch_up: bool,
    /// Number of keys; as many as take 4 GiB of memory, some 16 million, with what was last written to each
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = "Load")]
    pub keys: usize,
    /// How long keys are: short (13 bytes) or etc (as measured in Facebook's memcached, some 36 bytes)
    #[arg(long, value_name = "KIND", default_value = "short", help_heading = "Load")]
    pub key_size: KeySize,
    /// How requests are spread over the keys: uniform, hot, zipf:EXPONENT (0: uniform; 0.99: as YCSB) or sequential
    /// (all keys in turn)
    #[arg(long, value_name = "KIND", default_value = "hot", help_heading = "Load")]
    pub key_dist: KeyDist,
    /// With --key-dist hot: number of hot keys, which take 30 % of all requests [default: 10, or all of fewer keys]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub hot_keys: Option<usize>,
    /// Value size in bytes: N, MIN-MAX, lognormal:MEDIAN,SIGMA or etc (as measured in Facebook's memcached). Every
    /// value has at least its header of about 50 bytes, which says whose it is
    #[arg(long, value_name = "SIZE", default_value = "64-512", help_heading = "Load")]
    pub value_size: ValueSize,
    /// Time to live of values, up to 30 days with its jitter, rounded up to whole seconds; 0s: for ever
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = "Load")]
    pub ttl: Duration,
    /// How far times to live differ from --ttl, 0% to 100% of it; memcached counts in whole seconds
    #[arg(long, value_name = "PERCENT", default_value = "0%", help_heading = "Load")]
    pub ttl_jitter: Jitter,
    /// Write every key once before the load begins
    #[arg(long, help_heading = "Load")]
    pub prefill: bool,
    /// The same seed draws the same ops, keys, sizes and arrivals [default: random, printed]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub seed: Option<u64>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the open loop without a client or a server: is this machine fast enough for a rate?
    CheckGenerator(CheckGenerator),
    /// Raise the load until something gives: where, why, and how it heals. Tables, a summary and a report into --out
    Overload(Box<OverloadArgs>),
    /// Print what --op-log wrote. Exit code 1: the file is cut or damaged, and what could be read was printed
    OpLog {
        /// The file
        file: PathBuf,
        /// One line an op for people, one JSON object an op, or counts and latencies of all
        #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
        format: OpLogFormat,
    },
}

/// An open loop of ops that end at once.
#[derive(Debug, Args)]
pub struct CheckGenerator {
    /// Starts per second
    #[arg(long, value_name = "OPS_PER_S", default_value = "20000")]
    pub rate: Rate,
    /// How long
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub duration: Duration,
    /// How starts are spaced, poisson or constant
    #[arg(long, value_name = "KIND", default_value = "poisson")]
    pub arrivals: ArrivalKind,
}

/// Form in which an op log is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpLogFormat {
    /// For people.
    Text,
    /// For programs.
    Ndjson,
    /// Counts and latencies.
    Summary,
}

const EXAMPLES: &str = "\
Examples:
  loadgen                                     100 workers against the proxies on 127.0.0.1:21211-21213
  loadgen --rate 5000 --duration 60s          open loop, one minute, then a summary
  loadgen --mix get=80,set=15,multiget:16=5 --key-dist zipf:0.99 --value-size etc --ttl-jitter 10%
                                              as real caches are used
  loadgen --profile 500/10s,1000/10s,2000/30s open loop in three steps, then a summary
  loadgen overload --search both --out found  up to the failure, by steps and by search
  loadgen --workload look-aside --rate 1000 --keys 1000 --key-dist uniform --ttl 10s --prefill
                                              a cache before a database of 250 queries/s
  loadgen check-generator --rate 20000        how far starts lie behind on this machine, without a network
  loadgen --servers a=10.0.0.1:11211,b=10.0.0.2:11211 --on-open fail-fast

Exit codes: 0 ended, 2 usage, 4 no server or port, or loadgen itself failed, 5 a wrong value was read, a counter lost counts, or (--fail-on-stale) a read was stale, 6 --op-log could not be
written to its end.";
