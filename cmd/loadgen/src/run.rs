//! Flags → configuration → load → summary.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use observation::Record;
use observation::clock::wall_ms;
use prometheus::Registry;
use telemetry::http::{self, Limits, Routes, Serving};
use tokio_util::sync::CancellationToken;
use workload::{AnyTarget, Arrivals, Load, LoadConfig, Prefilled, Prepared, Profile, Summary, Target};

use crate::cli::{CheckGenerator, Cli, Command, Shape};
use crate::control::ControlServer;
use crate::servers;

/// Hot keys when no number is given.
const HOT_KEYS: usize = 10;

/// What this program shows of itself at `/`.
const PAGE: live::Page = live::Page {
    program: concat!("loadgen ", env!("CARGO_PKG_VERSION")),
    jobs: 1,
    runs: false,
    other: None,
    other_name: "Phases, faults and verdicts are on scenariod's own page, at its --metrics-port (9092).",
};

/// How a run came to its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended {
    /// Something was wrong with what was read.
    pub wrong: bool,
    /// A task of this program died.
    pub died: bool,
    /// The op log could not be written to its end.
    pub op_log_failed: bool,
}

/// Why there was no run.
#[derive(Debug)]
pub enum Failure {
    /// The flags contradict each other.
    Usage(anyhow::Error),
    /// A port or the servers are missing, or this program failed.
    Infrastructure(anyhow::Error),
}

/// Runs until the duration is over or a signal comes.
pub async fn run(mut cli: Cli) -> Result<Ended, Failure> {
    match cli.command.take() {
        Some(Command::CheckGenerator(check)) => return check_generator(&check, &cli).await,
        Some(Command::Overload(args)) => return crate::overload::run(*args, cli.max_procs.into()).await,
        // It needs no runtime, so `main` has done it.
        Some(Command::OpLog { .. }) | None => {}
    }
    let servers = servers::or_default(&cli.at.servers);
    let seed = cli.shape.seed.unwrap_or_else(rand::random);
    cli.shape.validate().map_err(Failure::Usage)?;
    let load_config = load_config(&cli, seed);
    let target = cli
        .client
        .target(servers, load_config.in_flight_max, cli.shard.seed(seed))
        .map_err(Failure::Usage)?;
    load_config.validate().map_err(|error| Failure::Usage(error.into()))?;
    if load_config.look_aside.is_some_and(|setup| setup.failover) {
        return Err(Failure::Usage(anyhow!(
            "--mitigation failover: that is the client's; --on-open failover"
        )));
    }

    let infrastructure = |error: anyhow::Error| Failure::Infrastructure(error);
    // The port first: nothing else may have begun when it is taken.
    let server = http::Server::bind(&cli.metrics_port, Limits::default())
        .await
        .map_err(|e| infrastructure(e.into()))?;
    let control = match cli.control {
        Some(addr) => Some(ControlServer::bind(addr).await.map_err(infrastructure)?),
        None => None,
    };
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    tracing::info!("metrics on {url}/metrics, live page on {url}/, seed {seed}", url = server.local_url());

    if !ready(&target, cli.at.wait, &stop).await? {
        return Ok(Ended::default());
    }
    let registry = Registry::new();
    register(&registry).map_err(infrastructure)?;
    let Some(prepared) = prepare(&load_config, target, &registry, &stop).await? else {
        return Ok(Ended::default());
    };
    let serving = serve(server, registry, &prepared, |_| {}, &stop).map_err(infrastructure)?;
    if cli.shape.prefill {
        prepared.prefill(&stop, report).await;
        if stop.is_cancelled() {
            return Ok(Ended::default());
        }
    }
    let load = prepared.start();
    if let Some(control) = control {
        if let Ok(addr) = control.local_addr() {
            tracing::info!("control on http://{addr}/v1/load");
        }
        tokio::spawn(control.serve(load.control(), stop.clone()));
    }

    until_over(&cli, &load, &stop).await;
    let summary = load.stop().await;
    stop.cancel();
    let mut ended = Ended::new(&summary, cli.fail_on_stale);
    if let Err(error) = serving.ended().await {
        tracing::error!(%error, "the metrics server died");
        ended.died = true;
    }
    telemetry::output::print(&summary.to_string());
    Ok(ended)
}

