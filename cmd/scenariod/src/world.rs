//! Where runs take place: a lab of our own, or what the flags point at.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::{Lab, LabLoad};
use prometheus::Registry;
use scenario::backends::toxiproxy::{TestProxies, Toxiproxy};
use scenario::metrics::Metrics;
use scenario::{Ahead, Environment, Onlooker, Status};
use telemetry::http::{Limits, Routes, Server, Serving};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::NewProxy;
use verdict::{Expectation, FaultPlan, Situation, Trip};

use crate::explain::SERVICE_MS;
use crate::failure::{Failure, infrastructure, usage};
use crate::live::Live;
use crate::settings::{self, EnvironmentSettings, Place, RATE_TOGETHER};
use crate::terminal::Terminal;

/// Between two questions whether Toxiproxy is there.
const PAUSE: Duration = Duration::from_millis(250);

/// A lab beside others asks for this share of what it would alone: each fault's extra work is the others' disturbance.
const RATE_SHARE: f64 = 0.5;

/// A trip that may come later than this is not told to be missing, ms.
const TRIP_MS: f64 = 5_000.0;

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
    /// What the page shows.
    pub live: Live,
    /// What the terminal shows.
    pub terminal: Terminal,
    /// The end of everything.
    pub stop: CancellationToken,
}

impl Shared {
    /// Sees the runs of a job, from 1.
    fn onlooker(&self, job: u32) -> Onlooker {
        let (live, terminal) = (self.live.clone(), self.terminal.clone());
        Onlooker::new(move |entry| {
            live.see(job, entry);
            terminal.see(job, entry);
        })
    }
}

/// One place for one run at a time.
pub struct World {
    lab: Option<(Lab, LabLoad)>,
    toxiproxy: String,
    observe: String,
    proxies: TestProxies,
    serving: Option<Serving>,
    watching: JoinHandle<()>,
    stop_serving: CancellationToken,
}

impl World {
    /// `job`, from 1: which of several.
    pub async fn start(place: &Place, shared: &Shared, job: u32) -> Result<Self, Failure> {
        match place {
            Place::Lab(lab) => Self::lab(&lab.of_job(job), shared, job).await,
            Place::Elsewhere(elsewhere) => {
                let stop_serving = CancellationToken::new();
                Ok(Self {
                    lab: None,
                    toxiproxy: elsewhere.toxiproxy.clone(),
                    observe: elsewhere.observe.clone(),
                    proxies: elsewhere.proxies.clone(),
                    serving: None,
                    watching: watch_api(&elsewhere.toxiproxy, shared, job, &stop_serving)?,
                    stop_serving,
                })
            }
        }
    }

    /// Servers, proxies and load in this process, on free loopback ports.
    async fn lab(settings: &settings::Lab, shared: &Shared, job: u32) -> Result<Self, Failure> {
        let lab = Lab::start(&settings.config).await?;
        let seed = settings.config.seed;
        tracing::info!("lab: {}, proxies on {}, seed {seed}", lab.servers().describe(), shown(&lab));
        let registry = Registry::new();
        let load = LabLoad::start(&lab, &settings.load, &registry).await?;
        let server = Server::bind(&telemetry::ListenAddr::loopback(0), Limits::default())
            .await
            .map_err(infrastructure)?;
        let observe = server.local_url();
        let because = settings.rate_because.as_deref().map_or(String::new(), |why| format!(" ({why})"));
        tracing::info!("lab: {:.0} ops/s{because}; its metrics on {observe}/metrics", load.rate());
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
            proxies: TestProxies { wanted: proxies.collect(), upstreams_are_given: false },
            serving: Some(server.spawn(routes, stop_serving.clone()).map_err(infrastructure)?),
            watching: watch_api(&lab.toxiproxy_url(), shared, job, &stop_serving)?,
            stop_serving,
            lab: Some((lab, load)),
        })
    }

    /// What a run here needs.
    pub async fn environment(
        &self,
        settings: &EnvironmentSettings,
        shared: &Shared,
        job: u32,
    ) -> Result<Environment, Failure> {
        let metrics = shared.metrics.for_lab(job);
        Ok(Environment {
            toxiproxy: toxiproxy(settings.wait, &self.toxiproxy, &metrics, &shared.stop).await?,
            inside: self.is_a_lab(),
            proxies: self.proxies.clone(),
            observe: self.observe.clone(),
            runs: settings.runs.clone(),
            wait: settings.wait,
            metrics,
            endings: settings.endings.clone(),
            onlooker: shared.onlooker(job),
            status: watch::Sender::new(Status::idle()),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            forecast: must_trip,
            program: std::env::current_exe()
                .map_err(|error| infrastructure(anyhow::anyhow!("this program's path: {error}")))?,
        })
    }

    /// Is it in this process?
    pub fn is_a_lab(&self) -> bool {
        self.lab.is_some()
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
            && let Err(error) = serving.ended().await
        {
            tracing::error!(%error, "an HTTP server died");
        }
        if let Err(error) = self.watching.await {
            tracing::error!(%error, "the look at Toxiproxy's API died");
        }
    }
}

