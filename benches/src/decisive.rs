//! How often a first run gives a decision on a machine that has other work: `scenariod --lab --quick`, with 0, 4 and 8 busy loops
//! beside it. The client is ours and without a seeded bug, so every scenario of the list must pass: a FAIL is a wrong verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::rounds::progress;
use crate::table::Table;

/// What to run, and beside what.
#[derive(Debug, Clone, Args)]
pub struct Decisive {
    /// The program
    #[arg(long, value_name = "PATH", default_value = "target/release/scenariod")]
    scenariod: PathBuf,
    /// Scenarios, each run once in each round
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "packet-loss-100-pct,latency-200ms-5s,packet-loss-10-pct"
    )]
    scenarios: Vec<String>,
    /// Busy loops beside it
    #[arg(long, value_delimiter = ',', default_value = "0,4,8")]
    busy: Vec<usize>,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
    /// Further flags of scenariod; without --rerun-inconclusive 0 a second run may count
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Processes that do nothing but keep a processor busy.
struct Loops(Vec<Child>);

impl Loops {
    fn start(n: usize) -> Result<Self> {
        let mut loops = Self(Vec::new());
        for _ in 0..n {
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().context("sh")?;
            loops.0.push(child);
        }
        Ok(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended; there is nothing more to be done about it.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// A run that has ended.
struct Run {
    result: String,
    why: String,
    seconds: f64,
}

/// Runs everything; gives a table, and every run that did not pass.
pub fn measure(asked: &Decisive) -> Result<String> {
    ensure!(asked.rounds > 0 && !asked.scenarios.is_empty(), "0 of something");
    let mut counts: BTreeMap<usize, BTreeMap<String, usize>> = BTreeMap::new();
    let mut seconds: BTreeMap<usize, f64> = BTreeMap::new();
    let mut others = String::new();
    for round in 1..=asked.rounds {
        for busy in &asked.busy {
            for scenario in &asked.scenarios {
                let loops = Loops::start(*busy)?;
                let run = one(asked, scenario)?;
                drop(loops);
                progress(&format!(
                    "round {round}, {busy} loops, {scenario}: {} in {:.0} s",
                    run.result, run.seconds
                ));
                if run.result != "PASS" {
                    others += &format!("{busy} loops, {scenario}: {} {}\n", run.result, run.why);
                }
                *counts.entry(*busy).or_default().entry(run.result).or_default() += 1;
                *seconds.entry(*busy).or_default() += run.seconds;
            }
        }
    }
    let runs = asked.rounds * asked.scenarios.len();
    let mut table = Table::new(["busy loops", "PASS", "FAIL", "others", "s a run"]);
    for (busy, counts) in &counts {
        let of = |name: &str| {
            counts.iter().filter(|(result, _)| result.starts_with(name)).map(|(_, n)| n).sum::<usize>()
        };
        let (pass, fail) = (of("PASS"), of("FAIL"));
        let took = seconds.get(busy).copied().unwrap_or_default() / runs as f64;
        table.row([
            busy.to_string(),
            format!("{pass} of {runs}"),
            fail.to_string(),
            (runs - pass - fail).to_string(),
            format!("{took:.0}"),
        ]);
    }
    Ok(format!("{}\n{others}", table.markdown()))
}

fn one(asked: &Decisive, scenario: &str) -> Result<Run> {
    let mut runs = tempfile::Builder::new().prefix("decisive-").tempdir()?;
    let began = tokio::time::Instant::now();
    let status = Command::new(&asked.scenariod)
        .args(["--lab", "--quick", "--scenario", scenario, "--runs"])
        .arg(runs.path())
        .args(&asked.flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| asked.scenariod.display().to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(runs.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.sort();
    // The last one counts.
    let verdict = folders.last().and_then(|folder| std::fs::read(folder.join("verdict.json")).ok());
    let Some(verdict) = verdict else {
        return Ok(Run { result: "ERROR".to_owned(), why: status.to_string(), seconds });
    };
    let verdict: Value = serde_json::from_slice(&verdict)?;
    let result = verdict["result"]
        .as_str()
        .unwrap_or_default()
        .to_uppercase()
        .replace("WRONG_DATA", "FAIL (wrong data)");
    // What did not pass is kept.
    runs.disable_cleanup(result != "PASS");
    let reasons = verdict["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let why = format!("{} ({})", reasons.collect::<Vec<_>>().join("; "), runs.path().display());
    Ok(Run { result, why, seconds })
}
