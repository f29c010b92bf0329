//! Starts the built binaries and the real servers on free loopback ports, and stops them by their process id.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::architecture::workspace;

/// Longest wait for a condition; a loaded machine needs seconds, a hung program fails here.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Path of a built binary of this workspace.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            // With a test beside them, so that the features are those of `cargo test` and nothing is built twice.
            .args(["build", "--quiet", "--bin", "loadgen", "--bin", "scenariod", "--test", "tests"])
            .current_dir(workspace())
            // Who times the tests sets it (`--report-time`); here it would build half of the dependencies again.
            .env_remove("RUSTC_BOOTSTRAP")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // target/debug/deps/tests-... -> target/debug
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
    });
    folder.join(name)
}

/// Path of a real program. Without it: fails where `CI` is set, else says loudly that the test is skipped.
pub fn real_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not on PATH, and CI needs it");
        eprintln!("SKIPPED: {name} is not on PATH; this test needs the real one");
    }
    found
}

/// Shares of the machine, for tests that measure time: what they judge must not be their neighbours' load.
static MACHINE: Semaphore = Semaphore::const_new(SHARES);
const SHARES: usize = 2;

/// All of it, for as long as the guard lives: for tests that ask how much the machine can do.
pub async fn whole_machine() -> SemaphorePermit<'static> {
    MACHINE.acquire_many(SHARES as u32).await.unwrap()
}

/// A part of it: for tests whose load is far below what the machine can do.
pub async fn part_of_the_machine() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.unwrap()
}

/// Runs in which a stall of the machine may void the verdict before a test fails.
const RUNS: usize = 4;

/// Repeats `run` while it gives `None`: the verdict itself said that the machine, and not the client, was the limit.
pub async fn judged<T>(mut run: impl AsyncFnMut() -> Option<T>) -> T {
    for n in 1..=RUNS {
        let _machine = part_of_the_machine().await;
        if let Some(ended) = run().await {
            return ended;
        }
        eprintln!("run {n} of at most {RUNS} was void: the machine stalled");
    }
    panic!("the machine stalled in {RUNS} runs")
}

/// Does the verdict say that it could not be given because the machine stalled?
pub fn stalled(verdict: &serde_json::Value) -> bool {
    let voided = |id: &str, result: &str| {
        let criteria = verdict["criteria"].as_array().into_iter().flatten();
        criteria.filter(|c| c["id"] == id).any(|c| c["result"] == result)
    };
    // Only a run without a decision has an advice; of a calm machine it says something else.
    let busy =
        verdict["advice"].as_str().is_some_and(|advice| advice.starts_with("The machine was too busy"));
    busy || voided("baseline", "invalid")
        || voided("baseline", "inconclusive")
        || voided("observed", "inconclusive")
}

/// The newest verdict below `dir`.
pub fn verdict(dir: &std::path::Path) -> serde_json::Value {
    let runs = std::fs::read_dir(dir.join("runs")).unwrap();
    // The folder of a suite has none.
    let judged = runs.map(|run| run.unwrap().path()).filter(|run| run.join("verdict.json").exists());
    let newest = judged.max().unwrap();
    serde_json::from_slice(&std::fs::read(newest.join("verdict.json")).unwrap()).unwrap()
}

/// A free loopback port. Somebody could take it before its user does; tests retry where that matters.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A child that is killed and reaped when it goes out of scope.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts `program` with its output kept in files below `dir`.
    pub fn start(program: &PathBuf, args: &[&str], dir: &std::path::Path) -> Self {
        Self::start_with(program, args, dir, &[])
    }

    /// The same with environment variables.
    pub fn start_with(program: &PathBuf, args: &[&str], dir: &std::path::Path, env: &[(&str, &str)]) -> Self {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        let file = |kind: &str| std::fs::File::create(dir.join(format!("{name}.{kind}"))).unwrap();
        let child = Command::new(program)
            .args(args)
            .envs(env.iter().copied())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, name }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, for example `TERM`.
    pub fn signal(&self, signal: &str) {
        self.kill(signal, &self.child.id().to_string());
    }

    /// Sends a signal to the process group that it leads, as a terminal and `timeout` do.
    pub fn signal_group(&self, signal: &str) {
        self.kill(signal, &format!("-{}", self.child.id()));
    }

    fn kill(&self, signal: &str, whom: &str) {
        let status = Command::new("kill").args(["-s", signal, "--", whom]).status().unwrap();
        assert!(status.success(), "{}: kill: {status}", self.name);
    }

    /// Waits for the end and gives the exit code.
    pub async fn exit_code(&mut self, patience: Duration) -> i32 {
        let mut code = None;
        wait_for(&format!("{} to end", self.name), patience, async || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        })
        .await;
        code.unwrap().code().unwrap_or(-1)
    }

    /// Has it ended already?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `condition` every 20 ms until it holds; panics with `what` after `patience`.
pub async fn wait_for(what: &str, patience: Duration, condition: impl AsyncFnMut() -> bool) {
    assert!(becomes_true(patience, condition).await, "waited {patience:?} for {what}");
}

/// Asks `condition` every 20 ms; `false`: it did not hold within `patience`.
pub async fn becomes_true(patience: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition().await {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// The body of a GET; `None` while nobody answers.
pub async fn get(url: &str) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    client.get(url).send().await.ok()?.error_for_status().ok()?.text().await.ok()
}

/// The value of the series that begins with `series`, in a Prometheus text.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The janitor of a running scenariod, if it has one yet.
pub fn janitor(of: u32) -> Option<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent =
        |pid: u32| stat(pid).rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    let is_janitor = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0janitor\0")
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let mut pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.find(|pid| parent(*pid) == Some(of) && is_janitor(*pid))
}

/// Sends a signal to processes, all of which may have ended.
pub fn kill(signal: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("kill").args(["-s", signal]).args(pids).status().unwrap();
}
