//! The flags of `scenariod explain`.

use std::path::PathBuf;
use std::time::Duration;

use lab::MemcachedKind;
use memcache_client::{Codec, OnOpen};
use workload::Rate;

use super::lab::{LabFlags, LabRate};
use super::run::{self, THREADS};
use crate::explain;
use crate::failure::Failure;
use crate::settings::PhaseLengths;

/// What to predict, and for whom.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Scenario to explain: a name, a glob like 'latency-*', or all; may be repeated
    #[arg(long, value_name = "NAME", required_unless_present = "scenario_file")]
    scenario: Vec<String>,
    /// Explain the scenario of this TOML file; may be repeated
    #[arg(long, value_name = "FILE")]
    scenario_file: Vec<PathBuf>,
    /// Ask the client that serves /v1/observations there for its settings
    #[arg(long, value_name = "URL", value_parser = address::http_base, conflicts_with = "lab")]
    observe: Option<String>,
    /// Wait this long for the observation stream
    #[arg(long, value_name = "DURATION", value_parser = duration::any, default_value = "10s")]
    wait: Duration,
    /// Take the client and the load of `scenariod --lab`, with the flags below; this is the default
    #[arg(long)]
    lab: bool,

    /// Phases of 10 s, at most 15 s, and 20 s
    #[arg(long)]
    quick: bool,
    /// Length of the phase with the fault
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    testing: Option<Duration>,
    /// Lab: servers
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "observe")]
    servers: usize,
    /// Lab: ops/s of the open loop [default: what the criteria need]
    #[arg(long, value_name = "OPS_PER_S", conflicts_with = "observe")]
    rate: Option<Rate>,
    /// Lab: how the client speaks: meta (ours) or memcache-async (the crate of that name)
    #[arg(long, value_name = "NAME", default_value = "meta", conflicts_with = "observe")]
    driver: Codec,
    /// Lab: when a server's breaker is open: failover or fail-fast
    #[arg(long, value_name = "WHAT", default_value = "failover", conflicts_with = "observe")]
    on_open: OnOpen,
    /// Lab: deadline of one attempt of the client
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "250ms", conflicts_with = "observe")]
    op_timeout: Duration,
    /// Lab: time that a breaker stays open [default: 5s, with --quick 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, conflicts_with = "observe")]
    breaker_open: Option<Duration>,
}

impl ExplainArgs {
    /// The settings that these flags ask for.
    pub fn settings(self) -> Result<explain::Settings, Failure> {
        let scenarios = run::scenarios(&self.scenario, &self.scenario_file)?;
        let (quick, testing) = (self.quick, self.testing);
        let lengths = PhaseLengths { quick, testing, ..PhaseLengths::default() };
        let client = match self.observe {
            Some(url) => explain::ClientSource::Observed { url, wait: self.wait },
            None => {
                // The same as if the scenarios were to be run in a lab.
                let lab = LabFlags {
                    servers: self.servers,
                    memcached: MemcachedKind::Auto,
                    rate: self.rate.map(LabRate::Given),
                    shortest: lengths.shortest(&scenarios),
                    driver: self.driver,
                    on_open: self.on_open,
                    op_timeout: self.op_timeout,
                    breaker_open: self.breaker_open,
                    quick,
                    drivers: THREADS.into(),
                    seed: 0,
                };
                explain::ClientSource::Lab(Box::new(lab.settings()))
            }
        };
        Ok(explain::Settings { scenarios, lengths, client })
    }
}