/// Waits until the load's time is over, a signal comes or a task of it dies.
async fn until_over(cli: &Cli, load: &Load, stop: &CancellationToken) {
    let over = async {
        match duration(cli) {
            Some(duration) => tokio::time::sleep(duration + cli.warm_up).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = stop.cancelled() => {}
        _ = load.died() => {}
    }
}

/// Runs all of it; a panic is a failure of this program, and no success.
pub fn surviving(run: impl FnOnce() -> Result<Ended, Failure>) -> Result<Ended, Failure> {
    // Nothing of what is unwound is used again.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Failure::Infrastructure(anyhow!(
            "this program panicked, which is a bug of it; the message is above"
        )))
    })
}

/// Waits for the servers. False: the signal came before.
pub async fn ready(
    target: &AnyTarget,
    patience: Duration,
    stop: &CancellationToken,
) -> Result<bool, Failure> {
    tokio::select! {
        ready = target.ready(patience) => {
            ready.map(|()| true).map_err(|error| Failure::Infrastructure(error.into()))
        }
        () = stop.cancelled() => Ok(false),
    }
}

/// What the process says of itself.
pub fn register(registry: &Registry) -> anyhow::Result<()> {
    telemetry::metrics::process(registry)
        .and_then(|()| telemetry::metrics::build_info(registry, "loadgen", env!("CARGO_PKG_VERSION")))
        .context("metrics")
}

