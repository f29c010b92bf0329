//! Hours of load under rotating faults: the two binaries as they are shipped, real memcached, the embedded proxy. Wrong
//! values, descriptors and memory of the load generator are what is looked at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep};
use toxiproxy::Client;
use toxiproxy::wire::{Proxy, ProxyUpdate, Toxic};

use crate::rounds::progress;

/// Servers of the lab.
const PROXIES: [&str; 3] = ["memcached1", "memcached2", "memcached3"];
/// How long a fault is there, and how long nothing is before the next.
const FAULT: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_secs(4);
/// Growth of the resident memory from the first quarter to the last that is still called flat, KiB: histograms and
/// buffers that are used for the first time.
const GROWTH_KIB: u64 = 8 * 1024;
/// Descriptors beyond those of full pools.
const SPARE_FDS: u64 = 64;
/// Connections per server of the load generator.
const POOL: u64 = 32;

/// What to do for how long.
#[derive(Debug, Clone, Args)]
pub struct Soak {
    /// How long
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "20m")]
    duration: Duration,
    /// Workers of the closed loop
    #[arg(long, value_name = "N", default_value_t = 64)]
    concurrency: usize,
    /// Seed of the load
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// More flags of loadgen, after `--`: another mix, or pipelined connections
    #[arg(last = true, value_name = "FLAGS")]
    loadgen: Vec<String>,
}

/// One fault: toxics of one proxy, or the proxy switched off.
struct Fault {
    name: &'static str,
    toxics: Vec<(&'static str, &'static str, serde_json::Value)>,
}

fn faults() -> Vec<Fault> {
    let fault = |name, toxics| Fault { name, toxics };
    vec![
        fault("latency 30 ms", vec![("latency", "downstream", json!({"latency": 30, "jitter": 10}))]),
        fault("hang", vec![("timeout", "downstream", json!({"timeout": 0}))]),
        fault("late replies", vec![("latency", "downstream", json!({"latency": 110, "jitter": 20}))]),
        fault("reset after 20 ms", vec![("reset_peer", "downstream", json!({"timeout": 20}))]),
        fault(
            "one byte at a time",
            vec![("slicer", "downstream", json!({"average_size": 1, "size_variation": 0, "delay": 10}))],
        ),
        fault("cut after 5 000 bytes", vec![("limit_data", "downstream", json!({"bytes": 5_000}))]),
        fault("refused", vec![]),
        fault("cut requests", vec![("limit_data", "upstream", json!({"bytes": 3_000}))]),
    ]
}

/// A child whose standard error is read; killed when dropped.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(program: &str, args: &[&str], dir: &Path) -> Result<Self> {
        let path = beside_us(program)?;
        let mut child = Command::new(&path)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}", path.display()))?;
        let log = child.stderr.take().context("its standard error")?;
        Ok(Self { child, log: BufReader::new(log).lines() })
    }

    /// The first log line that contains `text`.
    async fn line_with(&mut self, text: &str) -> Result<String> {
        while let Some(line) = self.log.next_line().await? {
            if line.contains(text) {
                return Ok(line);
            }
        }
        bail!("it ended before it said {text:?}")
    }
}

fn beside_us(program: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(program);
    if !path.is_file() {
        bail!("{} is not there; build it first: cargo build --release", path.display());
    }
    Ok(path)
}

/// One look at the load generator, when no fault is there.
#[derive(Debug, Clone, Copy)]
struct Look {
    fds: u64,
    rss_kib: u64,
}

fn look(pid: u32) -> Result<Look> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).context("it has ended")?.count() as u64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss_kib = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok()).context("VmRSS")?;
    Ok(Look { fds, rss_kib })
}

