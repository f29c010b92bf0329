//! `scenariod compare`: two runs of the same scenario side by side.

use std::path::{Path, PathBuf};

use ::report::compare::{Side, html, refusal, table};
use observation::journal::Journal;
use telemetry::output::print;

use crate::failure::{Failure, infrastructure, usage};

/// Which two.
#[derive(Debug)]
pub struct Settings {
    /// Run folder, or the journal in it.
    pub a: PathBuf,
    /// Run folder, or the journal in it.
    pub b: PathBuf,
    /// Even what was not the same scenario.
    pub force: bool,
    /// Where the page goes.
    pub page: PathBuf,
}

/// Judges both, prints the table and writes the page. Which of the two is better is for the reader to say: the exit code is 0.
pub fn main(settings: &Settings) -> Result<u8, Failure> {
    let read = |path: &Path| Journal::read(path).map_err(infrastructure);
    let (journal_a, journal_b) = (read(&settings.a)?, read(&settings.b)?);
    let (verdict_a, verdict_b) = (verdict::judge(&journal_a), verdict::judge(&journal_b));
    let a = Side { journal: &journal_a, verdict: &verdict_a };
    let b = Side { journal: &journal_b, verdict: &verdict_b };
    if let Some(refusal) = refusal(a, b).filter(|_| !settings.force) {
        return Err(usage(anyhow::anyhow!(refusal)));
    }
    print(&table(a, b));
    ::report::write(&settings.page, &html(a, b)).map_err(infrastructure)?;
    print(&format!("{}\n", settings.page.display()));
    Ok(0)
}
