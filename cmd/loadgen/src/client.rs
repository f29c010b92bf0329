//! Flags of the client under test.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use memcache_client::{
    BreakerConfig, Codec, Config, Dial, Hedge, Login, Mode, OnOpen, PoolConfig, Probes, Routing, SlowRule,
    Tls,
};
use observation::Server;
use workload::{AnyTarget, Ours};

/// Share of ops that may be hedged.
const HEDGE_BUDGET: f64 = 0.02;

/// The client under test.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// How the client speaks: meta (ours) or memcache-async (the crate of that name)
    #[arg(long, value_name = "NAME", default_value = "meta", help_heading = "Client")]
    pub driver: Codec,
    /// Deadline of one attempt
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "250ms", help_heading = "Client")]
    pub op_timeout: Duration,
    /// Limit of one dial
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "250ms", help_heading = "Client")]
    pub connect_timeout: Duration,
    /// Connections per server at most
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Client")]
    pub pool_size: usize,
    /// Share connections: this many per server, each with many ops in flight, instead of one op on each of --pool-size
    #[arg(long, value_name = "CONNECTIONS", help_heading = "Client")]
    pub pipeline: Option<usize>,
    /// With --pipeline: ops in flight on one connection at most
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Client")]
    pub pipeline_depth: usize,
    /// Replace a connection that is older than this [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, help_heading = "Client")]
    pub connection_lifetime: Option<Duration>,
    /// Ask a read a second time, on another connection, when there is no reply for so long; for at most 2 % of ops
    #[arg(long, value_name = "DURATION", value_parser = duration::any, help_heading = "Client")]
    pub hedge: Option<Duration>,
    /// TLS, trusting exactly the certificates of this PEM file
    #[arg(long, value_name = "FILE", help_heading = "Client")]
    pub tls_ca: Option<PathBuf>,
    /// Name that the servers' certificates must be for [default: each server's host]
    #[arg(long, value_name = "NAME", requires = "tls_ca", help_heading = "Client")]
    pub tls_name: Option<String>,
    /// Log in (memcached -Y) with NAME:PASSWORD, the first line of this file
    #[arg(long, value_name = "FILE", help_heading = "Client")]
    pub login_file: Option<PathBuf>,
    /// Servers, by name, that are nobody's home and stand in for those that are ejected
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Client")]
    pub gutter: Vec<String>,
    /// Retries after a failed attempt of an idempotent op, under a budget of 10 %
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Client")]
    pub retries: u32,
    /// When a server's breaker is open: failover (to the next server) or fail-fast (an error at once)
    #[arg(long, value_name = "WHAT", default_value = "failover", help_heading = "Client")]
    pub on_open: OnOpen,
    /// Time that a breaker stays open before it probes
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "5s", help_heading = "Breaker")]
    pub breaker_open: Duration,
    /// Timeouts in a row that open a breaker; 0: rule off
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Breaker")]
    pub breaker_timeouts: u32,
    /// Replies slower than this open a breaker when they are 80 % of at least 20 in 2 s, unless most servers are as slow
    /// [default: rule off]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, help_heading = "Breaker")]
    pub breaker_slow: Option<Duration>,
    /// The open time doubles with every failed probe, up to this [default: it stays --breaker-open]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, help_heading = "Breaker")]
    pub breaker_open_max: Option<Duration>,
    /// After closing, admit a share of ops that grows to all over this time
    #[arg(long, value_name = "DURATION", value_parser = duration::any, default_value = "0s", help_heading = "Breaker")]
    pub breaker_ramp: Duration,
    /// Probe with reads of the client's own instead of callers' ops
    #[arg(long, help_heading = "Breaker")]
    pub breaker_own_probes: bool,
    /// No breakers at all
    #[arg(long, help_heading = "Breaker")]
    pub no_breaker: bool,
}

impl ClientArgs {
    /// Our client as it was typed, with these servers.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, or that the process may not have the connections for; `in_flight` ops at most need one.
    pub fn target(&self, servers: Vec<Server>, in_flight: usize, seed: u64) -> anyhow::Result<AnyTarget> {
        let each = self.pipeline.unwrap_or(self.pool_size.min(in_flight));
        descriptors::check(each.saturating_mul(servers.len()) as u64).with_context(|| {
            let flag = if self.pipeline.is_some() { "--pipeline" } else { "--pool-size" };
            format!("{flag} {each} for each of {} servers", servers.len())
        })?;
        Ok(Ours::new(self.config(seed)?, servers)?.into())
    }

    /// What was typed, checked.
    fn config(&self, seed: u64) -> anyhow::Result<Config> {
        let defaults = Config::default();
        let breaker = BreakerConfig {
            consecutive_timeouts: Some(self.breaker_timeouts).filter(|n| *n > 0),
            slow: self.breaker_slow.map(SlowRule::above),
            open: self.breaker_open,
            open_max: self.breaker_open_max,
            ramp: self.breaker_ramp,
            probes: if self.breaker_own_probes { Probes::OutOfBand } else { Probes::InBand },
            ..BreakerConfig::default()
        };
        let mode = self
            .pipeline
            .map_or(Mode::Pooled, |connections| Mode::Pipelined { connections, depth: self.pipeline_depth });
        let config = Config {
            op_timeout: self.op_timeout,
            total_timeout: defaults.total_timeout.max(self.op_timeout),
            connect_timeout: self.connect_timeout,
            pool: PoolConfig {
                max: self.pool_size,
                lifetime_max: self.connection_lifetime,
                ..PoolConfig::default()
            },
            breaker: (!self.no_breaker).then_some(breaker),
            routing: Routing {
                on_open: self.on_open,
                gutter: self.gutter.iter().map(|name| name.trim().to_owned()).collect(),
                ..Routing::default()
            },
            retries: self.retries,
            hedge: self.hedge.map(|after| Hedge { after, budget: HEDGE_BUDGET }),
            codec: self.driver,
            mode,
            dial: Dial { tls: self.tls()?, login: self.login()?, connector: None },
            seed,
            ..defaults
        };
        Ok(config)
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(path) = &self.tls_ca else { return Ok(None) };
        let pem = std::fs::read(path).with_context(|| format!("--tls-ca {}", path.display()))?;
        let tls = Tls::with_roots(&pem, self.tls_name.clone());
        tls.map(Some).map_err(|error| anyhow!("--tls-ca {}: {error}", path.display()))
    }

    fn login(&self) -> anyhow::Result<Option<Login>> {
        let Some(path) = &self.login_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("--login-file {}", path.display()))?;
        let words = text.lines().next().and_then(|line| line.split_once(':'));
        let login = words.and_then(|(name, password)| Login::new(name, password));
        let wrong = || anyhow!("--login-file {}: the first line is not NAME:PASSWORD", path.display());
        login.map(Some).ok_or_else(wrong)
    }
}
