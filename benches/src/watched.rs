//! What it costs loadgen to be looked at: scraped each second, its observations and its live page read, and by a thousand scrapers at
//! once - against nobody. The binary as it is shipped, closed loop, so that whatever looking takes is missing from its throughput.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::rounds::progress;
use crate::stats::Spread;
use crate::table::Table;

/// Scrapers of the crowd, each once a second.
const CROWD: usize = 1_000;
/// Loopback addresses that they come from: one address alone may not have so many connections.
const ADDRESSES: usize = 16;
/// A scrape that takes longer is given up.
const SCRAPE: Duration = Duration::from_secs(5);
/// Heads that are begun and never ended.
const LORIS: usize = 100;
/// What is read as it comes.
const STREAMS: [&str; 2] = ["/v1/observations", "/v1/live"];
/// Time that loadgen may take beyond its duration.
const GRACE: Duration = Duration::from_secs(30);

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Lookers {
    Nobody,
    Usual,
    Crowd,
}

const ALL: [(Lookers, &str); 3] = [
    (Lookers::Nobody, "nobody"),
    (Lookers::Usual, "scraped each second, observations and live page read"),
    (Lookers::Crowd, "the same, 1 000 scrapers and 100 half heads"),
];

/// One round of one row.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sample {
    ops_per_s: f64,
    cpu_us: f64,
}

/// A measured row.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    name: &'static str,
    ops_per_s: Spread,
    /// CPU of loadgen, µs an op.
    cpu_us: Spread,
    /// Of nobody's in the same round.
    rate_ratio: Spread,
    /// The same.
    cpu_ratio: Spread,
}

/// Runs loadgen against `memcached` for `window`, `rounds` times in each situation.
pub async fn measure(
    memcached: SocketAddr,
    connections: usize,
    window: Duration,
    rounds: usize,
) -> Result<Vec<Row>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); ALL.len()];
    for round in 0..rounds {
        for step in 0..ALL.len() {
            let index = (round + step) % ALL.len();
            let (lookers, name) = ALL[index];
            let sample = one(memcached, connections, window, lookers).await?;
            progress(&format!(
                "round {} of {rounds}: {name}: {:.0} ops/s, {:.2} µs CPU an op",
                round + 1,
                sample.ops_per_s,
                sample.cpu_us
            ));
            samples[index].push(sample);
        }
    }
    let rows = ALL.iter().zip(&samples).map(|((_, name), mine)| {
        let spread = |figure: fn(&Sample) -> f64| Spread::of(mine.iter().map(figure));
        let ratio = |figure: fn(&Sample) -> f64| {
            Spread::of(mine.iter().zip(&samples[0]).map(|(mine, base)| figure(mine) / figure(base)))
        };
        Row {
            name,
            ops_per_s: spread(|s| s.ops_per_s),
            cpu_us: spread(|s| s.cpu_us),
            rate_ratio: ratio(|s| s.ops_per_s),
            cpu_ratio: ratio(|s| s.cpu_us),
        }
    });
    Ok(rows.collect())
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(["looked at by", "ops/s", "CPU µs/op", "ops/s × nobody", "CPU × nobody"]);
    for row in rows {
        table.row([
            row.name.to_owned(),
            row.ops_per_s.shown(0),
            row.cpu_us.shown(2),
            row.rate_ratio.shown(3),
            row.cpu_ratio.shown(3),
        ]);
    }
    table.markdown()
}

