//! What the flags mean: one piece for each part of the program, checked before a port is bound or a fault applied.

use std::path::PathBuf;
use std::time::Duration;

use lab::{LabConfig, LoadPlan};
use scenario::backends::toxiproxy::TestProxies;
use scenario::{Endings, Phases, Scenario};
use telemetry::ListenAddr;
use telemetry::logging::LogFormat;

/// Ops/s of all labs side by side together, at most, unless a rate is given.
pub const RATE_TOGETHER: f64 = 4_000.0;

/// What the process itself is like.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Threads that work.
    pub threads: usize,
    /// Form of log lines.
    pub log_format: LogFormat,
}

/// Runs of scenarios.
#[derive(Debug)]
pub struct Runs {
    /// Where metrics and the live page are served.
    pub metrics: ListenAddr,
    /// Runs side by side.
    pub jobs: u32,
    /// Where they take place.
    pub place: Place,
    /// What each of them needs.
    pub environment: EnvironmentSettings,
    /// Which, how often, and what becomes of their results.
    pub suite: SuiteSettings,
}

/// Where runs take place.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this process.
    Lab(Box<Lab>),
    /// In other processes.
    Elsewhere(Elsewhere),
}

/// A lab with its client and load.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Servers and proxies.
    pub config: LabConfig,
    /// Client and load.
    pub load: LoadPlan,
    /// Why the load has its rate, if it was computed.
    pub rate_because: Option<String>,
}

/// Toxiproxy, client and servers that run elsewhere.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// URL of the Toxiproxy's API.
    pub toxiproxy: String,
    /// URL of the client's observations.
    pub observe: String,
    /// The proxies of the test.
    pub proxies: TestProxies,
}

/// What a run needs to know of the flags, wherever it takes place.
#[derive(Debug)]
pub struct EnvironmentSettings {
    /// Folder of the run folders.
    pub runs: PathBuf,
    /// Patience for Toxiproxy and the observation stream.
    pub wait: Duration,
    /// What ends a run, or a phase of it, before its time.
    pub endings: Endings,
}

/// Which scenarios are run, how often, and where their results go.
#[derive(Debug)]
pub struct SuiteSettings {
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// Lengths of their phases.
    pub lengths: PhaseLengths,
    /// Runs of each scenario.
    pub repeat: u32,
    /// Runs of one scenario that may be added because others said nothing.
    pub reruns_max: u32,
    /// Begin again after the last scenario.
    pub forever: bool,
    /// Folder of the run folders.
    pub runs: PathBuf,
    /// Where the table is written too.
    pub summary: Option<PathBuf>,
    /// What is said on standard output.
    pub output: Output,
}

/// How much standard output says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// About ten lines for one run, a line each for several.
    Brief,
    /// Every number and criterion.
    Verbose,
    /// One object for all runs together.
    Json,
}

/// Lengths of phases; what is not given is the scenario's own.
#[derive(Debug, Clone, Default)]
pub struct PhaseLengths {
    /// The scenario's own are shortened.
    pub quick: bool,
    /// Before the fault.
    pub stabilization: Option<Duration>,
    /// With the fault.
    pub testing: Option<Duration>,
    /// After the fault.
    pub recovery: Option<Duration>,
}

impl Place {
    /// The page of a client that runs elsewhere.
    pub fn observed(&self) -> Option<&str> {
        match self {
            Place::Lab(_) => None,
            Place::Elsewhere(elsewhere) => Some(&elsewhere.observe),
        }
    }
}

impl Lab {
    /// Ends of connections that this process has at most: a client's, both of the proxy, and the server's if it is a fake.
    pub fn connection_ends(&self) -> u64 {
        let each = self.load.client.pool.max.saturating_mul(4);
        each.saturating_mul(self.config.servers) as u64
    }

    /// One of several labs side by side: they share a rate that was not given.
    pub fn beside(mut self, labs: u32) -> Self {
        let share = (RATE_TOGETHER / f64::from(labs)).floor();
        if let (Some(because), Some(rate)) = (&mut self.rate_because, &mut self.load.rate)
            && labs > 1
            && *rate > share
        {
            *because = format!(
                "{labs} labs side by side share {RATE_TOGETHER} ops/s; one alone asks for {rate}: {because}"
            );
            *rate = share;
        }
        self
    }

    /// The lab of a job, from 1: with a seed of its own.
    pub fn of_job(&self, job: u32) -> Self {
        let mut lab = self.clone();
        let seed = lab.config.seed.wrapping_add(u64::from(job - 1));
        lab.config.seed = seed;
        lab.load.load.seed = seed;
        lab.load.client.seed = seed;
        lab
    }
}

impl PhaseLengths {
    /// Length of the shortest fault; zero: none of the scenarios has one.
    pub fn shortest(&self, scenarios: &[Scenario]) -> Duration {
        let faulted = scenarios.iter().filter(|scenario| !scenario.faults.is_empty());
        faulted.map(|scenario| self.of(scenario).testing).min().unwrap_or_default()
    }

    /// Phase lengths of one scenario.
    pub fn of(&self, scenario: &Scenario) -> Phases {
        let own = if self.quick { scenario.phases.quick() } else { scenario.phases };
        Phases {
            stabilization: self.stabilization.unwrap_or(own.stabilization),
            testing: self.testing.unwrap_or(own.testing),
            recovery: self.recovery.unwrap_or(own.recovery),
        }
    }
}
