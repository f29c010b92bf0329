//! `scenariod reap`: takes away what dead and frozen runs have left on a Toxiproxy. For a sidecar, a timer, or by hand.

use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use toxiproxy::{Client, ClientError};

use crate::failure::{Failure, infrastructure, usage};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// API of the Toxiproxy to look after
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8474")]
    pub toxiproxy: String,
    /// Look this often, until a signal; above 5s a fault may stay for longer than 15 s after its deadline
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = every)]
    pub every: Duration,
    /// Look once: exit code 0 when nothing is left that should not be there, 4 when that is not so or not known
    #[arg(long, conflicts_with = "every")]
    pub once: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    if bounds.contains(&every) { Ok(every) } else { Err("expected 100ms to 1h".to_owned()) }
}

/// Looks, once or until a signal.
pub async fn main(args: &Args) -> Result<u8, Failure> {
    let client = Client::new(&args.toxiproxy).map_err(usage)?;
    if args.once {
        return look(&client).await.map(|()| 0).map_err(infrastructure);
    }
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    tracing::info!("looks after {} every {:?}", args.toxiproxy, args.every);
    keep(&client, args.every, &stop).await;
    Ok(0)
}

async fn keep(client: &Client, every: Duration, stop: &CancellationToken) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        // A look that has begun is ended: half a ladder would be none.
        match look(client).await {
            Ok(()) if failing => {
                tracing::info!("looks again");
                failing = false;
            }
            Ok(()) => {}
            // Said once, not every 5 s for as long as nobody has started it.
            Err(ClientError::Unreachable { .. }) if failing => {}
            Err(error) => {
                tracing::error!(%error, "cannot look, or take away what is left; tries on");
                failing = true;
            }
        }
    }
}

async fn look(client: &Client) -> Result<(), ClientError> {
    for one in scenario::reap::once(client).await? {
        tracing::warn!("taken away: {one}");
    }
    Ok(())
}
