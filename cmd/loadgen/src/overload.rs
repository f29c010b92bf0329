//! `loadgen overload`: more and more load, until something gives; where, why, and how it heals.

mod hook;
mod markers;
mod metrics;
mod run;
mod settings;
mod step;
mod subject;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use capacity::{GradualParams, Phase, SearchParams};
use clap::Args;
use humantime::Duration;
use prometheus::Registry;
use telemetry::ListenAddr;
use telemetry::http::{Limits, Routes, Server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workload::{Alarm, LoadConfig, Profile, Rate};

use crate::cli::{Shape, Where};
use crate::client::ClientArgs;
use crate::run::{self as plain, Ended, Failure};
use hook::Hook;
use markers::Markers;
use metrics::PhaseGauge;
use run::Run;
use settings::{How, Settings};
use subject::{Backend, Subject};

/// Ticks that the steps may be behind: ten seconds.
const TICKS_MAX: usize = 100;
/// How long the generator is checked at each rate.
const CHECK: std::time::Duration = std::time::Duration::from_secs(3);
/// The generator must reach this many times the highest rate.
const HEADROOM: f64 = 2.0;
/// Halvings of a rate that the generator does not reach.
const HALVINGS: u32 = 6;

/// What was typed.
#[derive(Debug, Args)]
pub struct OverloadArgs {
    /// The servers.
    #[command(flatten)]
    pub at: Where,
    /// In place of servers: null (every op ends at once) or WORKERSxTIME, a simulated database in this process, such as 5x20ms
    /// (5x20ms:constant without a spread)
    #[arg(long, value_name = "WHAT", conflicts_with = "servers", help_heading = "Target")]
    pub backend: Option<Backend>,
    /// The load.
    #[command(flatten)]
    pub shape: Shape,
    /// The search.
    #[command(flatten)]
    pub settings: Settings,
    /// A TOML file with the names of the flags of the search, with underscores; a flag comes before it
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub config: Option<PathBuf>,

    /// A command for `sh -c` that applies a mitigation when a limit is broken; the step is then made once more. It knows
    /// OVERLOAD_CRITICAL_RATE. What is left of it is killed at the end
    #[arg(long, value_name = "CMD", help_heading = "Mitigation")]
    pub mitigate: Option<String>,
    /// The command is killed when it takes longer
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "Mitigation")]
    pub mitigate_limit: Duration,
    /// Where main_injection_timestamp.txt and mitigation_trigger.txt are written for an external agent
    #[arg(long, value_name = "DIR", help_heading = "Mitigation")]
    pub marker_dir: Option<PathBuf>,

    /// The client under test.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Where the tables, the summary and the report are written
    #[arg(long, value_name = "DIR", default_value = "overload", help_heading = "Output")]
    pub out: PathBuf,
    /// Where /metrics is served: :PORT, PORT or HOST:PORT; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = ":9090", help_heading = "Output")]
    pub metrics_port: ListenAddr,
}

/// What is to be done, checked.
struct Task {
    how: How,
    gradual: GradualParams,
    search: SearchParams,
}

