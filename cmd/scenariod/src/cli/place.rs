//! The flags under "Where": the Toxiproxy and the client of a run outside of a lab.

use std::time::Duration;

use toxiproxy::wire::NewProxy;

use crate::failure::{Failure, usage};
use crate::settings::Elsewhere;

/// Ports of the proxies that are created if missing, and of the servers behind them.
const PROXY_PORT: u16 = 21_211;
const SERVER_PORT: u16 = 11_211;
/// Proxies outside of a lab.
const PROXIES: u16 = 3;

/// Toxiproxy, client and servers that run elsewhere.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where")]
pub struct PlaceArgs {
    /// API of the Toxiproxy that carries the faults
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8474")]
    toxiproxy: String,
    /// Where the client under test serves /v1/observations
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    observe: String,
    /// Host behind the proxies that are created if missing
    #[arg(long, value_name = "HOST", env = "MEMCACHE_HOST", default_value = "127.0.0.1")]
    memcache_host: String,
    /// Wait this long for Toxiproxy and the observation stream
    #[arg(long, value_name = "DURATION", value_parser = duration::any, default_value = "10s")]
    wait: Duration,
}

impl PlaceArgs {
    /// Patience for Toxiproxy and the observation stream.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The settings that these flags ask for.
    pub fn settings(self) -> Result<Elsewhere, Failure> {
        toxiproxy::Client::new(&self.toxiproxy).map_err(usage)?;
        let proxy = |n: u16| NewProxy {
            name: format!("memcached{}", n + 1),
            listen: format!("127.0.0.1:{}", PROXY_PORT + n),
            upstream: format!("{}:{}", self.memcache_host, SERVER_PORT + n),
            enabled: true,
        };
        Ok(Elsewhere {
            proxies: (0..PROXIES).map(proxy).collect(),
            toxiproxy: self.toxiproxy,
            observe: self.observe,
        })
    }
}
