//! The rows of the table: a client, a scenario, somebody who meddles, and the verdict that is wanted.

mod broken;
mod good;
mod mutants;

use std::time::Duration;

use anyhow::{Result, bail};
use memcache_client::{BreakerConfig, Config};
use observation::PhaseKind;

use crate::stream::Lie;

/// One row.
pub struct Row {
    /// As in the list of mutants, good variants and broken environments: M7, G3, E11.
    pub id: String,
    /// What is wrong, or unusual, with it.
    pub about: &'static str,
    /// What is run.
    pub scenario: ScenarioFile,
    /// The client and its load.
    pub setup: fn() -> Setup,
    /// Who breaks the experiment.
    pub meddler: Meddler,
    /// Is it a mutant's run with the bug taken out?
    pub is_twin: bool,
    /// Which verdict is right.
    pub wanted: Wanted,
}

/// A scenario of this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScenarioFile {
    /// Its name, for messages.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! scenario_files {
    ($($name:ident = $file:literal;)*) => {
        $(pub const $name: ScenarioFile =
            ScenarioFile { file: $file, text: include_str!(concat!("../../scenarios/", $file)) };)*
    };
}

scenario_files! {
    LOSS = "loss.toml";
    LOSS_TWO = "loss-two.toml";
    LOSS_SHORT = "loss-short.toml";
    LOSS_20 = "loss-20.toml";
    LATENCY_HALF = "latency-half.toml";
    LATENCY_BELOW = "latency-below.toml";
    MISSES = "misses.toml";
    REFUSED_WRITES = "refused-writes.toml";
    NO_EFFECT = "no-effect.toml";
    RARE_STALL = "rare-stall.toml";
    CONTROL = "control.toml";
    QUICK_LOSS = "quick-loss.toml";
}

/// Which verdict is right, and by which criterion; any of those named will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// FAIL.
    Caught(&'static [&'static str]),
    /// PASS.
    Pass,
    /// INVALID or INCONCLUSIVE.
    Refused(&'static [&'static str]),
}

/// How an experiment is broken while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddler {
    /// Nothing.
    Nobody,
    /// The stream lies from its first line on.
    Lies(Lie),
    /// The stream lies from so long after the begin of a phase.
    LiesFrom(PhaseKind, Duration, Lie),
    /// Three times in this phase no tick comes for more than a second.
    LeavesGaps(PhaseKind),
    /// The toxic acts on another server than the one that the runner knows.
    MovesToxic,
    /// The toxic is deleted so long after it was added.
    EndsToxic(Duration),
    /// What the runner takes away, somebody adds again.
    ProlongsToxic,
    /// Another tool's toxic acts on another server from the beginning.
    AddsToxic,
    /// All proxies go, and come back as they were at their start.
    RestartsProxies,
    /// The load ends, and its stream with it.
    EndsLoad,
    /// The load begins anew.
    RestartsLoad,
    /// The load and its runner get a fifth of the processor time that they want.
    Starves,
    /// Nothing moves for a while.
    Pauses(Duration),
    /// A server ends and begins anew, empty.
    RestartsServer,
}

/// A client under test with its load.
#[derive(Debug, Clone)]
pub struct Setup {
    pub client: Config,
    /// Declared rate, ops/s.
    pub rate: f64,
    /// Share of it that is really made.
    pub made: f64,
    pub workload: &'static str,
    pub servers: usize,
    /// Are all keys there before the load begins?
    pub prefill: bool,
    /// Only the fake server can do what the meddler wants.
    pub fake: bool,
    /// Does the client dial the servers themselves?
    pub past_the_proxies: bool,
    /// Largest file that can be written, bytes; the row has a process of its own.
    pub file_max: Option<u64>,
}

/// Open time of the breaker, so that a recovery fits its phase.
const OPEN: Duration = Duration::from_secs(1);

impl Default for Setup {
    fn default() -> Self {
        Self {
            client: Config {
                breaker: Some(BreakerConfig { open: OPEN, ..BreakerConfig::default() }),
                ..Config::default()
            },
            rate: 900.0,
            made: 1.0,
            workload: "mixed",
            servers: 3,
            prefill: true,
            fake: false,
            past_the_proxies: false,
            file_max: None,
        }
    }
}

impl Setup {
    /// With other settings of the breaker.
    fn with_breaker(mut self, change: impl FnMut(&mut BreakerConfig)) -> Self {
        self.client.breaker.iter_mut().for_each(change);
        self
    }

    /// With other settings of the client.
    fn with_client(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.client);
        self
    }
}

/// The same runs as those of the mutants among `rows`, without their bugs: what is caught must be the bug, and not the run.
pub fn twins(rows: Vec<Row>) -> Vec<Row> {
    let mutants = rows.into_iter().filter(|row| matches!(row.wanted, Wanted::Caught(_)));
    let twin = |row: Row| Row {
        id: format!("{}-twin", row.id),
        about: "the good client in its place",
        meddler: Meddler::Nobody,
        is_twin: true,
        wanted: Wanted::Pass,
        ..row
    };
    mutants.map(twin).collect()
}

/// The rows whose names begin with one of `wanted`; all of them when none is.
pub fn chosen(wanted: &[String]) -> Result<Vec<Row>> {
    let all = || mutants::rows().into_iter().chain(good::rows()).chain(broken::rows());
    let is =
        |row: &Row, name: &String| row.id == *name || (name.len() == 1 && row.id.starts_with(name.as_str()));
    if let Some(unknown) = wanted.iter().find(|name| !all().any(|row| is(&row, name))) {
        bail!("--only {unknown}: there is no such row; --list shows them");
    }
    Ok(all().filter(|row| wanted.is_empty() || wanted.iter().any(|name| is(row, name))).collect())
}

/// The good client, without a fault and with one.
pub fn alike() -> [Row; 2] {
    let row = |id: &str, about, scenario| Row {
        id: String::from(id),
        about,
        scenario,
        setup: Setup::default,
        meddler: Meddler::Nobody,
        is_twin: false,
        wanted: Wanted::Pass,
    };
    [row("A-control", "no fault", CONTROL), row("A-loss", "packet-loss-100-pct, quick", QUICK_LOSS)]
}
