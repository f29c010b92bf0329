//! The runner's own witness: one small request to each proxy every 50 ms, on a connection of its own, past all client code. It
//! shows whether the fault was there and whether it is gone.

use std::sync::Arc;
use std::time::Duration;

use observation::clock::RunClock;
use observation::{Canary, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::recorder::Journal;

/// Between two requests to one server.
const PERIOD: Duration = Duration::from_millis(50);
/// No answer after this long is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks one proxy until `stop`. Every request has a connection of its own: a share of stalled connections shows as that share
/// of canaries.
pub(crate) async fn run(
    target: String,
    server: Option<String>,
    addr: String,
    clock: RunClock,
    journal: Journal,
    stop: CancellationToken,
) {
    let (target, server, addr): (Arc<str>, _, Arc<str>) = (target.into(), server, addr.into());
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {
                let addr = Arc::clone(&addr);
                asking.spawn(async move {
                    let sent = Instant::now();
                    (sent, timeout(PATIENCE, ask(&addr)).await, sent.elapsed())
                });
            }
            Some(Ok((sent, result, took))) = asking.join_next(), if !asking.is_empty() => {
                let (took_us, error) = match result {
                    Ok(Ok(())) => (Some(took.as_micros() as u64), None),
                    Ok(Err(error)) => (None, Some(error.to_string())),
                    Err(_) => (None, Some("no answer".to_owned())),
                };
                let at_us = clock.at(sent);
                let canary = Canary { at_us, target: target.to_string(), server: server.clone(), took_us, error };
                journal.append(Record::Canary(canary)).await;
            }
        }
    }
}

async fn ask(addr: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    stream.write_all(b"mn\r\n").await?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    match &reply {
        b"MN\r\n" => Ok(()),
        other => Err(std::io::Error::other(format!("answered {:?}", other.escape_ascii().to_string()))),
    }
}
