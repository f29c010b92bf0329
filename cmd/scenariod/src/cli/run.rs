//! The flags of a run, and what they mean together.

use std::path::PathBuf;

use anyhow::Context;
use scenario::{Endings, Scenario, catalogue};
use telemetry::ListenAddr;
use telemetry::logging::LogFormat;

use super::lab::LabArgs;
use super::metastable::{Choice, FIRST_SEED, plans};
use super::phases::PhaseArgs;
use super::place::PlaceArgs;
use crate::failure::{Failure, usage};
use crate::metastable::{self, Question};
use crate::settings::{EnvironmentSettings, Output, Place, Process, Runs, SuiteSettings};
use crate::task::Task;

/// Threads, if no other number is asked for.
pub const THREADS: u16 = 2;

/// Everything but a subcommand.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    phases: PhaseArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    pub(super) lab: LabArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Which scenarios, and how often.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What")]
struct WhatArgs {
    /// Scenario to run: a name, a glob like 'latency-*', or all; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Run the scenario of this TOML file; may be repeated
    #[arg(long, value_name = "FILE")]
    scenario_file: Vec<PathBuf>,
    /// Print the scenarios, grouped, with their durations
    #[arg(long)]
    list: bool,
    /// Repeat each scenario N times; the majority is its verdict
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Run an inconclusive run again, at most N times a scenario; the last of them counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=3))]
    rerun_inconclusive: u32,
    /// Begin again after the last scenario, until a signal
    #[arg(long)]
    r#loop: bool,
}

/// Where results and metrics go.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Folder of the run folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Write a table of the runs, expected beside measured, as Markdown into FILE as well
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Results on standard output as text, or as one JSON object when all runs are over (with --loop one a pass); the log is on
    /// standard error
    #[arg(long, value_name = "FORM", default_value = "text")]
    output: ResultForm,
    /// Show every number and criterion, not only those that failed or stay open
    #[arg(long)]
    verbose: bool,
    /// Where /metrics and /healthz are served: :PORT, PORT or HOST:PORT; port 0: any free one
    /// [default: :9092, with --lab any free one]
    #[arg(long, value_name = "ADDR")]
    metrics_port: Option<ListenAddr>,
}

/// Form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ResultForm {
    Text,
    Json,
}

impl OutputArgs {
    fn results(&self) -> Result<Output, Failure> {
        match (self.output, self.verbose) {
            (ResultForm::Text, false) => Ok(Output::Brief),
            (ResultForm::Text, true) => Ok(Output::Verbose),
            (ResultForm::Json, false) => Ok(Output::Json),
            (ResultForm::Json, true) => Err(usage(anyhow::anyhow!(
                "--verbose is for text: with --output json every number is in each run's verdict.json"
            ))),
        }
    }
}

/// What the process itself is like.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
struct ProcessArgs {
    /// Threads; with --lab they make the load too, so one a core is the least
    #[arg(long, value_name = "N", default_value_t = THREADS, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_procs: u16,
    /// Log lines as text or JSON, on standard error; the level comes from LOG (error, warn, info, debug)
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
}

/// The scenarios that are asked for, in order.
pub fn scenarios(names: &[String], files: &[PathBuf]) -> Result<Vec<Scenario>, Failure> {
    // Files first: all must parse before anything is run.
    let read = files.iter().map(|path| Scenario::read(path)).collect::<Result<Vec<_>, _>>();
    let mut chosen = catalogue::select(names).map_err(usage)?;
    chosen.extend(read.map_err(usage)?);
    Ok(chosen)
}

impl RunArgs {
    /// Threads and log.
    pub fn process(&self) -> Process {
        Process { threads: self.process.max_procs.into(), log_format: self.process.log_format }
    }

    /// The task that all of them ask for together.
    pub fn task(self) -> Result<Task, Failure> {
        if self.what.list {
            return Ok(Task::List);
        }
        if self.lab.jobs > 1 && !self.lab.lab {
            return Err(usage(anyhow::anyhow!(
                "--jobs {} needs --lab: runs side by side need a world each, because a fault that one run applies to a shared \
                 Toxiproxy would be in the others' measurements",
                self.lab.jobs
            )));
        }
        let endings = self.phases.endings()?;
        if let Some(name) = self.what.scenario.iter().find(|name| is_experiment(name)) {
            self.fits_an_experiment(name)?;
            return self.experiments().map(Task::Metastable);
        }
        let scenarios = scenarios(&self.what.scenario, &self.what.scenario_file)?;
        match (scenarios.is_empty(), self.lab.lab) {
            (false, _) => self.runs(scenarios, endings).map(Box::new).map(Task::Run),
            (true, true) => self.lab.served().map(Task::ServeLab),
            (true, false) => Err(usage(anyhow::anyhow!(
                "nothing to do: give --scenario NAME (--list shows them), --scenario-file FILE or --lab"
            ))),
        }
    }

