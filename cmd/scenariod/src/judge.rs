//! `scenariod judge`: verdicts from journals alone.

use std::path::PathBuf;

use observation::journal::Journal;

use crate::failure::{Failure, infrastructure};
use crate::run::print;

/// What to judge.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folders, or the journals in them
    #[arg(required = true, value_name = "JOURNAL")]
    pub journals: Vec<PathBuf>,
}

/// Judges each run and writes its report beside its journal; gives the worst verdict's exit code.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let mut worst = verdict::Result::Pass;
    let folder_of_suite =
        |path: &&PathBuf| path.join("suite.json").is_file() && !path.join("journal.jsonl").exists();
    for path in args.journals.iter().filter(|path| !folder_of_suite(path)) {
        let dir = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
        let journal = Journal::read(path).map_err(infrastructure)?;
        let verdict = verdict::judge(&journal);
        report::write_all(dir, &journal, &verdict).map_err(infrastructure)?;
        print(&report::table(&verdict));
        worst = worst.max(verdict.result);
    }
    Ok(worst.exit_code())
}
