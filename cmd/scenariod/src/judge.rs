//! `scenariod judge`: verdicts from journals alone.

use std::path::PathBuf;

use observation::journal::Journal;
use telemetry::output::print;

use crate::failure::{Failure, infrastructure};
use crate::metastable;

/// Judges each run and writes its report beside its journal; gives the worst verdict's exit code.
pub fn main(journals: &[PathBuf]) -> Result<u8, Failure> {
    let mut worst = verdict::Ruling::Pass;
    let of_several = |path: &&PathBuf| {
        let record = |name| path.join(name).is_file();
        (record(report::suite::SUITE_FILE) || record(report::EXPERIMENT_FILE)) && !record("journal.jsonl")
    };
    for path in journals.iter().filter(|path| !of_several(path)) {
        let dir = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
        let journal = Journal::read(path).map_err(infrastructure)?;
        if let Some((said, result)) = metastable::said(&journal) {
            print(&format!("{said}: {}\n", dir.display()));
            worst = worst.max(result);
            continue;
        }
        let verdict = verdict::judge(&journal);
        report::write_all(dir, &journal, &verdict).map_err(infrastructure)?;
        print(&report::table(&verdict));
        worst = worst.max(verdict.result);
    }
    Ok(worst.exit_code())
}
