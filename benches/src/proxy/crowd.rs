//! Many connections through a carrier: memory while they idle, a toxic that comes to all of them, and a stream of short ones.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::carrier::Carrier;
use crate::stats::Spread;

/// Idle connections. A proxy needs two descriptors for each, and many a machine allows 20 000.
pub const IDLE: usize = 9_900;
/// Open connections when a toxic is added.
pub const OPEN: usize = 1_000;
/// Times that it is added and removed.
const ADDED: usize = 15;
/// Connections that come and go at the same time.
const COMING: usize = 32;
/// Time of the short ones.
const CHURN: Duration = Duration::from_secs(5);
/// Connections that are dialled at once: memcached's and a proxy's backlog must hold them.
const WAVE: usize = 200;
/// Time until what was closed is gone.
const GONE: Duration = Duration::from_secs(10);

async fn ping(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"mn\r\n").await.context("write")?;
    stream.read_exact(&mut [0; 4]).await.context("read")?;
    Ok(())
}

async fn open(carrier: &Carrier, count: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let wave = (0..WAVE.min(count - streams.len())).map(async |_| {
            let mut stream = TcpStream::connect(carrier.addr).await.context("connect")?;
            ping(&mut stream).await?;
            anyhow::Ok(stream)
        });
        streams.extend(try_join_all(wave).await?);
    }
    Ok(streams)
}

/// Idle connections.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Before the first, MiB.
    pub before_mib: f64,
    /// With all, MiB.
    pub with_all_mib: f64,
    /// Time of adding a toxic to [`OPEN`] of them, ms.
    pub toxic_ms: Spread,
}

/// Opens them, and adds toxics on the way.
pub async fn idle(carrier: &Carrier) -> Result<Idle> {
    let mib = || carrier.resident_kib().map(|kib| kib as f64 / 1024.0);
    let before_mib = mib()?;
    let mut streams = open(carrier, OPEN).await?;
    let mut took = Vec::new();
    for _ in 0..ADDED {
        took.push(carrier.add_latency(0).await?.as_secs_f64() * 1e3);
        carrier.remove_latency().await?;
    }
    streams.extend(open(carrier, IDLE - OPEN).await?);
    Ok(Idle { before_mib, with_all_mib: mib()?, toxic_ms: Spread::of(took) })
}

/// Short connections.
#[derive(Debug, Clone, Serialize)]
pub struct Churn {
    /// Opened, used once and closed, a second.
    pub per_s: f64,
    /// CPU of the carrier, µs a connection.
    pub cpu_us: f64,
    /// Descriptors before, and after the last is gone.
    pub descriptors: (usize, usize),
    /// Resident memory before and after, MiB.
    pub mib: (f64, f64),
}

/// As many as go.
pub async fn churn(carrier: &Carrier) -> Result<Churn> {
    let mib = || carrier.resident_kib().map(|kib| kib as f64 / 1024.0);
    let (descriptors, memory, cpu) = (carrier.descriptors()?, mib()?, carrier.cpu_us()?);
    let began = Instant::now();
    let workers = (0..COMING).map(async |_| {
        let mut done = 0u64;
        while began.elapsed() < CHURN {
            let mut stream = TcpStream::connect(carrier.addr).await.context("connect")?;
            ping(&mut stream).await?;
            done += 1;
        }
        anyhow::Ok(done)
    });
    let done: u64 = try_join_all(workers).await?.into_iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    let cpu_us = (carrier.cpu_us()? - cpu) / done as f64;
    let deadline = Instant::now() + GONE;
    while carrier.descriptors()? > descriptors && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Churn {
        per_s: done as f64 / seconds,
        cpu_us,
        descriptors: (descriptors, carrier.descriptors()?),
        mib: (memory, mib()?),
    })
}
