//! Flags → world → scenarios → verdicts → exit code.

use std::io::Write;

use anyhow::Context;
use lab::Lab;
use prometheus::Registry;
use scenario::metrics::Metrics;
use scenario::{Scenario, Status, catalogue};
use telemetry::http::{Limits, Routes, Server};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::failure::{Failure, infrastructure, usage};
use crate::last_word::Scrapes;
use crate::live::Live;
use crate::suite::Suite;
use crate::world::{self, Shared};
use crate::{compare, explain, judge, progress, reap, settings};

/// Everything that the flags ask for; gives the exit code.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    match &cli.command {
        Some(Command::Judge(args)) => return judge::main(args),
        Some(Command::Report(args)) => return crate::report::main(args),
        Some(Command::Reap(args)) => return reap::main(args).await,
        Some(Command::Compare(args)) => return compare::main(args),
        Some(Command::Metastable(args)) => return crate::metastable::main(args).await,
        Some(Command::Explain(args)) => return explain::main(args).await,
        None if cli.list => return list().map(|()| 0),
        None => {}
    }
    settings::check(&cli)?;
    let experiments = settings::experiments(&cli)?;
    if !experiments.is_empty() {
        return crate::metastable::main(&crate::metastable::Args::of(&cli, experiments)).await;
    }
    let scenarios = settings::scenarios(&cli)?;
    if scenarios.is_empty() && !cli.lab {
        return Err(usage(anyhow::anyhow!(
            "nothing to do: give --scenario NAME (--list shows them), --scenario-file FILE or --lab"
        )));
    }
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    if scenarios.is_empty() { serve_lab(&cli, stop).await } else { run_scenarios(cli, scenarios, stop).await }
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
    print("metastable\n");
    for plan in ::metastable::all().map_err(usage)? {
        print(&format!("  {:<38}{}, {} cells\n", plan.name, plan.description, plan.cells.len()));
    }
    Ok(())
}

/// `--lab` alone: servers and proxies on the default ports, until a signal.
async fn serve_lab(cli: &Cli, stop: CancellationToken) -> Result<u8, Failure> {
    let lab = Lab::start(&settings::lab(cli, cli.lab_ports, cli.seed.unwrap_or_else(rand::random))).await?;
    tracing::info!("{}: {:?}", lab.servers().describe(), lab.servers().addrs());
    tracing::info!("fault proxy: API {}, proxies on {}", lab.toxiproxy_url(), world::shown(&lab));
    tracing::info!(
        "now run `loadgen`, and `scenariod --scenario NAME`, in other terminals; SIGINT ends this"
    );
    stop.cancelled().await;
    lab.stop().await;
    Ok(0)
}

async fn run_scenarios(cli: Cli, scenarios: Vec<Scenario>, stop: CancellationToken) -> Result<u8, Failure> {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).context("metrics").map_err(infrastructure)?;
    telemetry::metrics::process(&registry)
        .and_then(|()| telemetry::metrics::build_info(&registry, "scenariod", env!("CARGO_PKG_VERSION")))
        .context("metrics")
        .map_err(infrastructure)?;
    let scrapes = Scrapes::register(&registry).context("metrics").map_err(infrastructure)?;
    let server = Server::bind(&cli.metrics_addr(), Limits::default()).await.map_err(infrastructure)?;
    std::fs::create_dir_all(&cli.runs)
        .with_context(|| format!("--runs {}", cli.runs.display()))
        .map_err(infrastructure)?;
    tracing::info!("metrics on {url}/metrics, live page on {url}/", url = server.local_url());
    for scenario in &scenarios {
        metrics.announce(&scenario.name);
    }

    let seed = cli.seed.unwrap_or_else(rand::random);
    let jobs = settings::jobs(&cli, scenarios.len());
    let rate = match cli.rate {
        None if jobs > 1 => Some(world::fair_rate(&cli, seed, jobs).await?),
        rate => rate.map(|rate| rate.ops_per_s()),
    };
    let live = Live::new(&cli, jobs);
    live.list();
    let shared = Shared { metrics, seed, rate, live: live.clone(), stop };
    let stop_serving = CancellationToken::new();
    let (statuses, watched) = (0..jobs).map(|_| watch::channel(Status::idle())).unzip();
    let routes = live.routes(Routes::with_metrics(registry));
    let serving = server.spawn(routes, stop_serving.clone()).context("metrics").map_err(infrastructure)?;
    let showing = [
        tokio::spawn(progress::show(watched, stop_serving.clone())),
        tokio::spawn(live.form(stop_serving.clone())),
    ];
    let ended = Suite::new(cli, scenarios, shared, statuses).run().await;
    scrapes.last_word().await;
    stop_serving.cancel();
    for showing in showing {
        if let Err(error) = showing.await {
            tracing::error!(%error, "the progress line or the preview died");
        }
    }
    if let Err(error) = serving.ended().await {
        tracing::error!(%error, "the HTTP server died");
    }
    ended
}