    /// Runs of scenarios of three phases.
    fn runs(self, scenarios: Vec<Scenario>, endings: Endings) -> Result<Runs, Failure> {
        let output = self.output.results()?;
        let metrics = match self.output.metrics_port {
            Some(addr) => addr,
            // In a lab nothing is on a fixed port, unless one is asked for.
            None if self.lab.lab => ListenAddr::loopback(0),
            None => ListenAddr::all(9092),
        };
        let lengths = self.phases.lengths();
        let repeat = self.what.repeat;
        // Side by side: no more than there are.
        let all = u32::try_from(scenarios.len()).unwrap_or(u32::MAX).saturating_mul(repeat);
        let jobs = self.lab.jobs.min(all).max(1);
        let environment =
            EnvironmentSettings { runs: self.output.runs.clone(), wait: self.place.wait(), endings };
        let place = match self.lab.lab {
            true => {
                let shortest = lengths.shortest(&scenarios);
                let lab =
                    self.lab.settings(lengths.quick, shortest, self.process.max_procs.into())?.beside(jobs);
                descriptors::check(u64::from(jobs) * lab.connection_ends())
                    .with_context(|| format!("--servers {}, {jobs} labs side by side", lab.config.servers))
                    .map_err(usage)?;
                Place::Lab(Box::new(lab))
            }
            false => Place::Elsewhere(self.place.settings()),
        };
        let suite = SuiteSettings {
            scenarios,
            lengths,
            repeat,
            reruns_max: self.what.rerun_inconclusive,
            forever: self.what.r#loop,
            output,
            runs: self.output.runs,
            summary: self.output.summary,
        };
        Ok(Runs { metrics, jobs, place, environment, suite })
    }

    /// Experiments on metastable failure are no scenarios of three phases: both together are not run.
    fn fits_an_experiment(&self, name: &str) -> Result<(), Failure> {
        if !self.lab.lab {
            return Err(usage(anyhow::anyhow!("--scenario {name}: needs --lab, where the database is")));
        }
        let alone =
            self.what.scenario.iter().all(|name| is_experiment(name)) && self.what.scenario_file.is_empty();
        if !alone {
            return Err(usage(anyhow::anyhow!("--scenario {name}: run it without other scenarios")));
        }
        let of_a_run = [
            ("--loop", self.what.r#loop),
            ("--stabilization, --testing, --recovery", self.phases.any_length()),
            ("--until-stable", self.phases.until_stable),
            ("--abort-if", !self.phases.abort_if.is_empty()),
            ("--output json, --verbose", self.output.verbose || self.output.output == ResultForm::Json),
        ];
        let metrics = [("--metrics-port", self.output.metrics_port.is_some())];
        let mut others = of_a_run.into_iter().chain(self.lab.of_the_client()).chain(metrics);
        match others.find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(usage(anyhow::anyhow!(
                "{flag}: --scenario {name} is an experiment with a load, phases and a client of its own (docs/metastable.md)"
            ))),
        }
    }

    /// The same as `scenariod metastable NAMES`.
    fn experiments(self) -> Result<metastable::Settings, Failure> {
        Ok(metastable::Settings {
            plans: plans(&Choice {
                names: self.what.scenario,
                quick: self.phases.quick,
                ..Choice::default()
            })?,
            question: Question::Cells,
            runs_each: self.what.repeat,
            rerun_invalid: self.what.rerun_inconclusive,
            jobs: self.lab.jobs,
            watch: Vec::new(),
            memcached: self.lab.memcached,
            seed: self.lab.seed.unwrap_or(FIRST_SEED),
            runs: self.output.runs,
            summary: self.output.summary,
        })
    }
}

fn is_experiment(name: &str) -> bool {
    name.starts_with("metastable")
}
