//! One row: a lab, a client with its load, a stream that may lie, a runner, somebody who meddles, and a judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Lab, LabConfig, MemcachedKind, Ports};
use memcache_client::bugs::Bugs;
use observation::Server;
use observation::journal::Journal;
use prometheus::Registry;
use scenario::backends::toxiproxy::{TestProxies, Toxiproxy};
use scenario::metrics::Metrics;
use scenario::{Endings, Environment, Scenario, Status};
use telemetry::ListenAddr;
use telemetry::http::{self, Limits, Routes};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::NewProxy;
use verdict::Verdict;
use workload::{Arrivals, Load, LoadConfig, Ours};

use crate::cli::Cli;
use crate::limited;
use crate::meddle;
use crate::rows::{Meddler, Row, Setup, Wanted};
use crate::stream::Source;

/// Workers of one row's runtime.
pub const WORKERS: usize = 2;
/// Patience for the stream's hello.
const WAIT: Duration = Duration::from_secs(10);
/// A client that has not been seen for this long ends its run.
const BLIND: Duration = Duration::from_secs(10);

/// One row with what came of it.
pub struct Judged<'a> {
    /// What was asked.
    pub row: &'a Row,
    /// The verdict, and where its journal is.
    pub end: Result<(Verdict, PathBuf)>,
    /// Runs until the judge did not refuse any more.
    pub tries: u8,
    /// How long they took.
    pub took: Duration,
}

impl Judged<'_> {
    /// Has the judge refused to judge, and not for the reason that is wanted? A busy machine is reason enough.
    pub fn is_refused_in_vain(&self) -> bool {
        let refused = |verdict: &Verdict| {
            matches!(verdict.result, verdict::Ruling::Invalid | verdict::Ruling::Inconclusive)
        };
        !self.is_right() && self.end.as_ref().is_ok_and(|(verdict, _)| refused(verdict))
    }

    /// Is the verdict the one that is wanted, for the reason that is wanted?
    pub fn is_right(&self) -> bool {
        let Ok((verdict, _)) = &self.end else { return false };
        let failed = failed(verdict);
        use verdict::Ruling::*;
        match (self.row.wanted, verdict.result) {
            (Wanted::Caught(by), Fail | WrongData) => failed.iter().any(|id| by.contains(id)),
            (Wanted::Pass, Pass) => true,
            (Wanted::Refused(by), Invalid | Inconclusive) => failed.iter().any(|id| by.contains(id)),
            _ => false,
        }
    }
}

/// Which criteria made the verdict what it is, each once: what failed, or else what was in the way of judging.
pub fn failed(verdict: &Verdict) -> Vec<&'static str> {
    let mut failed: Vec<&str> = Vec::new();
    let least = verdict.result.min(verdict::Ruling::Fail);
    let least = if least == verdict::Ruling::Fail { least } else { verdict::Ruling::Inconclusive };
    for criterion in verdict.criteria.iter().filter(|criterion| criterion.result >= least) {
        if !failed.contains(&criterion.id) {
            failed.push(criterion.id);
        }
    }
    failed
}

/// What a meddler can reach.
pub struct World {
    pub lab: Lab,
    /// The API of the fault proxy.
    pub toxiproxy: toxiproxy::Client,
    pub source: Arc<Source>,
    /// Who breaks it.
    pub meddler: Meddler,
    /// Threads of this row's runtime.
    pub workers: usize,
    pub load: Mutex<Option<Load>>,
    pub setup: Setup,
    pub seed: u64,
    pub runs: PathBuf,
}

impl World {
    async fn start(row: &Row, cli: &Cli, seed: u64) -> Result<Self> {
        let mut setup = (row.setup)();
        if row.is_twin {
            setup.client.bugs = Bugs::default();
        }
        let memcached = if setup.fake { MemcachedKind::Fake } else { cli.memcached };
        let config = LabConfig { servers: setup.servers, memcached, ports: Ports::Ephemeral, seed };
        let lab = Lab::start(&config).await?;
        let toxiproxy = toxiproxy::Client::new(&lab.toxiproxy_url())?;
        let source = Arc::new(Source::default());
        let runs = cli.runs.join(&row.id);
        std::fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
        let world = Self {
            lab,
            toxiproxy,
            source,
            meddler: row.meddler,
            workers: WORKERS,
            load: Mutex::new(None),
            setup,
            seed,
            runs,
        };
        world.start_load().await?;
        Ok(world)
    }

