//! Load at a fixed rate, one get in flight on each connection, and how long each took.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

/// A get of a key that is not there: the smallest reply.
const GET: &[u8] = b"mg nothing v\r\n";
const MISS: &[u8] = b"EN\r\n";

/// Round trips.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// Half are below, µs.
    pub p50_us: f64,
    /// 99 of 100 are below, µs.
    pub p99_us: f64,
    /// 99 of 100 differ from what was expected by less, µs.
    pub off_p99_us: f64,
    /// Replies.
    pub count: usize,
}

/// `rate` gets a second over `connections` for `window`, each expected to take `expected`.
pub async fn measure(
    addr: SocketAddr,
    connections: u32,
    rate: u32,
    window: Duration,
    expected: Duration,
) -> Result<Latency> {
    let period = Duration::from_secs(1) * connections / rate;
    let began = Instant::now() + Duration::from_millis(50);
    let all = (0..connections).map(async |index| {
        let mut stream = TcpStream::connect(addr).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut timer = tokio::time::interval_at(began + period * index / connections, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut took = Vec::new();
        let mut reply = [0; MISS.len()];
        while began.elapsed() < window {
            timer.tick().await;
            let sent = Instant::now();
            stream.write_all(GET).await?;
            stream.read_exact(&mut reply).await?;
            took.push(sent.elapsed());
            if reply != MISS {
                bail!("unexpected reply: {}", reply.escape_ascii());
            }
        }
        Ok(took)
    });
    let took: Vec<Duration> = try_join_all(all).await?.into_iter().flatten().collect();
    let micros = |took: &Duration| took.as_secs_f64() * 1e6;
    let off: Vec<f64> = took.iter().map(|took| micros(&took.abs_diff(expected))).collect();
    let took: Vec<f64> = took.iter().map(micros).collect();
    let count = took.len();
    Ok(Latency {
        p50_us: quantile(took.clone(), 0.5),
        p99_us: quantile(took, 0.99),
        off_p99_us: quantile(off, 0.99),
        count,
    })
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile((1..=100).map(f64::from).collect(), 0.5), 51.0);
        assert_eq!(quantile((1..=100).map(f64::from).collect(), 0.99), 100.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }
}
