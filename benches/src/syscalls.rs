//! System calls an op, counted by strace.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::process::Command;

use crate::contestants::Job;
use crate::measure::Sample;
use crate::rounds::{self, Entry};
use crate::table::Table;

/// Time of one run; strace makes everything many times slower, so CPU times say nothing here.
const LIMIT: Duration = Duration::from_secs(120);

const WRITES: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];
const READS: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const POLLS: [&str; 5] = ["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll"];

/// Calls of one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Calls {
    /// Its name.
    pub name: String,
    /// Ops that it made under strace.
    pub ops: u64,
    /// Calls by name, from its start to its end.
    pub calls: BTreeMap<String, u64>,
}

impl Calls {
    fn each(&self, names: &[&str]) -> f64 {
        let calls: u64 = names.iter().filter_map(|name| self.calls.get(*name)).sum();
        calls as f64 / self.ops.max(1) as f64
    }
}

/// Counts the calls of every entry; `None` without strace.
pub async fn measure(entries: &[Entry]) -> Result<Option<Vec<Calls>>> {
    let found = Command::new("strace").arg("-V").output().await;
    if !found.is_ok_and(|output| output.status.success()) {
        rounds::progress("strace is not on PATH: system calls are not counted");
        return Ok(None);
    }
    let mut all = Vec::new();
    for entry in entries {
        let job = Job { who: entry.who, plan: entry.plan.clone() };
        let program = std::env::current_exe().context("this binary")?;
        let counts = tempfile::NamedTempFile::new().context("a temporary file")?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(counts.path()).arg(program);
        command.args([crate::cli::CONTESTANT, &serde_json::to_string(&job)?]);
        let output = rounds::output(command, LIMIT).await?;
        let text = std::fs::read_to_string(counts.path()).context("what strace wrote")?;
        let sample: Sample = serde_json::from_slice(&output).context("a sample under strace")?;
        let calls = parse(&text);
        let calls = Calls { name: entry.name.clone(), ops: sample.ops_overall, calls };
        rounds::progress(&format!("{}: {} ops under strace", calls.name, calls.ops));
        all.push(calls);
    }
    Ok(Some(all))
}

/// The table that `strace -c` writes: the fourth column is the calls, the last the name.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (calls, name) = (fields.get(3)?.parse().ok()?, *fields.last()?);
        (name != "total").then(|| (name.to_owned(), calls))
    };
    text.lines().filter_map(line).collect()
}

/// As a table.
pub fn table(all: &[Calls]) -> String {
    let mut table =
        Table::new(["contestant", "ops", "writes/op", "reads/op", "epoll or poll/op", "futex/op", "all/op"]);
    for calls in all {
        let names: Vec<&str> = calls.calls.keys().map(String::as_str).collect();
        let figures = [&WRITES[..], &READS, &POLLS, &["futex"], &names].map(|group| calls.each(group));
        let figures = figures.map(|figure| format!("{figure:.2}"));
        table.row([calls.name.clone(), calls.ops.to_string()].into_iter().chain(figures));
    }
    table.markdown()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 52.49    0.026318           3      8003           sendto
 47.51    0.023822           1     16011      8001 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.050140           2     24014      8001 total
";
        let calls = parse(text);
        assert_eq!(calls, BTreeMap::from([("sendto".to_owned(), 8003), ("recvfrom".to_owned(), 16011)]));
    }
}