    /// Begins to make load; the stream tells of it from now on.
    pub async fn start_load(&self) -> Result<()> {
        let setup = &self.setup;
        let client = memcache_client::Config { seed: self.seed, ..setup.client.clone() };
        let per_server = client.pool.max + client.pool.max_waiting;
        let config = LoadConfig {
            arrivals: Arrivals::Poisson(setup.rate),
            in_flight_max: 2 * per_server * setup.servers,
            drivers: 2,
            seed: self.seed,
            workload: setup.workload.to_owned(),
            ..LoadConfig::default()
        };
        // Each has its own: a second one would meet the names of the first.
        let load = Load::prepare(&config, Ours::new(client, self.client_servers())?, &Registry::new())?;
        if setup.prefill {
            load.prefill(&CancellationToken::new(), |_| {}).await;
        }
        let load = load.start();
        if setup.made < 1.0 {
            load.set_rate(setup.rate * setup.made)?;
        }
        self.source.tells_of(load.hub().clone());
        *self.load.lock().await = Some(load);
        Ok(())
    }

    /// Ends the load without a word.
    pub async fn stop_load(&self) {
        self.source.falls_silent();
        if let Some(load) = self.load.lock().await.take() {
            load.stop().await;
        }
    }

    /// The servers as the client dials them.
    fn client_servers(&self) -> Vec<Server> {
        let mut servers = self.lab.proxied_servers().to_vec();
        if self.setup.past_the_proxies {
            for (server, addr) in servers.iter_mut().zip(self.lab.servers().addrs()) {
                server.addr = addr.to_string();
            }
        }
        servers
    }

    /// Name of a proxy.
    pub fn proxy(&self, index: usize) -> Result<&str> {
        self.lab.proxied_servers().get(index).map(|server| server.name.as_str()).context("too few servers")
    }

    /// The proxies as the runner knows them.
    pub fn proxies(&self) -> Vec<NewProxy> {
        let proxied = self.lab.proxied_servers().iter().zip(self.lab.servers().addrs());
        let proxies = proxied.map(|(proxy, server)| NewProxy {
            name: proxy.name.clone(),
            listen: proxy.addr.clone(),
            upstream: server.to_string(),
            enabled: true,
        });
        proxies.collect()
    }
}

/// Runs one row and judges it.
pub async fn run(row: &Row, cli: &Cli, seed: u64) -> Result<(Verdict, PathBuf)> {
    if let (Some(file_max), false) = ((row.setup)().file_max, cli.within_limit) {
        return limited::run(row, cli, file_max, seed).await;
    }
    let scenario = Scenario::parse(row.scenario.text, row.scenario.file)?;
    let world = World::start(row, cli, seed).await?;
    meddle::beforehand(&world).await?;
    let server = http::Server::bind(&ListenAddr::loopback(0), Limits::default()).await?;
    let observe = server.local_url();
    let routes = Routes::default().stream(
        "/v1/observations",
        "application/x-ndjson",
        telemetry::http::lines(
            Arc::clone(&world.source),
            |source| source.subscribe(),
            |mut reader| async move { reader.next_line().await.map(|line| (line, reader)) },
        ),
    );
    let stop_serving = CancellationToken::new();
    let serving = tokio::spawn(server.serve(routes, stop_serving.clone()));
    let metrics = Metrics::register(&Registry::new())?;
    let (status, watched) = watch::channel(Status::idle());
    let environment = Environment {
        inside: true,
        toxiproxy: Toxiproxy::connect(&world.lab.toxiproxy_url(), metrics.clone()).await?,
        proxies: TestProxies { wanted: world.proxies(), upstreams_are_given: false },
        observe,
        runs: world.runs.clone(),
        wait: WAIT,
        metrics,
        endings: Endings { abort_if: Vec::new(), blind: BLIND, until_stable: None },
        onlooker: scenario::Onlooker::default(),
        status,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        forecast: |_| Default::default(),
        program: std::env::current_exe()?,
    };
    let stop = CancellationToken::new();
    let ran = tokio::select! {
        ran = scenario::run(&scenario, scenario.phases, &environment, &stop) => ran.map_err(anyhow::Error::from),
        error = meddle::meddle(&world, watched) => Err(error),
    };
    let end = ran.and_then(|outcome| {
        let journal = Journal::read(&outcome.dir)?;
        let verdict = verdict::judge(&journal);
        report::write_all(&outcome.dir, &journal, &verdict)?;
        Ok((verdict, outcome.dir))
    });
    world.stop_load().await;
    stop_serving.cancel();
    serving.await?;
    world.lab.stop().await;
    end
}
