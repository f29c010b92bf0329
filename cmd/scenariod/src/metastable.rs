//! `scenariod metastable`: experiments on metastable failure, cells side by side in labs of their own.

mod questions;
mod runs;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lab::MemcachedKind;
use metastable::{Plan, Trigger, Watched};
use observation::journal::Journal;
use observation::metastable::CellPhase;
use report::{EXPERIMENT_VERSION, Experiment, PAGE, write_experiment};
use verdict::hysteresis::hysteresis;
use verdict::metastable::CellState;

use crate::failure::{Failure, infrastructure, usage};
use crate::run::print;
use runs::Runs;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Experiments: names or 'metastable-*' [default: metastable-fast]
    pub names: Vec<String>,
    /// An experiment's file; may be repeated
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Only these cells
    #[arg(long, value_name = "CELLS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Runs of each cell, with a seed each; the file may ask for more of some
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs_each: u32,
    /// Run an invalid run again, at most so often; the last counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=5))]
    pub rerun_invalid: u32,
    /// So many runs side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub jobs: u32,
    /// Shorter phases: 3 s, 5 s, at most 15 s, and no relief
    #[arg(long)]
    pub quick: bool,
    /// Instead of the cells: trigger by load, 0.1 to 1 times of both, and the share of the runs that do not recover
    #[arg(long, group = "question")]
    pub grid: bool,
    /// Instead of the cells: the smallest part of the trigger that the first cell does not recover from, in five runs
    #[arg(long, group = "question")]
    pub bisect: bool,
    /// Instead of the cells: each cell's load up in steps, the trigger, and the load down: where does it come back?
    #[arg(long, group = "question")]
    pub hysteresis: bool,
    /// Watch the memory of this process (its id) or container (the folder of its control group) as well; may be repeated
    #[arg(long, value_name = "ID|DIR")]
    pub watch: Vec<Watched>,
    /// Which memcached: auto (real if the binary is on PATH), real or fake
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub memcached: MemcachedKind,
    /// First of the seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Folder of the experiments' folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Write the tables as Markdown into FILE as well
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

impl Args {
    /// Those of `scenariod --lab --scenario metastable-...`.
    pub fn of(cli: &crate::cli::Cli, names: Vec<String>) -> Self {
        Self {
            names,
            file: Vec::new(),
            only: Vec::new(),
            runs_each: cli.repeat,
            rerun_invalid: cli.rerun_inconclusive,
            jobs: cli.jobs,
            quick: cli.quick,
            grid: false,
            bisect: false,
            hysteresis: false,
            watch: Vec::new(),
            memcached: cli.memcached,
            seed: cli.seed.unwrap_or(1),
            runs: cli.runs.clone(),
            summary: cli.summary.clone(),
        }
    }
}

/// As that of any infrastructure that is in the way.
const BROKEN: u8 = 4;

