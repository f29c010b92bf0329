//! `scenariod compare`: two runs of the same scenario side by side.

use std::path::{Path, PathBuf};

use ::report::compare::{Side, html, refusal, table};
use observation::journal::Journal;

use crate::failure::{Failure, infrastructure, usage};
use crate::run::print;

/// Which two.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or the journal in it
    #[arg(value_name = "RUN_A")]
    pub a: PathBuf,
    /// Run folder, or the journal in it
    #[arg(value_name = "RUN_B")]
    pub b: PathBuf,
    /// Compare even what was not the same scenario
    #[arg(long)]
    pub force: bool,
    /// Where the page goes
    #[arg(long, value_name = "FILE", default_value = "compare.html")]
    pub output: PathBuf,
}

/// Judges both, prints the table and writes the page. Which of the two is better is for the reader to say: the exit code is 0.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let read = |path: &Path| Journal::read(path).map_err(infrastructure);
    let (journal_a, journal_b) = (read(&args.a)?, read(&args.b)?);
    let (verdict_a, verdict_b) = (verdict::judge(&journal_a), verdict::judge(&journal_b));
    let a = Side { journal: &journal_a, verdict: &verdict_a };
    let b = Side { journal: &journal_b, verdict: &verdict_b };
    if let Some(refusal) = refusal(a, b).filter(|_| !args.force) {
        return Err(usage(anyhow::anyhow!(refusal)));
    }
    print(&table(a, b));
    ::report::write(&args.output, &html(a, b)).map_err(infrastructure)?;
    print(&format!("{}\n", args.output.display()));
    Ok(0)
}
