//! What the flags mean.

use std::time::Duration;

use clap::Parser;
use lab::{LabConfig, LoadPlan, Ports};
use memcache_client::{BreakerConfig, Config, Routing};
use scenario::{Endings, Phases, Scenario, catalogue};
use toxiproxy::wire::NewProxy;
use workload::LoadConfig;

use crate::cli::Cli;
use crate::failure::{Failure, usage};
use crate::stable;

/// Ports of the proxies that are created if missing, and of the servers behind them.
const PROXY_PORT: u16 = 21_211;
const SERVER_PORT: u16 = 11_211;
/// Proxies outside of a lab.
const PROXIES: u16 = 3;
/// Open time of the breaker with `--quick`: recovery has to fit its phase.
const QUICK_OPEN: Duration = Duration::from_secs(1);

/// Ops/s of all labs side by side together, at most, unless a rate is asked for.
const RATE_TOGETHER: f64 = 4_000.0;
/// A lab beside others asks for this share of what it would alone: each fault's extra work is the others' disturbance.
const RATE_SHARE: f64 = 0.5;

/// What clap cannot know.
pub fn check(cli: &Cli) -> Result<(), Failure> {
    if cli.jobs > 1 && !cli.lab {
        return Err(usage(anyhow::anyhow!(
            "--jobs {} needs --lab: runs side by side need a world each, because a fault that one run applies to a shared \
             Toxiproxy would be in the others' measurements",
            cli.jobs
        )));
    }
    let (rules, most) = (cli.abort_if.len(), scenario::stop::RULES_MAX);
    if rules > most {
        return Err(usage(anyhow::anyhow!("--abort-if: {rules} rules; at most {most}")));
    }
    Ok(())
}

/// Runs side by side: no more than there are.
pub fn jobs(cli: &Cli, scenarios: usize) -> u32 {
    let runs = u32::try_from(scenarios).unwrap_or(u32::MAX).saturating_mul(cli.repeat);
    cli.jobs.min(runs).max(1)
}

/// Ops/s of each of so many labs, of which one alone would ask for `rate`.
pub fn share_of_rate(rate: f64, labs: u32) -> f64 {
    ((rate * RATE_SHARE).min(RATE_TOGETHER) / f64::from(labs.max(1))).floor().max(1.0)
}

/// What ends a run, or a phase of it, before its time.
pub fn endings(cli: &Cli) -> Endings {
    Endings {
        abort_if: cli.abort_if.clone(),
        blind: cli.blind,
        until_stable: cli.until_stable.then(stable::until_stable),
    }
}

/// The scenarios that are asked for, in order.
pub fn scenarios(cli: &Cli) -> Result<Vec<Scenario>, Failure> {
    // Files first: all must parse before anything is run.
    let files = cli.scenario_file.iter().map(|path| Scenario::read(path)).collect::<Result<Vec<_>, _>>();
    let mut chosen = catalogue::select(&cli.scenario).map_err(usage)?;
    chosen.extend(files.map_err(usage)?);
    Ok(chosen)
}

/// Experiments on metastable failure among what is asked for. They are no scenarios of three phases: both together are not run.
pub fn experiments(cli: &Cli) -> Result<Vec<String>, Failure> {
    let names: Vec<String> =
        cli.scenario.iter().filter(|name| name.starts_with("metastable")).cloned().collect();
    if names.is_empty() {
        return Ok(names);
    }
    if !cli.lab {
        return Err(usage(anyhow::anyhow!("--scenario {}: needs --lab, where the database is", names[0])));
    }
    if names.len() < cli.scenario.len() || !cli.scenario_file.is_empty() {
        return Err(usage(anyhow::anyhow!("--scenario {}: run it without other scenarios", names[0])));
    }
    let own = Cli::try_parse_from(["scenariod"]).map_err(usage)?;
    let others = [
        ("--loop", cli.r#loop),
        (
            "--stabilization, --testing, --recovery",
            [cli.stabilization, cli.testing, cli.recovery].iter().any(Option::is_some),
        ),
        ("--until-stable", cli.until_stable),
        ("--abort-if", !cli.abort_if.is_empty()),
        ("--servers", cli.servers != own.servers),
        ("--rate", cli.rate.is_some()),
        ("--driver", cli.driver != own.driver),
        ("--on-open", cli.on_open != own.on_open),
        ("--op-timeout", *cli.op_timeout != *own.op_timeout),
        ("--breaker-open", cli.breaker_open.is_some()),
        ("--metrics-port", cli.metrics_port.is_some()),
    ];
    if let Some((flag, _)) = others.iter().find(|(_, given)| *given) {
        return Err(usage(anyhow::anyhow!(
            "{flag}: --scenario {} is an experiment with a load, phases and a client of its own (docs/metastable.md)",
            names[0]
        )));
    }
    Ok(names)
}

/// Phase lengths of one scenario.
pub fn phases(cli: &Cli, scenario: &Scenario) -> Phases {
    let own = if cli.quick { scenario.phases.quick() } else { scenario.phases };
    Phases {
        stabilization: cli.stabilization.map_or(own.stabilization, Into::into),
        testing: cli.testing.map_or(own.testing, Into::into),
        recovery: cli.recovery.map_or(own.recovery, Into::into),
    }
}

/// The proxies of a test outside of a lab; made if missing.
pub fn proxies(cli: &Cli) -> Vec<NewProxy> {
    let proxy = |n: u16| NewProxy {
        name: format!("memcached{}", n + 1),
        listen: format!("127.0.0.1:{}", PROXY_PORT + n),
        upstream: format!("{}:{}", cli.memcache_host, SERVER_PORT + n),
        enabled: true,
    };
    (0..PROXIES).map(proxy).collect()
}

/// The lab of these flags.
pub fn lab(cli: &Cli, ports: Ports, seed: u64) -> LabConfig {
    LabConfig { servers: cli.servers, memcached: cli.memcached, ports, seed }
}

/// The load of a lab; without a rate it is calibrated.
pub fn load(cli: &Cli, seed: u64, rate: Option<f64>) -> LoadPlan {
    let open = match cli.breaker_open {
        Some(open) => *open,
        None if cli.quick => QUICK_OPEN,
        None => BreakerConfig::default().open,
    };
    let defaults = Config::default();
    let client = Config {
        op_timeout: *cli.op_timeout,
        total_timeout: defaults.total_timeout.max(*cli.op_timeout),
        breaker: Some(BreakerConfig { open, ..BreakerConfig::default() }),
        routing: Routing { on_open: cli.on_open, ..Routing::default() },
        codec: cli.driver,
        seed,
        ..defaults
    };
    // In flight at most: more than all pools and their waiters, so that the generator is not the limit.
    let per_server = client.pool.max + client.pool.max_waiting;
    let in_flight_max = 2 * per_server * cli.servers.max(1);
    let load = LoadConfig { in_flight_max, drivers: cli.max_procs.into(), seed, ..LoadConfig::default() };
    LoadPlan { load, client, rate }
}
