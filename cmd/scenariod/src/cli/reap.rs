//! The flags of `scenariod reap`.

use std::time::Duration;

use duration::DurationError;
use toxiproxy::Client;

use crate::failure::{Failure, usage};
use crate::reap;

/// Where to look, and how often.
#[derive(Debug, clap::Args)]
pub struct ReapArgs {
    /// API of the Toxiproxy to look after
    #[arg(long, value_name = "URL", value_parser = address::http_base, default_value = "http://127.0.0.1:8474")]
    toxiproxy: String,
    /// Look this often, until a signal; above 5s a fault may stay for longer than 15 s after its deadline
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = every)]
    every: Duration,
    /// Look once: exit code 0 when nothing is left that should not be there, 4 when that is not so or not known
    #[arg(long, conflicts_with = "every")]
    once: bool,
}

fn every(text: &str) -> Result<Duration, DurationError> {
    duration::within(Duration::from_millis(100)..=Duration::from_secs(3600), text)
}

impl ReapArgs {
    /// The settings that these flags ask for.
    pub fn settings(self) -> Result<reap::Settings, Failure> {
        Ok(reap::Settings {
            client: Client::new(&self.toxiproxy).map_err(usage)?,
            toxiproxy: self.toxiproxy,
            every: (!self.once).then_some(self.every),
        })
    }
}