/// Runs what is asked for and prints a table. Exit code 0: all cells did what is expected of them; 1: not; 3: stopped; 4: a run
/// could not be made; 5: wrong data.
pub async fn main(args: &Args) -> Result<u8, Failure> {
    let plans = plans(args)?;
    let stop = telemetry::shutdown::token().map_err(infrastructure)?;
    std::fs::create_dir_all(&args.runs)
        .map_err(|error| infrastructure(anyhow::anyhow!("--runs {}: {error}", args.runs.display())))?;
    let (mut text, mut failed, mut wrong) = (String::new(), false, false);
    let broken = AtomicBool::new(false);
    for plan in &plans {
        if stop.is_cancelled() {
            break;
        }
        let began_ms = observation::clock::wall_ms();
        let dir = scenario::folder(&args.runs, &plan.name);
        let runs = Runs { args, plan, dir: &dir, stop: &stop, broken: &broken };
        let answer = if args.grid {
            runs.grid().await
        } else if args.bisect {
            runs.bisect().await
        } else if args.hysteresis {
            runs.sweeps().await?
        } else {
            runs.cells().await
        };
        failed |= !answer.as_expected;
        wrong |= answer.wrong_values > 0;
        let experiment = Experiment {
            v: EXPERIMENT_VERSION,
            name: plan.name.clone(),
            description: plan.description.clone(),
            began_ms,
            ended_ms: observation::clock::wall_ms(),
            complete: !stop.is_cancelled(),
            wrong_values: answer.wrong_values,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            found: answer.found,
        };
        let table = write_experiment(&dir, &experiment).map_err(infrastructure)?;
        print(&table);
        tracing::info!("{}: {}", plan.name, dir.join(PAGE).display());
        text.push_str(&table);
    }
    if let Some(path) = &args.summary {
        report::write(path, &text).map_err(infrastructure)?;
    }
    Ok(match (wrong, broken.into_inner(), stop.is_cancelled(), failed) {
        (true, ..) => verdict::Ruling::WrongData.exit_code(),
        (_, true, ..) => BROKEN,
        (_, _, true, _) => verdict::Ruling::Invalid.exit_code(),
        (.., true) => verdict::Ruling::Fail.exit_code(),
        (.., false) => verdict::Ruling::Pass.exit_code(),
    })
}

/// What the journal of a cell or a sweep says, and what that is worth; `None`: it is another's.
pub fn said(journal: &Journal) -> Option<(String, verdict::Ruling)> {
    let phases = verdict::metastable::phases(journal);
    if phases.is_empty() {
        return None;
    }
    if phases.iter().any(|(phase, _)| matches!(phase, CellPhase::Up(_))) {
        let found = hysteresis(journal);
        let result = match found.healthy {
            _ if found.wrong_values > 0 => verdict::Ruling::WrongData,
            Some(_) => verdict::Ruling::Pass,
            None => verdict::Ruling::Invalid,
        };
        return Some((report::of_sweep(&found), result));
    }
    let cell = verdict::metastable::cell(journal);
    let result = match cell.state {
        _ if cell.wrong_values > 0 => verdict::Ruling::WrongData,
        CellState::Invalid => verdict::Ruling::Invalid,
        // What is expected of it is not its journal's to say.
        CellState::Recovered | CellState::Degraded | CellState::Stuck => verdict::Ruling::Pass,
    };
    let why = cell.why.map_or(String::new(), |why| format!(", because {why}"));
    Some((format!("{}, end goodput {:.2}{why}", cell.state.name(), cell.end), result))
}

fn plans(args: &Args) -> Result<Vec<Plan>, Failure> {
    let files =
        args.file.iter().map(|path| Plan::read(path)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
    let names = match (args.names.is_empty(), files.is_empty()) {
        (true, true) => vec!["metastable-fast".to_owned()],
        _ => args.names.clone(),
    };
    let mut plans = metastable::select(&names).map_err(usage)?;
    plans.extend(files);
    for name in &args.only {
        if !plans.iter().any(|plan| plan.cells.iter().any(|cell| cell.name == *name)) {
            let cells: Vec<&str> =
                plans.iter().flat_map(|plan| &plan.cells).map(|cell| cell.name.as_str()).collect();
            return Err(usage(anyhow::anyhow!(
                "--only: there is no cell {name:?}; there are: {}",
                cells.join(", ")
            )));
        }
    }
    for plan in &mut plans {
        if !args.only.is_empty() {
            plan.cells.retain(|cell| args.only.contains(&cell.name));
        }
    }
    plans.retain(|plan| !plan.cells.is_empty());
    let by_time = |plan: &&Plan| matches!(plan.cells[0].trigger, Trigger::Restart(..));
    if let Some(plan) = plans.iter().find(by_time).filter(|_| args.grid || args.bisect) {
        return Err(usage(anyhow::anyhow!(
            "{}: a node that was gone is empty however short it was gone: there is no part of its restart for --grid and \
             --bisect; flush a share of the keys instead",
            plan.name
        )));
    }
    Ok(plans.into_iter().map(|plan| if args.quick { plan.quick() } else { plan }).collect())
}
