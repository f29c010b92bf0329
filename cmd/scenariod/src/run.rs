//! Settings → world → scenarios → verdicts → exit code.

use std::path::Path;

use anyhow::Context;
use lab::{Lab, LabConfig};
use prometheus::Registry;
use scenario::metrics::Metrics;
use telemetry::http::{Limits, Routes, Server};
use telemetry::output::print;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, infrastructure};
use crate::last_word::Scrapes;
use crate::live::Live;
use crate::settings::{Place, Runs};
use crate::suite::Suite;
use crate::task::Task;
use crate::terminal::Terminal;
use crate::world::{self, Shared};
use crate::{compare, explain, judge, list, metastable, reap, report};

/// Performs a task on so many threads; gives the exit code.
pub fn run(threads: usize, task: Task) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(infrastructure)?.block_on(perform(task))
}

async fn perform(task: Task) -> Result<u8, Failure> {
    match task {
        Task::List => list::main(),
        Task::Print(text) => {
            print(&text);
            Ok(0)
        }
        Task::Write { dir, files } => write(&dir, &files).map(|()| 0),
        Task::Judge(journals) => judge::main(&journals),
        Task::Report(runs) => report::main(&runs),
        Task::Compare(settings) => compare::main(&settings),
        Task::Explain(settings) => explain::main(&settings).await,
        Task::Reap(settings) => reap::main(&settings).await,
        Task::Metastable(settings) => metastable::main(&settings).await,
        Task::ServeLab(config) => serve_lab(&config).await,
        Task::Run(runs) => run_scenarios(*runs).await,
    }
}

fn write(dir: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string()).map_err(infrastructure)?;
    for (name, text) in files {
        ::report::write(&dir.join(name), text).map_err(infrastructure)?;
    }
    Ok(())
}

/// `--lab` alone: servers and proxies on the default ports, until a signal.
async fn serve_lab(config: &LabConfig) -> Result<u8, Failure> {
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    let lab = Lab::start(config).await?;
    tracing::info!("{}: {:?}", lab.servers().describe(), lab.servers().addrs());
    tracing::info!("fault proxy: API {}, proxies on {}", lab.toxiproxy_url(), world::shown(&lab));
    tracing::info!(
        "now run `loadgen`, and `scenariod --scenario NAME`, in other terminals; SIGINT ends this"
    );
    stop.cancelled().await;
    lab.stop().await;
    Ok(0)
}

async fn run_scenarios(runs: Runs) -> Result<u8, Failure> {
    let Runs { metrics: addr, jobs, mut place, environment, suite } = runs;
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).context("metrics").map_err(infrastructure)?;
    telemetry::metrics::process(&registry)
        .and_then(|()| telemetry::metrics::build_info(&registry, "scenariod", env!("CARGO_PKG_VERSION")))
        .context("metrics")
        .map_err(infrastructure)?;
    let scrapes = Scrapes::register(&registry).context("metrics").map_err(infrastructure)?;
    let server = Server::bind(&addr, Limits::default()).await.map_err(infrastructure)?;
    std::fs::create_dir_all(&suite.runs)
        .with_context(|| format!("--runs {}", suite.runs.display()))
        .map_err(infrastructure)?;
    tracing::info!("metrics on {url}/metrics, live page on {url}/", url = server.local_url());
    for scenario in &suite.scenarios {
        metrics.announce(&scenario.name);
    }

    if let Place::Lab(lab) = &mut place
        && jobs > 1
        && lab.load.rate.is_none()
    {
        lab.load.rate = Some(world::fair_rate(lab, jobs).await?);
    }
    let live = Live::new(&suite.runs, place.observed(), jobs);
    live.list();
    let terminal = Terminal::new(jobs);
    let shared = Shared { metrics, live: live.clone(), terminal: terminal.clone(), stop };
    let stop_serving = CancellationToken::new();
    let routes = live.routes(Routes::with_metrics(registry));
    let serving = server.spawn(routes, stop_serving.clone()).context("metrics").map_err(infrastructure)?;
    let showing =
        [tokio::spawn(terminal.show(stop_serving.clone())), tokio::spawn(live.form(stop_serving.clone()))];
    let ended = Suite::new(suite, place, environment, shared, jobs).run().await;
    scrapes.last_word().await;
    stop_serving.cancel();
    for showing in showing {
        if let Err(error) = showing.await {
            tracing::error!(%error, "the terminal's block or the preview died");
        }
    }
    if let Err(error) = serving.ended().await {
        tracing::error!(%error, "the HTTP server died");
    }
    ended
}