/// Runs it; an error is a wrong value, a leak, or a program that died.
pub async fn run(soak: Soak) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut lab =
        Running::start("scenariod", &["--lab", "--lab-ports", "any", "--memcached", "real"], dir.path())?;
    let line = lab.line_with("API http://127.0.0.1:").await.context("scenariod --lab")?;
    let api = line.split_once("API http://").map(|(_, rest)| rest).unwrap_or_default();
    let api: String = api.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    let toxiproxy = Client::new(&format!("http://{api}"))?;
    let proxies = toxiproxy.proxies().await?;
    let server = |name: &&str| proxies.get(*name).map(|proxy: &Proxy| format!("{name}={}", proxy.listen));
    let servers: Option<Vec<String>> = PROXIES.iter().map(server).collect();
    let servers = servers.context("the lab's proxies")?.join(",");
    let mut loadgen = start_loadgen(&soak, &servers, dir.path())?;
    loadgen.line_with("metrics on").await.context("loadgen; are its flags right?")?;
    let pid = loadgen.child.id().context("loadgen has ended")?;
    // Its log is long and nobody's.
    let mut log = loadgen.log;
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    let mut lab_log = lab.log;
    tokio::spawn(async move { while let Ok(Some(_)) = lab_log.next_line().await {} });

    let begin = Instant::now();
    let (mut looks, mut given) = (Vec::new(), 0usize);
    let faults = faults();
    while begin.elapsed() < soak.duration {
        let (fault, proxy) = (&faults[given % faults.len()], PROXIES[given / faults.len() % PROXIES.len()]);
        give(&toxiproxy, fault, proxy).await.with_context(|| format!("{} at {proxy}", fault.name))?;
        sleep(FAULT).await;
        take_away(&toxiproxy, fault, proxy).await.with_context(|| format!("{} at {proxy}", fault.name))?;
        sleep(REST).await;
        given += 1;
        let seen = look(pid)?;
        looks.push(seen);
        if given.is_multiple_of(faults.len()) {
            let minutes = begin.elapsed().as_secs_f64() / 60.0;
            progress(&format!(
                "{minutes:.1} min: {given} faults, {} descriptors, {} KiB",
                seen.fds, seen.rss_kib
            ));
        }
    }
    interrupt(pid).await?;
    let output = loadgen.child.wait_with_output().await?;
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = judge(&looks);
    let text = format!(
        "{summary}\n{given} faults in {:.1} min; {}",
        begin.elapsed().as_secs_f64() / 60.0,
        verdict.1
    );
    if output.status.code() != Some(0) {
        bail!("loadgen ended with {}: a wrong value or a death\n{text}", output.status);
    }
    if !verdict.0 {
        bail!("not flat\n{text}");
    }
    Ok(text)
}

fn start_loadgen(soak: &Soak, servers: &str, dir: &Path) -> Result<Running> {
    let (concurrency, seed, pool) = (soak.concurrency.to_string(), soak.seed.to_string(), POOL.to_string());
    let args = [
        "--servers",
        servers,
        "--concurrency",
        &concurrency,
        "--seed",
        &seed,
        "--op-timeout",
        "100ms",
        "--breaker-open",
        "1s",
        "--pool-size",
        &pool,
        "--metrics-port",
        "127.0.0.1:0",
    ];
    let args: Vec<&str> = args.into_iter().chain(soak.loadgen.iter().map(String::as_str)).collect();
    Running::start("loadgen", &args, dir)
}

async fn interrupt(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-s", "INT", &pid.to_string()]).status().await?;
    if status.success() { Ok(()) } else { bail!("kill: {status}") }
}

async fn give(toxiproxy: &Client, fault: &Fault, proxy: &str) -> Result<()> {
    if fault.toxics.is_empty() {
        toxiproxy
            .update_proxy(proxy, &ProxyUpdate { enabled: Some(false), ..ProxyUpdate::default() })
            .await?;
    }
    for (kind, stream, attributes) in &fault.toxics {
        let toxic = json!({"name": "soak", "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes});
        let toxic: Toxic = serde_json::from_value(toxic)?;
        toxiproxy.add_toxic(proxy, &toxic).await?;
    }
    Ok(())
}

async fn take_away(toxiproxy: &Client, fault: &Fault, proxy: &str) -> Result<()> {
    if fault.toxics.is_empty() {
        toxiproxy.update_proxy(proxy, &ProxyUpdate { enabled: Some(true), ..ProxyUpdate::default() }).await?;
        return Ok(());
    }
    toxiproxy.remove_toxic(proxy, "soak").await?;
    Ok(())
}

/// Is it flat from the first quarter to the last?
fn judge(looks: &[Look]) -> (bool, String) {
    let quarter = (looks.len() / 4).max(1).min(looks.len());
    let (first, last) = (&looks[..quarter], &looks[looks.len() - quarter..]);
    let median = |looks: &[Look], of: fn(&Look) -> u64| {
        let mut values: Vec<u64> = looks.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    let fds = [median(first, |l| l.fds), median(last, |l| l.fds)];
    let rss = [median(first, |l| l.rss_kib), median(last, |l| l.rss_kib)];
    let most = looks.iter().map(|l| l.fds).max().unwrap_or(0);
    let flat = most <= PROXIES.len() as u64 * POOL + SPARE_FDS && rss[1] <= rss[0] + GROWTH_KIB;
    let text = format!(
        "descriptors {} -> {} (at most {most}), memory {} -> {} KiB, medians of the first and the last quarter",
        fds[0], fds[1], rss[0], rss[1]
    );
    (flat, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_leaks_are_not_flat() {
        let run = |fds: u64, grows: u64| -> Vec<Look> {
            (0..40).map(|n| Look { fds: 100 + n * fds, rss_kib: 20_000 + n * grows }).collect()
        };
        assert!(judge(&run(0, 0)).0);
        assert!(!judge(&run(0, 1_000)).0);
        assert!(!judge(&run(5, 0)).0);
    }
}
