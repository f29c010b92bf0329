//! Flags of the workload `look-aside`.

use std::time::Duration;

use clap::Args;
use database::{Config, Service};
use look_aside::{Mitigation, Policy, Setup};

/// The database behind a look-aside load, and what its callers do.
#[derive(Debug, Args)]
pub struct LookAsideArgs {
    /// With --workload look-aside: queries that the simulated database serves at once
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Look-aside")]
    pub db_workers: usize,
    /// With --workload look-aside: mean time of a query, exponentially distributed
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "20ms", help_heading = "Look-aside")]
    pub db_service: Duration,
    /// With --workload look-aside: every query takes the same time
    #[arg(long, help_heading = "Look-aside")]
    pub db_constant: bool,
    /// With --workload look-aside: a caller waits so long for the database
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "200ms", help_heading = "Look-aside")]
    pub db_timeout: Duration,
    /// With --workload look-aside: a caller asks the database again so many times
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Look-aside")]
    pub db_retries: u32,
    /// With --workload look-aside: what protects the database, comma-separated: no-retries, budget:SHARE, backoff:TIME,
    /// queue:X (X times what is served in --db-timeout), lifo, drop-expired, coalesce, late-fill, aimd, breaker:TIME,
    /// ramp:TIME. Failover is the client's: --on-open
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Look-aside")]
    pub mitigation: Vec<Mitigation>,
}

impl LookAsideArgs {
    /// What was typed.
    pub fn setup(&self, seed: u64) -> Setup {
        let mean = self.db_service;
        let service = if self.db_constant { Service::Constant(mean) } else { Service::Exponential(mean) };
        let database = Config { workers: self.db_workers, service, seed, ..Config::default() };
        let policy = Policy { patience: self.db_timeout, retries: self.db_retries, ..Policy::default() };
        Setup { database, policy, failover: false }.with(&self.mitigation)
    }
}
