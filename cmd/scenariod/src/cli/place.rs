//! The flags under "Where": the Toxiproxy and the client of a run outside of a lab.

use std::time::Duration;

use address::Host;
use scenario::backends::toxiproxy::TestProxies;
use toxiproxy::wire::NewProxy;

use crate::settings::Elsewhere;

/// Ports of the proxies that are created if missing, and of the servers behind them.
const PROXY_PORT: u16 = 21_211;
const SERVER_PORT: u16 = 11_211;
/// The host of those servers, unless another one is given.
const HERE: &str = "127.0.0.1";
/// Proxies outside of a lab.
const PROXIES: u16 = 3;

/// Toxiproxy, client and servers that run elsewhere.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where")]
pub struct PlaceArgs {
    /// API of the Toxiproxy that carries the faults
    #[arg(long, value_name = "URL", value_parser = address::http_base, default_value = "http://127.0.0.1:8474")]
    toxiproxy: String,
    /// Where the client under test serves /v1/observations
    #[arg(long, value_name = "URL", value_parser = address::http_base, default_value = "http://127.0.0.1:9090")]
    observe: String,
    /// Host behind the proxies memcached1..3: missing ones are created, and others are led there [default: 127.0.0.1 behind those
    /// that are created; others are used as they are]
    #[arg(long, value_name = "HOST", env = "MEMCACHE_HOST")]
    memcache_host: Option<Host>,
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
    pub fn settings(self) -> Elsewhere {
        let host = self.memcache_host.as_ref().map_or_else(|| HERE.to_owned(), Host::to_string);
        let proxy = |n: u16| NewProxy {
            name: format!("memcached{}", n + 1),
            listen: format!("127.0.0.1:{}", PROXY_PORT + n),
            upstream: format!("{host}:{}", SERVER_PORT + n),
            enabled: true,
        };
        Elsewhere {
            proxies: TestProxies {
                wanted: (0..PROXIES).map(proxy).collect(),
                upstreams_are_given: self.memcache_host.is_some(),
            },
            toxiproxy: self.toxiproxy,
            observe: self.observe,
        }
    }
}
