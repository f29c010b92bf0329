//! The embedded world: memcached servers, fault proxies and load in one process tree, composed of the parts that
//! also run alone. No logic of its own, and nothing global: several labs can live in one process.

mod load;
mod servers;

pub use load::{LabLoad, LoadPlan, calibrate};
pub use servers::{MemcachedKind, Servers};

use std::net::{Ipv4Addr, SocketAddr};

use observation::Server;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::NewProxy;
use workload::Ours;

/// Ports of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Whatever is free; several labs fit on one machine.
    Ephemeral,
    /// The ports that the two binaries use by default: API 8474, proxies 21211.., servers 11211...
    Default,
}

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Ports::Default),
            "any" => Ok(Ports::Ephemeral),
            _ => Err("write default or any".to_owned()),
        }
    }
}

impl Ports {
    fn api(self) -> u16 {
        self.choose(8474)
    }

    fn proxy(self, index: usize) -> u16 {
        self.choose(21_211 + index as u16)
    }

    fn server(self, index: usize) -> u16 {
        self.choose(11_211 + index as u16)
    }

    fn choose(self, default: u16) -> u16 {
        match self {
            Ports::Ephemeral => 0,
            Ports::Default => default,
        }
    }
}

/// What a lab consists of.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Number of servers, each behind a proxy of its own.
    pub servers: usize,
    /// Real memcached, the fake, or whichever is there.
    pub memcached: MemcachedKind,
    /// Where they listen; always on loopback.
    pub ports: Ports,
    /// Seed of the proxies' dice.
    pub seed: u64,
}

/// Most servers of one lab: the default ports of servers, proxies and API must not meet.
pub const SERVERS_MAX: usize = 64;

impl Default for LabConfig {
    fn default() -> Self {
        Self { servers: 3, memcached: MemcachedKind::Auto, ports: Ports::Ephemeral, seed: 1 }
    }
}

/// Why a lab cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Zero servers, or more than [`SERVERS_MAX`].
    #[error("a lab has 1 to {SERVERS_MAX} servers, not {0}")]
    ServerCount(usize),
    /// A memcached server did not start.
    #[error("memcached: {0}")]
    Memcached(String),
    /// The fault proxy did not start.
    #[error("fault proxy: {0}")]
    Proxy(String),
    /// The client refused its configuration.
    #[error("client: {0}")]
    Client(#[from] memcache_client::ConfigError),
    /// The load did not start.
    #[error("load: {0}")]
    Load(#[from] workload::LoadError),
    /// The calibration load died.
    #[error(transparent)]
    Died(#[from] workload::Died),
    /// The calibration load had no success.
    #[error("no op succeeded while the rate was calibrated; the lab is not working")]
    NoGoodput,
}

/// A running lab: servers and proxies. Ends with [`Lab::stop`]; dropping it ends its children too.
#[derive(Debug)]
pub struct Lab {
    servers: Servers,
    proxies: Vec<Server>,
    api: SocketAddr,
    stop: CancellationToken,
    proxy_server: JoinHandle<()>,
}

impl Lab {
    /// Starts servers and proxies and waits until they answer.
    pub async fn start(config: &LabConfig) -> Result<Self, LabError> {
        if !(1..=SERVERS_MAX).contains(&config.servers) {
            return Err(LabError::ServerCount(config.servers));
        }
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let proxy_error = |error: &dyn std::fmt::Display| LabError::Proxy(error.to_string());
        let server_config = toxiproxy::server::ServerConfig {
            addr: loopback(config.ports.api()),
            seed: Some(config.seed),
            extensions: memcache_toxics::KINDS,
            ..Default::default()
        };
        // Ports first: a taken one must fail before anything else is started.
        let server = toxiproxy::server::Server::bind(server_config).await.map_err(|e| proxy_error(&e))?;
        let api = server.addr();
        let addrs = (0..config.servers).map(|index| loopback(config.ports.server(index)));
        let servers = Servers::start(config.memcached, addrs).await?;

        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let proxy_server = tokio::spawn(async move { server.run(stopped).await });
        let mut lab = Self { servers, proxies: Vec::new(), api, stop, proxy_server };
        let client = toxiproxy::Client::new(&lab.toxiproxy_url()).map_err(|e| proxy_error(&e))?;
        for (index, upstream) in lab.servers.addrs().into_iter().enumerate() {
            let proxy = NewProxy {
                name: format!("memcached{}", index + 1),
                listen: loopback(config.ports.proxy(index)).to_string(),
                upstream: upstream.to_string(),
                enabled: true,
            };
            let made = client.create_proxy(&proxy).await.map_err(|e| proxy_error(&e))?;
            lab.proxies.push(Server { name: made.name, addr: made.listen });
        }
        Ok(lab)
    }

    /// Base URL of the fault proxy's API.
    pub fn toxiproxy_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The servers as a client should see them: through the proxies.
    pub fn proxied_servers(&self) -> &[Server] {
        &self.proxies
    }

    /// Our client with this configuration, before the proxies.
    pub fn client(&self, config: memcache_client::Config) -> Result<Ours, LabError> {
        Ok(Ours::new(config, self.proxies.clone())?)
    }

    /// The servers themselves, past the proxies.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Stops proxies, then servers, and waits for them.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.proxy_server.await {
            tracing::error!(%error, "the fault proxy ended badly");
        }
        self.servers.stop().await;
    }
}