/// Ops/s for each of so many labs side by side: calibrated once, because labs that are calibrated at the same moment measure each
/// other.
pub async fn fair_rate(settings: &settings::Lab, labs: u32) -> Result<f64, Failure> {
    let lab = Lab::start(&settings.config).await?;
    let calibrated = lab::calibrate(&lab, &settings.load).await;
    lab.stop().await;
    Ok(share_of_rate(calibrated?, labs))
}

/// Ops/s of each of so many labs, of which one alone would ask for `rate`.
fn share_of_rate(rate: f64, labs: u32) -> f64 {
    ((rate * RATE_SHARE).min(RATE_TOGETHER) / f64::from(labs.max(1))).floor().max(1.0)
}

/// Looks at the API of a Toxiproxy until `stop`.
fn watch_api(
    url: &str,
    shared: &Shared,
    job: u32,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let client = toxiproxy::Client::new(url).map_err(usage)?;
    Ok(tokio::spawn(scenario::metrics::watch_api(client, shared.metrics.for_lab(job), stop.clone())))
}

/// The servers whose breakers must be open within 5 s of these faults.
fn must_trip(ahead: &Ahead<'_>) -> BTreeSet<String> {
    let named = ahead.faults.iter().filter_map(|fault| Some((fault.server.clone()?, fault)));
    let mut parts: Vec<FaultPlan> = Vec::new();
    for (server, fault) in named {
        let part = FaultPlan { server, kind: fault.kind.clone(), params: fault.params.clone() };
        // Both directions of one loss are one fault.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let faulted: BTreeSet<&str> = parts.iter().map(|fault| fault.server.as_str()).collect();
    let servers = ahead.hello.servers.len();
    let expectation = Expectation::predict(&Situation {
        settings: &ahead.hello.settings,
        servers,
        faulted_share: faulted.len() as f64 / servers.max(1) as f64,
        faults: parts.clone(),
        offered: ahead.offered,
        fault_ms: ahead.length.as_secs_f64() * 1e3,
        service_ms: SERVICE_MS,
    });
    let in_time = expectation.time_to_trip_ms.is_some_and(|bounds| bounds.most <= TRIP_MS);
    let must = expectation.trips.into_iter().filter(|(_, trip)| in_time && *trip == Trip::Must);
    must.map(|(server, _)| server).collect()
}

/// Waits for Toxiproxy, but no longer than `wait`.
async fn toxiproxy(
    wait: Duration,
    url: &str,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Toxiproxy, Failure> {
    let deadline = Instant::now() + wait;
    loop {
        match Toxiproxy::connect(url, metrics.clone()).await {
            Ok(toxiproxy) => return Ok(toxiproxy),
            Err(error @ ::toxiproxy::ClientError::BadUrl { .. }) => return Err(usage(error)),
            Err(error) if Instant::now() >= deadline || stop.is_cancelled() => {
                return Err(infrastructure(anyhow::anyhow!(
                    "{error}; start one with `scenariod --lab` or `docker compose up -d`, or name it with --toxiproxy"
                )));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
