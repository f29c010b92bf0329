//! `scenariod metastable`: experiments on metastable failure, cells side by side in labs of their own.

mod questions;
mod runs;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lab::MemcachedKind;
use metastable::{Plan, Watched};
use observation::journal::Journal;
use observation::metastable::CellPhase;
use report::{EXPERIMENT_VERSION, Experiment, PAGE, write_experiment};
use telemetry::output::print;
use verdict::hysteresis::hysteresis;
use verdict::metastable::CellState;

use crate::failure::{Failure, infrastructure};
use runs::Runs;

/// What is asked of an experiment's system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Question {
    /// Does it come back, and with what?
    #[default]
    Cells,
    /// Where does it not come back?
    Grid,
    /// How little brings it down?
    Bisect,
    /// How far must the load fall?
    Hysteresis,
}

/// Which experiments, how often, and where their results go.
#[derive(Debug)]
pub struct Settings {
    /// The experiments, with the cells that are wanted.
    pub plans: Vec<Plan>,
    /// What is asked of each.
    pub question: Question,
    /// Runs of each cell, with a seed each.
    pub runs_each: u32,
    /// Runs that replace an invalid one, at most.
    pub rerun_invalid: u32,
    /// Runs side by side.
    pub jobs: u32,
    /// Whose memory is watched as well.
    pub watch: Vec<Watched>,
    /// Which memcached.
    pub memcached: MemcachedKind,
    /// First of the seeds.
    pub seed: u64,
    /// Folder of the experiments' folders.
    pub runs: PathBuf,
    /// Where the tables are written too.
    pub summary: Option<PathBuf>,
}

/// As that of any infrastructure that is in the way.
const BROKEN: u8 = 4;

/// Runs what is asked for and prints a table. Exit code 0: all cells did what is expected of them; 1: not; 3: stopped; 4: a run
/// could not be made; 5: wrong data.
pub async fn main(settings: &Settings) -> Result<u8, Failure> {
    let stop = telemetry::shutdown::token().map_err(infrastructure)?;
    std::fs::create_dir_all(&settings.runs)
        .map_err(|error| infrastructure(anyhow::anyhow!("--runs {}: {error}", settings.runs.display())))?;
    let (mut text, mut failed, mut wrong) = (String::new(), false, false);
    let broken = AtomicBool::new(false);
    for plan in &settings.plans {
        if stop.is_cancelled() {
            break;
        }
        let began_ms = observation::clock::wall_ms();
        let dir = scenario::folder(&settings.runs, &plan.name);
        let runs = Runs { settings, plan, dir: &dir, stop: &stop, broken: &broken };
        let answer = match settings.question {
            Question::Cells => runs.cells().await,
            Question::Grid => runs.grid().await,
            Question::Bisect => runs.bisect().await,
            Question::Hysteresis => runs.sweeps().await?,
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
    if let Some(path) = &settings.summary {
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
