//! What was typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use humantime::Duration;
use lab::{MemcachedKind, Ports};
use memcache_client::{Codec, OnOpen};
use scenario::StopRule;
use telemetry::ListenAddr;
use telemetry::logging::LogFormat;
use workload::Rate;

/// Drive faults through three-phase scenarios - stabilization, testing, recovery - and give a verdict.
#[derive(Debug, Parser)]
#[command(
    name = "scenariod",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do other than running scenarios
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Scenario to run: a name, a glob like 'latency-*', or all; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub scenario: Vec<String>,
    /// Run the scenario of this TOML file; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "What")]
    pub scenario_file: Vec<PathBuf>,
    /// Print the scenarios, grouped, with their durations
    #[arg(long, help_heading = "What")]
    pub list: bool,
    /// Run each scenario so often; the majority is its verdict
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "What")]
    pub repeat: u32,
    /// Run an inconclusive run again, at most so often a scenario; the last of them counts
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3), help_heading = "What")]
    pub rerun_inconclusive: u32,
    /// Begin again after the last scenario, until a signal
    #[arg(long, help_heading = "What")]
    pub r#loop: bool,

    /// Phases of 10 s, at most 15 s, and 20 s
    #[arg(long, help_heading = "Phases")]
    pub quick: bool,
    /// Length of the phase before the fault
    #[arg(long, value_name = "DURATION", help_heading = "Phases")]
    pub stabilization: Option<Duration>,
    /// Length of the phase with the fault
    #[arg(long, value_name = "DURATION", help_heading = "Phases")]
    pub testing: Option<Duration>,
    /// Length of the phase after the fault
    #[arg(long, value_name = "DURATION", help_heading = "Phases")]
    pub recovery: Option<Duration>,

    /// End the first phase as soon as the baseline is steady, and the last as soon as the client has recovered: their lengths are
    /// upper limits then
    #[arg(long, help_heading = "Phases")]
    pub until_stable: bool,
    /// Stop a run and take its fault away when this holds: MEASURE > VALUE [for DURATION]; may be repeated.
    /// Measures: goodput, offered, error_rate, p50, p90, p99, p999, wrong_values; comparisons: > >= < <=
    #[arg(long, value_name = "RULE", help_heading = "Phases")]
    pub abort_if: Vec<StopRule>,
    /// Stop a run when its client has not been seen for this long, at least 1 s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = blind, help_heading = "Phases")]
    pub blind: std::time::Duration,

    /// API of the Toxiproxy that carries the faults
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8474", help_heading = "Where")]
    pub toxiproxy: String,
    /// Where the client under test serves /v1/observations
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", help_heading = "Where")]
    pub observe: String,
    /// Host behind the proxies that are created if missing
    #[arg(
        long,
        value_name = "HOST",
        env = "MEMCACHE_HOST",
        default_value = "127.0.0.1",
        help_heading = "Where"
    )]
    pub memcache_host: String,
    /// Wait this long for Toxiproxy and the observation stream
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "Where")]
    pub wait: Duration,

    /// Everything in this process, on free loopback ports: memcached (real if on PATH), proxies, load.
    /// Without a scenario: serve servers and proxies on the default ports until a signal
    #[arg(long, help_heading = "Lab")]
    pub lab: bool,
    /// Lab without a scenario: default (8474, 21211-21213, 11211-11213) or any (free ones, printed)
    #[arg(long, value_name = "WHICH", default_value = "default", help_heading = "Lab")]
    pub lab_ports: Ports,
    /// Lab: so many scenarios side by side, in a lab each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16), help_heading = "Lab")]
    pub jobs: u32,
    /// Lab: servers
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Lab")]
    pub servers: usize,
    /// Lab: which memcached: auto (real if the binary is on PATH), real or fake
    #[arg(long, value_name = "KIND", default_value = "auto", help_heading = "Lab")]
    pub memcached: MemcachedKind,
    /// Lab: ops/s of the open loop [default: half of what 2 s of calibration reach, at most 10000; with --jobs a quarter of it, at
    /// most 4000, for all labs together]
    #[arg(long, value_name = "OPS_PER_S", help_heading = "Lab")]
    pub rate: Option<Rate>,
    /// Lab: how the client speaks: meta (ours) or memcache-async (the crate of that name)
    #[arg(long, value_name = "NAME", default_value = "meta", help_heading = "Lab")]
    pub driver: Codec,
    /// Lab: when a server's breaker is open: failover or fail-fast
    #[arg(long, value_name = "WHAT", default_value = "failover", help_heading = "Lab")]
    pub on_open: OnOpen,
    /// Lab: deadline of one attempt of the client
    #[arg(long, value_name = "DURATION", default_value = "250ms", help_heading = "Lab")]
    pub op_timeout: Duration,
    /// Lab: time that a breaker stays open [default: 5s, with --quick 1s]
    #[arg(long, value_name = "DURATION", help_heading = "Lab")]
    pub breaker_open: Option<Duration>,
    /// Lab: seed of load and dice [default: random, printed]
    #[arg(long, value_name = "N", help_heading = "Lab")]
    pub seed: Option<u64>,

    /// Folder of the run folders
    #[arg(long, value_name = "DIR", default_value = "runs", help_heading = "Output")]
    pub runs: PathBuf,
    /// Write a table of the runs, expected beside measured, as Markdown into FILE as well
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub summary: Option<PathBuf>,
    /// Where /metrics and /healthz are served: :PORT, PORT or HOST:PORT; port 0: any free one
    /// [default: :9092, with --lab any free one]
    #[arg(long, value_name = "ADDR", help_heading = "Output")]
    pub metrics_port: Option<ListenAddr>,
    /// Threads; with --lab they make the load too, so one a core is the least
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Output")]
    pub max_procs: u16,
    /// Log lines as text or JSON, on standard error; the level comes from LOG (error, warn, info, debug)
    #[arg(long, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub log_format: LogFormat,
}