async fn one(
    memcached: SocketAddr,
    connections: usize,
    window: Duration,
    lookers: Lookers,
) -> Result<Sample> {
    let path = std::env::current_exe()?.with_file_name("loadgen");
    if !path.is_file() {
        bail!("{} is not there; build it first: cargo build --release", path.display());
    }
    let before = children_us()?;
    let mut child = Command::new(&path)
        .args(["--servers", &format!("one={memcached}"), "--concurrency", &connections.to_string()])
        .args(["--duration", &format!("{}ms", window.as_millis()), "--seed", "1"])
        .args(["--metrics-port", "127.0.0.1:0", "--max-procs", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| path.display().to_string())?;
    let mut log = BufReader::new(child.stderr.take().context("its standard error")?).lines();
    let addr = loop {
        let line = log.next_line().await?.context("loadgen ended before it listened")?;
        if let Some((_, rest)) = line.split_once("metrics on http://") {
            break rest.split('/').next().unwrap_or_default().parse::<SocketAddr>()?;
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    for path in STREAMS.iter().chain(&["/metrics"]) {
        answers(addr, path).await?;
    }
    // All of them end when this is dropped.
    let mut looking = JoinSet::new();
    look(&mut looking, lookers, addr);
    let output =
        timeout(window + GRACE, child.wait_with_output()).await.context("loadgen does not end")??;
    drop(looking);
    if !output.status.success() {
        bail!("loadgen ended with {}", output.status);
    }
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    let ops: f64 = ops(&summary).with_context(|| format!("no ops in {summary:?}"))?;
    Ok(Sample { ops_per_s: ops / window.as_secs_f64(), cpu_us: (children_us()? - before) / ops })
}

/// All ops of a summary: its table has one row a kind.
fn ops(summary: &str) -> Option<f64> {
    let rows = summary.lines().skip_while(|line| !line.starts_with("op ")).skip(1);
    let counts = rows.map_while(|row| row.split_whitespace().nth(1)?.parse::<f64>().ok());
    Some(counts.sum()).filter(|ops| *ops > 0.0)
}

/// CPU time of all children that have ended, µs.
fn children_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

fn look(looking: &mut JoinSet<()>, lookers: Lookers, addr: SocketAddr) {
    if lookers == Lookers::Nobody {
        return;
    }
    for path in STREAMS {
        looking.spawn(async move { while read(addr, path, 1, true).await.is_ok() {} });
    }
    looking.spawn(scrape(addr, 2, Duration::ZERO));
    if lookers == Lookers::Crowd {
        for n in 0..CROWD {
            let spread = Duration::from_secs(1).mul_f64(n as f64 / CROWD as f64);
            looking.spawn(scrape(addr, 3 + n % ADDRESSES, spread));
        }
        for n in 0..LORIS {
            looking.spawn(async move {
                while let Ok(mut stream) = connect(addr, 40 + n % ADDRESSES).await {
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await;
                    let _ = stream.read_u8().await;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
    }
}

async fn scrape(addr: SocketAddr, from: usize, after: Duration) {
    sleep(after).await;
    let mut timer = interval(Duration::from_secs(1));
    loop {
        timer.tick().await;
        // One that is refused comes again with the next second.
        let _ = timeout(SCRAPE, read(addr, "/metrics", from, false)).await;
    }
}

async fn connect(addr: SocketAddr, from: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, from as u8], 0)))?;
    socket.connect(addr).await
}

/// A looker that is turned away would cost nothing: an older loadgen must not pass for this one.
async fn answers(addr: SocketAddr, path: &str) -> Result<()> {
    let mut stream = connect(addr, 1).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    let mut head = [0; 12];
    timeout(SCRAPE, stream.read_exact(&mut head)).await.with_context(|| format!("{path}: no answer"))??;
    if head != *b"HTTP/1.1 200" {
        bail!("{path}: {}; build loadgen anew: cargo build --release", String::from_utf8_lossy(&head));
    }
    Ok(())
}

/// Reads an answer to its end, and throws it away.
async fn read(addr: SocketAddr, path: &str, from: usize, stays: bool) -> std::io::Result<()> {
    let mut stream = connect(addr, from).await?;
    let close = if stays { "" } else { "Connection: close\r\n" };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{close}\r\n").as_bytes()).await?;
    let mut buffer = [0; 64 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ops_are_read_from_the_table_of_a_summary() {
        let summary = "x\nop            count     p50\nget           300   1 ms\nset            21   1 ms\n";
        assert_eq!(ops(summary), Some(321.0));
        assert_eq!(ops("nothing"), None);
    }
}
