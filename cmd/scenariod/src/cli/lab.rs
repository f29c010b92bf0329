//! The flags under "Lab": servers, proxies, client and load in this process.

use std::str::FromStr;
use std::time::Duration;

use lab::{LabConfig, LabError, LoadPlan, MemcachedKind, Ports};
use memcache_client::{BreakerConfig, Codec, Config, OnOpen, Routing};
use verdict::LoadNeeded;
use workload::{LoadConfig, Rate};

use crate::failure::Failure;
use crate::settings::Lab;

/// Open time of the breaker with `--quick`: recovery has to fit its phase.
const QUICK_OPEN: Duration = Duration::from_secs(1);

/// A lab, or none.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lab")]
pub struct LabArgs {
    /// Everything in this process, on free loopback ports: memcached (real if on PATH), proxies, load.
    /// Without a scenario: serve servers and proxies on the default ports until a signal
    #[arg(long)]
    pub lab: bool,
    /// Lab without a scenario: default (8474, 21211-21213, 11211-11213) or any (free ones, printed)
    #[arg(long, value_name = "WHICH", default_value = "default")]
    lab_ports: Ports,
    /// Lab: so many scenarios side by side, in a lab each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub jobs: u32,
    /// Lab: servers
    #[arg(long, value_name = "N", default_value_t = 3)]
    servers: usize,
    /// Lab: which memcached: auto (real if the binary is on PATH), real or fake
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub memcached: MemcachedKind,
    /// Lab: ops/s of the open loop, or max: half of what 2 s of calibration reach, at most 10000; with --jobs a quarter of it, at
    /// most 4000, for all labs together [default: what the criteria need, printed with its reason; with --jobs at most 4000 together]
    #[arg(long, value_name = "OPS_PER_S")]
    rate: Option<LabRate>,
    /// Lab: how the client speaks: meta (ours) or memcache-async (the crate of that name)
    #[arg(long, value_name = "NAME", default_value = "meta")]
    driver: Codec,
    /// Lab: when a server's breaker is open: failover or fail-fast
    #[arg(long, value_name = "WHAT", default_value = "failover")]
    on_open: OnOpen,
    /// Lab: deadline of one attempt of the client
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "250ms")]
    op_timeout: Duration,
    /// Lab: time that a breaker stays open [default: 5s, with --quick 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    breaker_open: Option<Duration>,
    /// Lab: seed of load and dice [default: random, printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Ops/s that a lab's load is told to ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LabRate {
    /// As many as the machine can take.
    Max,
    /// This rate.
    Given(Rate),
}

impl FromStr for LabRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            number => number.parse().map(Self::Given).map_err(|why: String| format!("{why}, and not `max`")),
        }
    }
}

/// What `scenariod --lab` and `scenariod explain` say of a lab alike.
#[derive(Debug)]
pub struct LabFlags {
    pub servers: usize,
    pub memcached: MemcachedKind,
    pub rate: Option<LabRate>,
    /// Length of the shortest fault.
    pub shortest: Duration,
    pub driver: Codec,
    pub on_open: OnOpen,
    pub op_timeout: Duration,
    pub breaker_open: Option<Duration>,
    pub quick: bool,
    /// Tasks that make the load.
    pub drivers: usize,
    pub seed: u64,
}

impl LabFlags {
    /// The lab and its load.
    pub fn settings(self) -> Lab {
        let default_open = if self.quick { QUICK_OPEN } else { BreakerConfig::default().open };
        let open = self.breaker_open.unwrap_or(default_open);
        let defaults = Config::default();
        let client = Config {
            op_timeout: self.op_timeout,
            total_timeout: defaults.total_timeout.max(self.op_timeout),
            breaker: Some(BreakerConfig { open, ..BreakerConfig::default() }),
            routing: Routing { on_open: self.on_open, ..Routing::default() },
            codec: self.driver,
            seed: self.seed,
            ..defaults
        };
        // In flight at most: more than all pools and their waiters, so that the generator is not the limit.
        let per_server = client.pool.max + client.pool.max_waiting;
        let in_flight_max = 2 * per_server * self.servers.max(1);
        let (drivers, seed) = (self.drivers, self.seed);
        let load = LoadConfig { in_flight_max, drivers, seed, ..LoadConfig::default() };
        let (rate, rate_because) = match self.rate {
            Some(LabRate::Max) => (None, None),
            Some(LabRate::Given(rate)) => (Some(rate.ops_per_s()), None),
            None => {
                let in_a_row = client.breaker.as_ref().and_then(|breaker| breaker.consecutive_timeouts);
                let needed = LoadNeeded::of(in_a_row, self.servers, self.shortest.as_secs_f64());
                (Some(needed.ops_per_s), Some(needed.because))
            }
        };
        Lab {
            config: LabConfig {
                servers: self.servers,
                memcached: self.memcached,
                ports: Ports::Ephemeral,
                seed,
            },
            load: LoadPlan { load, client, rate },
            rate_because,
        }
    }
}

impl LabArgs {
    /// Servers and proxies for clients in other processes.
    pub fn served(&self) -> Result<LabConfig, Failure> {
        let (servers, seed) = (self.servers, self.seed.unwrap_or_else(rand::random));
        let config = LabConfig { servers, memcached: self.memcached, ports: self.lab_ports, seed };
        check(&config)?;
        Ok(config)
    }

    /// A lab with its client and load, for faults of which the shortest lasts `shortest`.
    pub fn settings(self, quick: bool, shortest: Duration, drivers: usize) -> Result<Lab, Failure> {
        let flags = LabFlags {
            servers: self.servers,
            memcached: self.memcached,
            rate: self.rate,
            shortest,
            driver: self.driver,
            on_open: self.on_open,
            op_timeout: self.op_timeout,
            breaker_open: self.breaker_open,
            quick,
            drivers,
            seed: self.seed.unwrap_or_else(rand::random),
        };
        let lab = flags.settings();
        check(&lab.config)?;
        lab.load.load.validate().map_err(LabError::from)?;
        lab.load.client.validate().map_err(LabError::from)?;
        Ok(lab)
    }

    /// Flags of the client and its load that are given, or differ from their defaults.
    pub fn of_the_client(&self) -> [(&'static str, bool); 6] {
        let (lab, client) = (LabConfig::default(), Config::default());
        [
            ("--servers", self.servers != lab.servers),
            ("--rate", self.rate.is_some()),
            ("--driver", self.driver != client.codec),
            ("--on-open", self.on_open != client.routing.on_open),
            ("--op-timeout", self.op_timeout != client.op_timeout),
            ("--breaker-open", self.breaker_open.is_some()),
        ]
    }
}

/// Refuses here what a lab would refuse only once it starts.
fn check(config: &LabConfig) -> Result<(), LabError> {
    let fits = (1..=lab::SERVERS_MAX).contains(&config.servers);
    if fits { Ok(()) } else { Err(LabError::ServerCount(config.servers)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_lab_and_of_its_client() {
        let flags = Cli::try_parse_from(["scenariod", "--lab"]).unwrap().run.lab.of_the_client();
        assert!(flags.iter().all(|(_, given)| !given), "{flags:?}");
    }
}
