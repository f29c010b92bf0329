//! `scenariod judge`, `report` and `compare`: what is done with recorded runs.

use std::path::PathBuf;

use crate::compare;

/// What to judge.
#[derive(Debug, clap::Args)]
pub struct JudgeArgs {
    /// Run folders, or the journals in them
    #[arg(required = true, value_name = "JOURNAL")]
    pub journals: Vec<PathBuf>,
}

/// What to report on.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Run folders, or the folder of a suite
    #[arg(required = true, value_name = "RUN_DIR")]
    pub runs: Vec<PathBuf>,
}

/// Which two runs to compare.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Run folder, or the journal in it
    #[arg(value_name = "RUN_A")]
    a: PathBuf,
    /// Run folder, or the journal in it
    #[arg(value_name = "RUN_B")]
    b: PathBuf,
    /// Compare even what was not the same scenario
    #[arg(long)]
    force: bool,
    /// Where the page goes
    #[arg(long, value_name = "FILE", default_value = "compare.html")]
    output: PathBuf,
}

impl CompareArgs {
    /// The settings that these flags ask for.
    pub fn settings(self) -> compare::Settings {
        let Self { a, b, force, output } = self;
        compare::Settings { a, b, force, page: output }
    }
}
