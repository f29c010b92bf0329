//! Flags → world → scenarios → verdicts → exit code.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use lab::{Lab, LabLoad, Ports};
use observation::journal::Journal;
use prometheus::Registry;
use scenario::backend::Backend;
use scenario::metrics::Metrics;
use scenario::{Environment, Scenario, Status, catalogue};
use telemetry::http::{Limits, Routes, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::NewProxy;

use crate::cli::{Cli, Command};
use crate::failure::{Failure, infrastructure, usage};
use crate::{judge, progress, reap, settings};

/// Between two scenarios.
const BETWEEN: Duration = Duration::from_secs(5);
/// Between two loops.
const BETWEEN_LOOPS: Duration = Duration::from_secs(10);
/// Between two questions whether Toxiproxy is there.
const PAUSE: Duration = Duration::from_millis(250);

/// Everything that the flags ask for; gives the exit code.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    match &cli.command {
        Some(Command::Judge(args)) => return judge::main(args),
        Some(Command::Reap(args)) => return reap::main(args).await,
        None if cli.list => return list().map(|()| 0),
        None => {}
    }
    let scenarios = settings::scenarios(&cli)?;
    if scenarios.is_empty() && !cli.lab {
        return Err(usage(anyhow::anyhow!(
            "nothing to do: give --scenario NAME (--list shows them), --scenario-file FILE or --lab"
        )));
    }
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    if scenarios.is_empty() {
        serve_lab(&cli, stop).await
    } else {
        run_scenarios(&cli, &scenarios, stop).await
    }
}

/// To standard output.
pub fn print(text: &str) {
    // A closed standard output (`| head`) is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn list() -> Result<(), Failure> {
    let mut suite = String::new();
    for scenario in catalogue::all().map_err(usage)? {
        if scenario.suite != suite {
            suite.clone_from(&scenario.suite);
            print(&format!("{suite}\n"));
        }
        let (testing, total) = (scenario.phases.testing, scenario.phases.total());
        print(&format!(
            "  {:<38}{:<42} fault {:>6}, whole {}\n",
            scenario.name,
            scenario.description,
            humantime::format_duration(testing).to_string(),
            humantime::format_duration(total)
        ));
    }
    Ok(())
}

/// `--lab` alone: servers and proxies on the default ports, until a signal.
async fn serve_lab(cli: &Cli, stop: CancellationToken) -> Result<u8, Failure> {
    let lab = Lab::start(&settings::lab(cli, cli.lab_ports, cli.seed.unwrap_or_else(rand::random))).await?;
    tracing::info!("{}: {:?}", lab.servers().describe(), lab.servers().addrs());
    tracing::info!("fault proxy: API {}, proxies on {}", lab.toxiproxy_url(), shown(&lab));
    tracing::info!(
        "now run `loadgen`, and `scenariod --scenario NAME`, in other terminals; SIGINT ends this"
    );
    stop.cancelled().await;
    lab.stop().await;
    Ok(0)
}

fn shown(lab: &Lab) -> String {
    let servers = lab.proxied_servers().iter().map(|server| format!("{}={}", server.name, server.addr));
    servers.collect::<Vec<_>>().join(", ")
}

/// Where the scenarios run: a lab of our own, or what the flags point at.
struct World {
    lab: Option<(Lab, LabLoad)>,
    toxiproxy: String,
    observe: String,
    proxies: Vec<NewProxy>,
    serving: Vec<JoinHandle<()>>,
    stop_serving: CancellationToken,
}

impl World {
    async fn outside(cli: &Cli) -> Self {
        Self {
            lab: None,
            toxiproxy: cli.toxiproxy.clone(),
            observe: cli.observe.clone(),
            proxies: settings::proxies(cli),
            serving: Vec::new(),
            stop_serving: CancellationToken::new(),
        }
    }

    /// Servers, proxies and load in this process, on free loopback ports.
    async fn lab(cli: &Cli) -> Result<Self, Failure> {
        let seed = cli.seed.unwrap_or_else(rand::random);
        let lab = Lab::start(&settings::lab(cli, Ports::Ephemeral, seed)).await?;
        tracing::info!("lab: {}, proxies on {}, seed {seed}", lab.servers().describe(), shown(&lab));
        let registry = Registry::new();
        let load = LabLoad::start(&lab, &settings::load(cli, seed), &registry).await?;
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
            serving: vec![tokio::spawn(server.serve(routes, stop_serving.clone()))],
            stop_serving,
            lab: Some((lab, load)),
        })
    }

    async fn stop(self) {
        if let Some((lab, load)) = self.lab {
            let summary = load.stop().await;
            tracing::debug!("{summary}");
            lab.stop().await;
        }
        self.stop_serving.cancel();
        for serving in self.serving {
            if let Err(error) = serving.await {
                tracing::error!(%error, "an HTTP server died");
            }
        }
    }
}

