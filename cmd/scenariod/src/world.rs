//! Where runs take place: a lab of our own, or what the flags point at.

use lab::{Lab, LabLoad, Ports};
use prometheus::Registry;
use scenario::backend::Backend;
use scenario::metrics::Metrics;
use scenario::{Environment, Status};
use telemetry::http::{Limits, Routes, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::NewProxy;

use crate::cli::Cli;
use crate::failure::{Failure, infrastructure, usage};
use crate::settings;

/// Between two questions whether Toxiproxy is there.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// `name=address` of each proxy.
pub fn shown(lab: &Lab) -> String {
    let servers = lab.proxied_servers().iter().map(|server| format!("{}={}", server.name, server.addr));
    servers.collect::<Vec<_>>().join(", ")
}

/// What of a world is the process's own.
#[derive(Clone)]
pub struct Shared {
    /// Where runs and faults are exported.
    pub metrics: Metrics,
    /// Seed of loads and dice.
    pub seed: u64,
    /// Ops/s of each lab; `None`: each is calibrated.
    pub rate: Option<f64>,
    /// The end of everything.
    pub stop: CancellationToken,
}

/// One place for one run at a time.
pub struct World {
    lab: Option<(Lab, LabLoad)>,
    toxiproxy: String,
    observe: String,
    proxies: Vec<NewProxy>,
    serving: Option<JoinHandle<()>>,
    stop_serving: CancellationToken,
}

impl World {
    /// A lab if the flags ask for one. `job`, from 1: which of several.
    pub async fn start(cli: &Cli, shared: &Shared, job: u32) -> Result<Self, Failure> {
        match cli.lab {
            true => Self::lab(cli, shared, job).await,
            false => Ok(Self {
                lab: None,
                toxiproxy: cli.toxiproxy.clone(),
                observe: cli.observe.clone(),
                proxies: settings::proxies(cli),
                serving: None,
                stop_serving: CancellationToken::new(),
            }),
        }
    }

    /// Servers, proxies and load in this process, on free loopback ports.
    async fn lab(cli: &Cli, shared: &Shared, job: u32) -> Result<Self, Failure> {
        let seed = shared.seed.wrapping_add(u64::from(job - 1));
        let lab = Lab::start(&settings::lab(cli, Ports::Ephemeral, seed)).await?;
        tracing::info!("lab: {}, proxies on {}, seed {seed}", lab.servers().describe(), shown(&lab));
        let registry = Registry::new();
        let load = LabLoad::start(&lab, &settings::load(cli, seed, shared.rate), &registry).await?;
        let server = Server::bind(&telemetry::ListenAddr::loopback(0), Limits::default())
            .await
            .map_err(infrastructure)?;
        let observe = server.local_url();
        tracing::info!("lab: {:.0} ops/s, its metrics on {observe}/metrics", load.rate());
        let hub = load.hub().clone();
        let routes = Routes::with_metrics(registry).stream(
            "/v1/observations",
            "application/x-ndjson",
            telemetry::http::lines(
                hub,
                |hub| hub.subscribe(),
                |mut reader| async move { reader.next_line().await.map(|line| (line, reader)) },
            ),
        );
        let proxies =
            lab.proxied_servers().iter().zip(lab.servers().addrs()).map(|(proxy, server)| NewProxy {
                name: proxy.name.clone(),
                listen: proxy.addr.clone(),
                upstream: server.to_string(),
                enabled: true,
            });
        let stop_serving = CancellationToken::new();
        Ok(Self {
            toxiproxy: lab.toxiproxy_url(),
            observe,
            proxies: proxies.collect(),
            serving: Some(tokio::spawn(server.serve(routes, stop_serving.clone()))),
            stop_serving,
            lab: Some((lab, load)),
        })
    }

    /// What a run here needs.
    pub async fn environment(
        &self,
        cli: &Cli,
        shared: &Shared,
        job: u32,
        status: watch::Sender<Status>,
    ) -> Result<Environment, Failure> {
        let metrics = shared.metrics.for_lab(job);
        Ok(Environment {
            backend: backend(cli, &self.toxiproxy, &metrics, &shared.stop).await?,
            inside: cli.lab,
            proxies: self.proxies.clone(),
            observe: self.observe.clone(),
            runs: cli.runs.clone(),
            wait: *cli.wait,
            metrics,
            endings: settings::endings(cli),
            status,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            program: std::env::current_exe()
                .map_err(|error| infrastructure(anyhow::anyhow!("this program's path: {error}")))?,
        })
    }

    /// Ends what is ours.
    pub async fn stop(self) {
        if let Some((lab, load)) = self.lab {
            let summary = load.stop().await;
            tracing::debug!("{summary}");
            lab.stop().await;
        }
        self.stop_serving.cancel();
        if let Some(serving) = self.serving
            && let Err(error) = serving.await
        {
            tracing::error!(%error, "an HTTP server died");
        }
    }
}

/// Ops/s for each of so many labs side by side: calibrated once, because labs that are calibrated at the same moment measure each
/// other.
pub async fn fair_rate(cli: &Cli, seed: u64, labs: u32) -> Result<f64, Failure> {
    let lab = Lab::start(&settings::lab(cli, Ports::Ephemeral, seed)).await?;
    let calibrated = lab::calibrate(&lab, &settings::load(cli, seed, None)).await;
    lab.stop().await;
    Ok(settings::share_of_rate(calibrated?, labs))
}

/// Waits for Toxiproxy as long as the flags allow.
async fn backend(
    cli: &Cli,
    url: &str,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Backend, Failure> {
    let deadline = Instant::now() + *cli.wait;
    loop {
        match Backend::connect(url, metrics.clone()).await {
            Ok(backend) => return Ok(backend),
            Err(error @ toxiproxy::ClientError::BadUrl { .. }) => return Err(usage(error)),
            Err(error) if Instant::now() >= deadline || stop.is_cancelled() => {
                return Err(infrastructure(anyhow::anyhow!(
                    "{error}; start one with `scenariod --lab` or `docker compose up -d`, or name it with --toxiproxy"
                )));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