/// Makes a load ready; `None`: the signal came before. Many keys take seconds, so it has a thread of its own.
pub async fn prepare(
    config: &LoadConfig,
    target: AnyTarget,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<Option<Prepared>, Failure> {
    let (config, registry) = (config.clone(), registry.clone());
    let preparing = tokio::task::spawn_blocking(move || Load::prepare(&config, target, &registry));
    let prepared = tokio::select! {
        prepared = preparing => prepared.context("the load could not be made ready"),
        () = stop.cancelled() => return Ok(None),
    };
    prepared.map_err(Failure::Infrastructure)?.map(Some).map_err(|error| match error {
        error @ workload::LoadError::Metrics(_) => Failure::Infrastructure(error.into()),
        error => Failure::Usage(error.into()),
    })
}

/// Serves the metrics, the stream and the live page of a load, whose records `shown` sees too.
pub fn serve(
    server: http::Server,
    registry: Registry,
    prepared: &Prepared,
    shown: impl Fn(&Record) + Send + Sync + 'static,
    stop: &CancellationToken,
) -> anyhow::Result<Serving> {
    let routes = Routes::with_metrics(registry).stream(
        "/v1/observations",
        "application/x-ndjson",
        telemetry::http::lines(
            prepared.hub().clone(),
            |hub| hub.subscribe(),
            |mut reader| async move { reader.next_line().await.map(|line| (line, reader)) },
        ),
    );
    let feed = live::Feed::new(live::Origin {
        instance: rand::random(),
        wall_ms: wall_ms() as f64 - prepared.hub().clock().now_us() as f64 / 1e3,
    });
    let (clock, page) = (prepared.hub().clock(), feed.clone());
    prepared.hub().show(move |record| {
        page.record(clock.now_us(), record);
        shown(record);
    });
    server.spawn(live::routes(routes, PAGE, vec![feed]), stop.clone()).context("metrics")
}

impl Ended {
    /// Of a load's summary.
    pub fn new(summary: &Summary, fail_on_stale: bool) -> Self {
        let stale = fail_on_stale && summary.stale_reads() > 0;
        Self {
            wrong: summary.wrong_values() > 0 || stale,
            died: summary.died.is_some(),
            op_log_failed: summary.op_log.is_some_and(|log| log.failed),
        }
    }

    /// The exit code. Wrong data comes first: it is true whatever else failed.
    pub fn code(self) -> u8 {
        match self {
            Ended { wrong: true, .. } => 5,
            Ended { died: true, .. } => 4,
            Ended { op_log_failed: true, .. } => 6,
            Ended { .. } => 0,
        }
    }
}

/// One line on standard error, whatever is logged.
pub fn report(done: Prefilled) {
    let Prefilled { written, failed, total } = done;
    // A closed standard error is no failure of the run.
    let _ = writeln!(std::io::stderr(), "prefill: {written} of {total} keys written, {failed} failed");
}

async fn check_generator(check: &CheckGenerator, cli: &Cli) -> Result<Ended, Failure> {
    let profile = Profile::single(check.rate, check.duration)
        .ok_or_else(|| Failure::Usage(anyhow!("--duration: more than 0s and a year at most")))?;
    let config = LoadConfig {
        arrivals: check.rate.with(check.arrivals),
        in_flight_max: cli.shape.max_in_flight,
        drivers: cli.max_procs.into(),
        seed: rand::random(),
        ..LoadConfig::default()
    };
    let stop = telemetry::shutdown::token().context("signals").map_err(Failure::Infrastructure)?;
    tokio::select! {
        checked = workload::check_generator(&config, profile) => {
            let checked = checked.map_err(|died| Failure::Infrastructure(died.into()))?;
            telemetry::output::print(&checked.to_string());
        }
        () = stop.cancelled() => {}
    }
    Ok(Ended::default())
}

/// How long the run lasts; `None`: until a signal.
fn duration(cli: &Cli) -> Option<Duration> {
    let given = cli.duration;
    let profile = cli.profile.as_ref().map(Profile::duration);
    given.into_iter().chain(profile).min()
}

impl Shape {
    /// Checks what a load would make something else of.
    pub fn validate(&self) -> anyhow::Result<()> {
        match self.hot_keys {
            Some(hot) if !(1..=self.keys).contains(&hot) => {
                Err(anyhow!("--hot-keys {hot}: 1 to the number of --keys, which is {}", self.keys))
            }
            _ => Ok(()),
        }
    }

    /// A closed loop of it, on so many threads.
    pub fn config(&self, seed: u64, threads: usize) -> LoadConfig {
        LoadConfig {
            catch_up: self.catch_up,
            in_flight_max: self.max_in_flight,
            drivers: threads,
            workload: self.workload.clone(),
            mix: self.mix.clone(),
            keys: self.keys,
            key_size: self.key_size,
            key_dist: self.key_dist,
            hot_keys: self.hot_keys.unwrap_or(HOT_KEYS),
            value_size: self.value_size,
            ttl: Some(self.ttl).filter(|ttl| !ttl.is_zero()),
            ttl_jitter: self.ttl_jitter,
            seed,
            ..LoadConfig::default()
        }
    }
}

fn load_config(cli: &Cli, seed: u64) -> LoadConfig {
    let rate = cli.rate.or(cli.profile.as_ref().map(Profile::first));
    LoadConfig {
        arrivals: rate.map_or(Arrivals::Closed, |rate| rate.with(cli.shape.arrivals)),
        profile: cli.profile.clone(),
        in_flight_max: if rate.is_some() { cli.shape.max_in_flight } else { cli.concurrency },
        shard: cli.shard,
        warm_up: cli.warm_up,
        look_aside: (cli.shape.workload == workload::look_aside::NAME && cli.shape.mix.is_none())
            .then(|| cli.look_aside.setup(seed)),
        flight_dir: Some(cli.flight_dir.clone()),
        op_log: cli.op_log.clone(),
        ..cli.shape.config(seed, cli.max_procs.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use workload::op_log::OpLogReport;
    use workload::recorder::Recorder;
    use workload::{Jitter, KeyDist};

    use super::*;

    fn parse(args: &[&str]) -> Result<LoadConfig, clap::Error> {
        Cli::try_parse_from([&["loadgen"], args].concat()).map(|cli| load_config(&cli, 1))
    }

    fn cli(args: &[&str]) -> Result<Cli, clap::Error> {
        clap::Parser::try_parse_from(["loadgen"].iter().chain(args))
    }

    #[test]
    fn a_profile_is_an_open_loop_that_ends() {
        let typed = cli(&["--profile", "500/10s,1000/20s", "--arrivals", "constant", "--catch-up"]).unwrap();
        let config = load_config(&typed, 1);
        assert_eq!((config.arrivals, config.in_flight_max), (Arrivals::Constant(500.0), 2048));
        assert!(config.catch_up && config.profile == typed.profile);
        assert_eq!(duration(&typed), Some(Duration::from_secs(30)));
        let shorter = cli(&["--profile", "500/10s", "--duration", "3s"]).unwrap();
        assert_eq!(duration(&shorter), Some(Duration::from_secs(3)));
        assert_eq!(duration(&cli(&[]).unwrap()), None);
        assert!(cli(&["--profile", "500/10s", "--rate", "5"]).is_err());
        let error = cli(&["--profile", "500/10s,x"]).unwrap_err().to_string();
        assert!(error.contains("step 2 (\"x\"): write RATE/DURATION, such as 500/10s"), "{error}");
    }

    #[test]
    fn the_generator_is_checked_with_its_own_flags() {
        let typed =
            cli(&["check-generator", "--rate", "40000", "--duration", "2s", "--max-procs", "2"]).unwrap();
        let Some(Command::CheckGenerator(check)) = typed.command else { panic!("{typed:?}") };
        assert_eq!(
            (check.rate.ops_per_s(), check.duration, typed.max_procs),
            (40_000.0, Duration::from_secs(2), 2)
        );
        assert!(cli(&["--rate", "5", "check-generator"]).is_err());
    }

    #[test]
    fn stale_reads_fail_a_run_only_on_request_and_a_broken_op_log_shows() {
        let mut summary = Summary {
            totals: Recorder::new(1),
            elapsed: std::time::Duration::from_secs(1),
            warm_up_wrong_values: 0,
            op_log: None,
            died: None,
        };
        let ended = |summary: &Summary, fail| {
            let ended = Ended::new(summary, fail);
            (ended.wrong, ended.op_log_failed)
        };
        assert_eq!(ended(&summary, true), (false, false));
        summary.totals.oracles.stale = 1;
        assert_eq!((ended(&summary, false), ended(&summary, true)), ((false, false), (true, false)));
        summary.totals.oracles = Default::default();
        summary.totals.oracles.resurrected = 1;
        assert_eq!((ended(&summary, false).0, ended(&summary, true).0), (false, true));
        summary.op_log = Some(OpLogReport { failed: true, ..OpLogReport::default() });
        summary.warm_up_wrong_values = 1;
        assert_eq!(ended(&summary, false), (true, true));
    }

    #[test]
    fn a_dead_task_is_exit_code_4_unless_wrong_data_was_read_and_a_panic_is_one_too() {
        let mut summary = Summary {
            totals: Recorder::new(1),
            elapsed: Duration::from_secs(1),
            warm_up_wrong_values: 0,
            op_log: Some(OpLogReport { failed: true, ..OpLogReport::default() }),
            died: None,
        };
        let code = |summary: &Summary| Ended::new(summary, false).code();
        assert_eq!(code(&summary), 6);
        summary.died = Some(workload::Died { task: "driver 1".to_owned(), why: "overflow".to_owned() });
        assert_eq!(code(&summary), 4);
        summary.warm_up_wrong_values = 1;
        assert_eq!(code(&summary), 5);
        assert_eq!(Ended::default().code(), 0);
        let Err(Failure::Infrastructure(error)) = surviving(|| panic!("prefill")) else { panic!("survived") };
        assert!(error.to_string().contains("a bug of it"), "{error}");
        assert_eq!(surviving(|| Ok(Ended::default())).unwrap().code(), 0);
    }

    #[tokio::test]
    async fn a_signal_is_heard_while_many_keys_are_made_ready() {
        let server = observation::Server { name: "a".to_owned(), addr: "127.0.0.1:1".to_owned() };
        let target = workload::Ours::new(memcache_client::Config::default(), vec![server]).unwrap();
        let config = LoadConfig { keys: 2_000_000, ..LoadConfig::default() };
        let stop = CancellationToken::new();
        stop.cancel();
        let prepared = prepare(&config, target.into(), &Registry::new(), &stop).await.unwrap();
        assert!(prepared.is_none());
    }

    #[test]
    fn more_hot_keys_than_keys_are_refused_and_none_too() {
        let checked = |args: &[&str]| cli(args).unwrap().shape.validate().map_err(|error| error.to_string());
        assert_eq!(
            (checked(&["--keys", "3"]), checked(&["--keys", "3", "--hot-keys", "3"])),
            (Ok(()), Ok(()))
        );
        for hot in ["0", "4"] {
            let told = checked(&["--keys", "3", "--hot-keys", hot]).unwrap_err();
            assert_eq!(told, format!("--hot-keys {hot}: 1 to the number of --keys, which is 3"));
        }
    }

    #[test]
    fn flags_say_what_load_is_made_of() {
        let load = parse(&[]).unwrap();
        assert_eq!((load.mix, load.key_dist, load.ttl_jitter), (None, KeyDist::Hot, Jitter::NONE));
        let args =
            ["--mix", "get=3,multiget:16=1", "--key-dist", "zipf:0.99", "--value-size", "lognormal:300,1.2"];
        let load = parse(&[&args[..], &["--ttl-jitter", "10%"]].concat()).unwrap();
        assert_eq!(load.mix.unwrap().to_string(), "get=3,multiget:16=1");
        assert_eq!(load.key_dist, KeyDist::Zipf(0.99));
        assert_eq!(load.value_size.to_string(), "lognormal:300,1.2");
        assert_eq!(load.ttl_jitter.share(), 0.1);
    }

    #[test]
    fn a_look_aside_load_has_the_database_of_its_flags() {
        assert_eq!(parse(&["--rate", "5"]).unwrap().look_aside, None);
        let args =
            ["--workload", "look-aside", "--db-workers", "10", "--db-service", "10ms", "--db-retries", "1"];
        let more = ["--mitigation", "queue:0.5,budget:0.1", "--db-constant"];
        let setup = parse(&[&args[..], &more].concat()).unwrap().look_aside.unwrap();
        assert_eq!((setup.database.capacity().round(), setup.database.queue.limit), (1_000.0, Some(100)));
        assert_eq!((setup.policy.retries, setup.policy.budget), (1, Some(0.1)));
    }

    #[test]
    fn a_usage_error_names_the_flag_and_what_is_wrong() {
        for (args, told) in [
            (
                &["--workload", "mixed", "--mix", "get=1"][..],
                &["--workload", "--mix", "cannot be used with"][..],
            ),
            (&["--mix", "gte=1"], &["--mix", "did you mean \"get\"?"]),
            (&["--key-dist", "zipf"], &["--key-dist", "zipf:0.99"]),
            (&["--value-size", "lognormal:3"], &["--value-size", "lognormal:300,1.2"]),
            (&["--ttl-jitter", "0.1"], &["--ttl-jitter", "10%"]),
            (&["--control", "0.0.0.0:9095"], &["--control", "must be loopback"]),
            (&["--shard", "3/2"], &["--shard", "such as 2/3"]),
            (&["--mitigation", "fifo"], &["--mitigation", "there is no mitigation \"fifo\""]),
        ] {
            let error = parse(args).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(told.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
