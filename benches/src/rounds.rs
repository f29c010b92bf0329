//! Interleaved rounds: every contestant in a child process of its own, in an order that rotates, so that whatever else
//! happens on the machine happens to all of them.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::process::Command;

use crate::contestants::{Job, Who};
use crate::measure::{Plan, Sample};
use crate::stats::Spread;
use crate::table::Table;

/// Time that a child may take beyond its warm-up and window.
const GRACE: Duration = Duration::from_secs(30);

/// One row to measure.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in the table.
    pub name: String,
    /// Who.
    pub who: Who,
    /// Does what.
    pub plan: Plan,
    /// Name of the row that it is compared with.
    pub baseline: String,
}

/// A measured row.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Name of the row that it is compared with.
    pub baseline: String,
    /// Ops a second.
    pub ops_per_s: Spread,
    /// User CPU, µs an op.
    pub user_us: Spread,
    /// System CPU, µs an op.
    pub system_us: Spread,
    /// All CPU, µs an op.
    pub total_us: Spread,
    /// CPU an op as a multiple of the baseline's in the same round.
    pub cpu_ratio: Spread,
    /// Ops a second as a share of the baseline's in the same round.
    pub rate_ratio: Spread,
    /// Ops that failed, over all rounds.
    pub failed: u64,
    /// One a round.
    pub samples: Vec<Sample>,
}

/// Measures all entries `rounds` times. Entries that cannot be measured are left out and named.
pub async fn measure(entries: Vec<Entry>, rounds: usize) -> Result<Vec<Row>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); entries.len()];
    for round in 0..rounds {
        for step in 0..entries.len() {
            let index = (round + step) % entries.len();
            let entry = &entries[index];
            let sample = in_child(&Job { who: entry.who, plan: entry.plan.clone() }).await?;
            progress(&format!(
                "round {} of {rounds}: {}: {:.0} ops/s, {:.2} µs CPU an op",
                round + 1,
                entry.name,
                sample.rate(),
                sample.total()
            ));
            samples[index].push(sample);
        }
    }
    let of = |name: &str| entries.iter().position(|entry| entry.name == name);
    let mut rows = Vec::new();
    for (entry, mine) in entries.iter().zip(&samples) {
        let base = of(&entry.baseline).with_context(|| format!("no row {}", entry.baseline))?;
        if !mine.is_empty() {
            rows.push(row(entry, mine, &samples[base]));
        }
    }
    Ok(rows)
}

fn row(entry: &Entry, mine: &[Sample], base: &[Sample]) -> Row {
    let spread = |figure: fn(&Sample) -> f64| Spread::of(mine.iter().map(figure));
    let ratio = |figure: fn(&Sample) -> f64| {
        Spread::of(mine.iter().zip(base).map(|(mine, base)| figure(mine) / figure(base)))
    };
    Row {
        name: entry.name.clone(),
        baseline: entry.baseline.clone(),
        ops_per_s: spread(Sample::rate),
        user_us: spread(Sample::user),
        system_us: spread(Sample::system),
        total_us: spread(Sample::total),
        cpu_ratio: ratio(Sample::total),
        rate_ratio: ratio(Sample::rate),
        failed: mine.iter().map(|sample| sample.failed).sum(),
        samples: mine.to_vec(),
    }
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "contestant",
        "ops/s",
        "user µs/op",
        "sys µs/op",
        "total µs/op",
        "CPU × raw",
        "ops/s × raw",
        "failed",
    ]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.ops_per_s.shown(0),
            row.user_us.shown(2),
            row.system_us.shown(2),
            row.total_us.shown(2),
            row.cpu_ratio.shown(2),
            row.rate_ratio.shown(2),
            row.failed.to_string(),
        ]);
    }
    table.markdown()
}

/// Runs one job in a child process.
pub async fn in_child(job: &Job) -> Result<Sample> {
    let text = serde_json::to_string(job)?;
    let program = std::env::current_exe().context("this binary")?;
    let mut command = Command::new(program);
    command.args([crate::cli::CONTESTANT, &text]);
    let output = output(command, job.plan.warmup + job.plan.window + GRACE).await?;
    serde_json::from_slice(&output).with_context(|| format!("the sample of {:?}", job.who))
}

/// Standard output of a child that must succeed within `limit`.
pub async fn output(mut command: Command, limit: Duration) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("{:?}", command.as_std().get_program()))?;
    let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
    let ended = ended.with_context(|| format!("no end within {limit:?}"))??;
    if !ended.status.success() {
        bail!("a contestant ended with {}", ended.status);
    }
    Ok(ended.stdout)
}

/// One line for whoever waits.
pub fn progress(line: &str) {
    // A closed standard error is no failure of the run.
    let _ = writeln!(std::io::stderr(), "{line}");
}