async fn run_scenarios(cli: &Cli, scenarios: &[Scenario], stop: CancellationToken) -> Result<u8, Failure> {
    // In a lab the port is nobody's business: free, unless one is asked for.
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).context("metrics").map_err(infrastructure)?;
    telemetry::metrics::process(&registry)
        .and_then(|()| telemetry::metrics::build_info(&registry, "scenariod", env!("CARGO_PKG_VERSION")))
        .context("metrics")
        .map_err(infrastructure)?;
    let server = Server::bind(&cli.metrics_addr(), Limits::default()).await.map_err(infrastructure)?;
    std::fs::create_dir_all(&cli.runs)
        .with_context(|| format!("--runs {}", cli.runs.display()))
        .map_err(infrastructure)?;
    tracing::info!("metrics on {}/metrics", server.local_url());

    let mut world = if cli.lab { World::lab(cli).await? } else { World::outside(cli).await };
    let serving = server.serve(Routes::with_metrics(registry), world.stop_serving.clone());
    world.serving.push(tokio::spawn(serving));
    let (status, watched) = watch::channel(Status::idle());
    world.serving.push(tokio::spawn(progress::show(watched, world.stop_serving.clone())));
    for scenario in scenarios {
        metrics.announce(&scenario.name);
    }
    let suite = async {
        let backend = backend(cli, &world.toxiproxy, &metrics, &stop).await?;
        let environment = Environment {
            backend,
            inside: cli.lab,
            proxies: world.proxies.clone(),
            observe: world.observe.clone(),
            runs: cli.runs.clone(),
            wait: *cli.wait,
            metrics: metrics.clone(),
            status,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            program: std::env::current_exe().context("this program's path").map_err(infrastructure)?,
        };
        scenario::preflight(scenarios, &environment).await?;
        suite(cli, scenarios, &environment, &stop).await
    };
    let ended = suite.await;
    world.stop().await;
    ended
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

async fn suite(
    cli: &Cli,
    scenarios: &[Scenario],
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<u8, Failure> {
    let mut worst = verdict::Result::Pass;
    let mut lines = Vec::new();
    loop {
        for (index, scenario) in scenarios.iter().enumerate() {
            if index > 0 && paused(BETWEEN, stop).await {
                break;
            }
            let result = one(cli, scenario, environment, stop).await?;
            worst = worst.max(result);
            lines.push(format!("{:<18}{}\n", result.name(), scenario.name));
            if stop.is_cancelled() {
                break;
            }
        }
        if !cli.r#loop || paused(BETWEEN_LOOPS, stop).await {
            break;
        }
        lines.clear();
    }
    if lines.len() > 1 {
        print("\n");
        lines.iter().for_each(|line| print(line));
    }
    Ok(worst.exit_code())
}

/// Waits; says whether the end came meanwhile.
async fn paused(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// Runs one scenario, judges its journal, writes and prints the report.
async fn one(
    cli: &Cli,
    scenario: &Scenario,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<verdict::Result, Failure> {
    let phases = settings::phases(cli, scenario);
    tracing::info!("{}: {}", scenario.name, scenario.description);
    let outcome = match scenario::run(scenario, phases, environment, stop).await {
        Ok(outcome) => outcome,
        Err(error) => {
            environment.metrics.run_ended(&scenario.name, "error");
            return Err(error.into());
        }
    };
    let journal = Journal::read(&outcome.dir).map_err(infrastructure)?;
    let verdict = verdict::judge(&journal);
    environment.metrics.run_ended(&scenario.name, verdict.result.status());
    print(&report::table(&verdict));
    report::write_all(&outcome.dir, &verdict).map_err(infrastructure)?;
    print(&format!("{}\n", outcome.dir.display()));
    if !outcome.clean {
        return Err(infrastructure(anyhow::anyhow!(
            "a fault could not be taken away; see {}",
            outcome.dir.display()
        )));
    }
    Ok(verdict.result)
}
