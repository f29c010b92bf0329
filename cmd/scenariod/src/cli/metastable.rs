//! The flags of `scenariod metastable`.

use std::path::PathBuf;

use lab::MemcachedKind;
use metastable::{Plan, Trigger, Watched};

use crate::failure::{Failure, usage};
use crate::metastable::{Question, Settings};

/// First of the seeds, if no other is asked for.
pub const FIRST_SEED: u64 = 1;

/// Which experiments, how often, and what is asked of them.
#[derive(Debug, clap::Args)]
pub struct MetastableArgs {
    /// Experiments: names or 'metastable-*' [default: metastable-fast]
    names: Vec<String>,
    /// An experiment's file; may be repeated
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Only these cells
    #[arg(long, value_name = "CELLS", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each cell, with a seed each; the file may ask for more of some
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs_each: u32,
    /// Run an invalid run again, at most so often; the last counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=5))]
    rerun_invalid: u32,
    /// So many runs side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    jobs: u32,
    /// Shorter phases: 3 s, 5 s, at most 15 s, and no relief
    #[arg(long)]
    quick: bool,
    /// Instead of the cells: trigger by load, 0.1 to 1 times of both, and the share of the runs that do not recover
    #[arg(long, group = "question")]
    grid: bool,
    /// Instead of the cells: the smallest part of the trigger that the first cell does not recover from, in five runs
    #[arg(long, group = "question")]
    bisect: bool,
    /// Instead of the cells: each cell's load up in steps, the trigger, and the load down: where does it come back?
    #[arg(long, group = "question")]
    hysteresis: bool,
    /// Watch the memory of this process (its id) or container (the folder of its control group) as well; may be repeated
    #[arg(long, value_name = "ID|DIR")]
    watch: Vec<Watched>,
    /// Which memcached: auto (real if the binary is on PATH), real or fake
    #[arg(long, value_name = "KIND", default_value = "auto")]
    memcached: MemcachedKind,
    /// First of the seeds
    #[arg(long, value_name = "N", default_value_t = FIRST_SEED)]
    seed: u64,
    /// Folder of the experiments' folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Write the tables as Markdown into FILE as well
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

impl MetastableArgs {
    /// The settings that these flags ask for.
    pub fn settings(self) -> Result<Settings, Failure> {
        // At most one of the flags: they are a group.
        let question = match (self.grid, self.bisect, self.hysteresis) {
            (true, ..) => Question::Grid,
            (_, true, _) => Question::Bisect,
            (.., true) => Question::Hysteresis,
            (false, false, false) => Question::Cells,
        };
        let (names, files, only, quick) = (self.names, self.file, self.only, self.quick);
        Ok(Settings {
            plans: plans(&Choice { names, files, only, quick, question })?,
            question,
            runs_each: self.runs_each,
            rerun_invalid: self.rerun_invalid,
            jobs: self.jobs,
            watch: self.watch,
            memcached: self.memcached,
            seed: self.seed,
            runs: self.runs,
            summary: self.summary,
        })
    }
}

/// Which experiments, and which parts of them.
#[derive(Debug, Default)]
pub struct Choice {
    pub names: Vec<String>,
    pub files: Vec<PathBuf>,
    /// Cells; none: all.
    pub only: Vec<String>,
    pub quick: bool,
    pub question: Question,
}

/// The experiments that are asked for, with the cells that are asked for.
pub fn plans(choice: &Choice) -> Result<Vec<Plan>, Failure> {
    let files = choice.files.iter().map(|path| Plan::read(path)).collect::<Result<Vec<_>, _>>();
    let files = files.map_err(usage)?;
    let names = match (choice.names.is_empty(), files.is_empty()) {
        (true, true) => vec!["metastable-fast".to_owned()],
        _ => choice.names.clone(),
    };
    let mut plans = metastable::select(&names).map_err(usage)?;
    plans.extend(files);
    for name in &choice.only {
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
        if !choice.only.is_empty() {
            plan.cells.retain(|cell| choice.only.contains(&cell.name));
        }
    }
    plans.retain(|plan| !plan.cells.is_empty());
    let scales_the_trigger = matches!(choice.question, Question::Grid | Question::Bisect);
    let by_time = |plan: &&Plan| matches!(plan.cells[0].trigger, Trigger::Restart(..));
    if let Some(plan) = plans.iter().find(by_time).filter(|_| scales_the_trigger) {
        return Err(usage(anyhow::anyhow!(
            "{}: a node that was gone is empty however short it was gone: there is no part of its restart for --grid and \
             --bisect; flush a share of the keys instead",
            plan.name
        )));
    }
    Ok(plans.into_iter().map(|plan| if choice.quick { plan.quick() } else { plan }).collect())
}