/// Everything that is no run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Judge recorded runs again, and write their reports anew
    Judge(crate::judge::Args),
    /// Say what is expected of a client and why, before anything is run
    Explain(crate::explain::Args),
    /// Write the reports of recorded runs anew, and of several, or of a suite, a page of all
    Report(crate::report::Args),
    /// Two runs of one scenario side by side: two clients, or two versions of one
    Compare(crate::compare::Args),
    /// Does a system stay down after what brought it down is gone? Cells with one protection each, side by side
    Metastable(crate::metastable::Args),
    /// Take away what dead and frozen runs have left on a Toxiproxy: past its deadline, or its owner proven dead
    Reap(crate::reap::Args),
}

const EXAMPLES: &str = "\
Examples:
  scenariod --lab --quick --scenario packet-loss-100-pct   everything embedded, a verdict after a minute
  scenariod --lab --quick --scenario all --jobs 4          the whole catalogue, four labs side by side
  scenariod --lab                                          servers and proxies for loadgen in another terminal
  scenariod --scenario all --loop                          against a running Toxiproxy and loadgen
  scenariod --scenario 'latency-*' --observe http://10.0.0.7:9090
  scenariod explain --scenario packet-loss-10-pct --op-timeout 1s   what would be expected, and why
  scenariod metastable --summary cures.md                  a collapse, its cures and what is none, as a table
  scenariod judge runs/*                                   the same verdicts again, from the journals alone
  scenariod compare runs/A runs/B                          two clients under the same fault, compare.html
  scenariod reap                                           a sidecar that ends what killed runs have left
  scenariod proxy -host 0.0.0.0 -config proxies.json       the embedded Toxiproxy alone, with Toxiproxy's own flags

Exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, invalid or stopped, 4 infrastructure, 5 wrong data.";

/// A time without observations.
fn blind(text: &str) -> Result<std::time::Duration, String> {
    let blind: Duration = text.parse().map_err(|error| format!("{error}"))?;
    let least = std::time::Duration::from_secs(1);
    if *blind < least { Err(format!("expected at least {least:?}")) } else { Ok(*blind) }
}

impl Cli {
    /// Where metrics are served. In a lab nothing is on a fixed port, unless one is asked for.
    pub fn metrics_addr(&self) -> ListenAddr {
        match &self.metrics_port {
            Some(addr) => addr.clone(),
            None if self.lab => ListenAddr::loopback(0),
            None => ListenAddr::all(9092),
        }
    }
}
