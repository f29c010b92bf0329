//! `simulate`: runs many seeds, or shows one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use simulation::{Options, Plan, Report, run};

/// Runs seeds of the simulation. Ends with 1 if one fails, and says which.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which seeds, such as 0..5000.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Shows the whole trace of each seed.
    #[arg(long)]
    trace: bool,
    /// Runs each seed twice and compares the traces.
    #[arg(long)]
    twice: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (begin, end) = text.split_once("..").ok_or("two numbers with .. between them")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(begin)?..number(end)?)
}

/// What all seeds did together.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    failed: Vec<u64>,
    ops: u64,
    dropped: u64,
    transitions: u64,
    faults: usize,
    simulated: Duration,
    outcomes: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.ops += report.ops;
        self.dropped += report.dropped;
        self.transitions += report.transitions;
        self.faults += report.faults;
        self.simulated += report.simulated;
        for (outcome, count) in &report.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        if !report.failures.is_empty() {
            self.failed.push(report.seed);
        }
    }
}

fn one(seed: u64, arguments: &Arguments) -> Report {
    let (plan, options) = (Plan::draw(seed), Options { trace: arguments.trace, ..Options::default() });
    let mut report = run(&plan, &options);
    if arguments.twice {
        let again = run(&plan, &options);
        if let Some(at) = report.trace.iter().zip(&again.trace).position(|(a, b)| a != b) {
            let lines = [&report.trace, &again.trace].map(|trace| trace.get(at).cloned());
            report
                .failures
                .push(format!("line {at} of the trace is {:?}, and {:?} when run again", lines[0], lines[1]));
        }
        if again.hash != report.hash {
            let text = format!("the trace is {:016x}, and {:016x} when run again", report.hash, again.hash);
            report.failures.push(text);
        }
    }
    report
}

fn show(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in &report.trace {
        writeln!(out, "{line}")?;
    }
    for failure in &report.failures {
        writeln!(out, "seed {}: {failure}", report.seed)?;
    }
    out.flush()
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seeds = arguments.seed.map_or(arguments.seeds.clone(), |seed| seed..seed + 1);
    let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return Ok(());
                        }
                        let report = one(seed, &arguments);
                        show(&report)?;
                        sum.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| io::Error::other("a thread has panicked")).and_then(|ended| ended)
        })
    })?;
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failed.sort_unstable();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} seeds, {} failed; {} ops ({} dropped), {} faults, {} transitions of breakers, {:.0} simulated s",
        sum.runs,
        sum.failed.len(),
        sum.ops,
        sum.dropped,
        sum.faults,
        sum.transitions,
        sum.simulated.as_secs_f64(),
    )?;
    writeln!(out, "{:?}", sum.outcomes)?;
    if sum.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "failed: {:?}", sum.failed)?;
    Ok(ExitCode::FAILURE)
}