/// Runs to the end of the test or to a signal.
pub async fn run(args: OverloadArgs, threads: usize) -> Result<Ended, Failure> {
    let infrastructure = |error: anyhow::Error| Failure::Infrastructure(error);
    let task = task(&args).map_err(Failure::Usage)?;
    args.shape.validate().map_err(Failure::Usage)?;
    let seed = args.shape.seed.unwrap_or_else(rand::random);
    let first = Rate::new(task.gradual.initial).ok_or_else(|| Failure::Usage(anyhow!("--initial-rate")))?;
    let load_config =
        LoadConfig { arrivals: first.with(args.shape.arrivals), ..args.shape.config(seed, threads) };
    load_config.validate().map_err(|error| Failure::Usage(error.into()))?;
    let server =
        Server::bind(&args.metrics_port, Limits::default()).await.map_err(|e| infrastructure(e.into()))?;
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    tracing::info!("metrics on {}/metrics, seed {seed}", server.local_url());

    let registry = Registry::new();
    plain::register(&registry).map_err(infrastructure)?;
    let gauge = PhaseGauge::register(&registry).context("metrics").map_err(infrastructure)?;
    let markers = Markers::new(args.marker_dir.as_deref()).map_err(infrastructure)?;
    let hook = args.mitigate.clone().map(|command| Hook { command, limit: args.mitigate_limit.into() });
    let name = match args.backend {
        Some(backend) => backend.to_string(),
        None => args
            .at
            .servers()
            .map_err(Failure::Usage)?
            .iter()
            .map(|s| s.addr.clone())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut overload =
        Run::new(args.out.clone(), name, markers, gauge, hook, stop.clone()).map_err(infrastructure)?;
    let opened = open(&args, &load_config, seed, server, registry, &stop).await?;
    let Some(mut subject) = opened else {
        overload.end().map_err(infrastructure)?;
        return Ok(Ended::default());
    };
    let made = steps(&mut overload, &mut subject, task, &load_config).await;
    let summary = subject.stop().await;
    // What was done is kept, whatever ended it.
    let told = overload.end().map_err(infrastructure)?;
    stop.cancel();
    made.map_err(infrastructure)?;
    // A closed standard output is no failure of the run.
    let _ = write!(std::io::stdout(), "{told}");
    Ok(summary.map_or_else(Ended::default, |summary| Ended::new(&summary, false)))
}

fn task(args: &OverloadArgs) -> anyhow::Result<Task> {
    if args.shape.workload == workload::look_aside::NAME {
        return Err(anyhow!(
            "--workload look-aside has no overload test: `scenariod metastable` raises its load, and --backend tests its database"
        ));
    }
    let settings = args.settings.clone().with_file(args.config.as_deref())?;
    let queue = matches!(args.backend, Some(Backend::Database { .. }));
    let hook = args.mitigate.is_some() || args.marker_dir.is_some();
    Ok(Task { how: settings.how(), gradual: settings.gradual(hook)?, search: settings.slo(queue)? })
}

async fn steps(
    overload: &mut Run,
    subject: &mut Subject,
    task: Task,
    config: &LoadConfig,
) -> anyhow::Result<()> {
    if task.how != How::Slo {
        overload.gradual(subject, task.gradual).await?;
    }
    if task.how != How::Seed && !overload.stop.is_cancelled() {
        let Some(max) = check_generator(overload, config, task.search.max).await? else { return Ok(()) };
        let initial = task.search.initial.min(max);
        overload.search(subject, SearchParams { initial, max, ..task.search }).await?;
    }
    Ok(())
}

/// The highest rate that the generator can be believed at: half of what it reaches without a server. `None`: the signal came.
async fn check_generator(overload: &mut Run, config: &LoadConfig, max: f64) -> anyhow::Result<Option<f64>> {
    let mut rate = max * HEADROOM;
    overload.enter(Phase::GeneratorCheck, rate, "can this machine make the load at all?")?;
    for _ in 0..HALVINGS {
        let profile = Rate::new(rate).and_then(|rate| Profile::single(rate, CHECK));
        let profile = profile.ok_or_else(|| anyhow!("--max-rate: twice {max}/s cannot be made"))?;
        let stop = overload.stop.clone();
        let checked = tokio::select! {
            checked = workload::check_generator(config, profile) => checked?,
            () = stop.cancelled() => return Ok(None),
        };
        if !checked.is_limit() {
            if rate < max * HEADROOM {
                overload.note(format!(
                    "generator: it reaches {rate:.0}/s without a server, so the search goes up to {:.0}/s only",
                    rate / HEADROOM
                ));
            } else {
                overload.note(format!("generator: it reaches {rate:.0}/s without a server"));
            }
            return Ok(Some(rate / HEADROOM));
        }
        rate /= 2.0;
    }
    Err(anyhow!("this machine is too busy or too slow: without a server it does not even reach {rate:.0}/s"))
}

/// Starts the load and the metrics; `None`: the signal came before a server.
async fn open(
    args: &OverloadArgs,
    load_config: &LoadConfig,
    seed: u64,
    server: Server,
    registry: Registry,
    stop: &CancellationToken,
) -> Result<Option<Subject>, Failure> {
    let infrastructure = |error: anyhow::Error| Failure::Infrastructure(error);
    if let Some(backend) = args.backend {
        let serving = server.spawn(Routes::with_metrics(registry), stop.clone());
        drop(serving.context("metrics").map_err(infrastructure)?);
        let patience = args.client.op_timeout.into();
        let subject = Subject::inside(backend, patience, load_config, Alarm::exact);
        return subject.map(Some).map_err(Failure::Usage);
    }
    let servers = args.at.servers().map_err(Failure::Usage)?;
    let client = args.client.target(servers, seed).map_err(Failure::Usage)?;
    if !plain::ready(&client, args.at.wait.into(), stop).await? {
        return Ok(None);
    }
    let Some(prepared) = plain::prepare(load_config, client, &registry, stop).await? else { return Ok(None) };
    let (sender, ticks) = mpsc::channel(TICKS_MAX);
    let shown = move |record: &observation::Record| {
        if let observation::Record::Tick(tick) = record
            && sender.try_send(tick.clone()).is_err()
        {
            tracing::warn!("a tick was lost: the steps are behind");
        }
    };
    let serving = plain::serve(server, registry, &prepared, shown, stop).map_err(infrastructure)?;
    drop(serving);
    if args.shape.prefill {
        prepared.prefill(stop, plain::report).await;
        if stop.is_cancelled() {
            return Ok(None);
        }
    }
    Ok(Some(Subject::Servers { load: Box::new(prepared.start()), ticks }))
}
