//! `scenariod reap`: takes away what dead and frozen runs have left on a Toxiproxy. For a sidecar, a timer, or by hand.

use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use toxiproxy::{Client, ClientError};

use crate::failure::{Failure, infrastructure};

/// Where to look, and how often.
#[derive(Debug)]
pub struct Settings {
    /// The Toxiproxy to look after.
    pub client: Client,
    /// URL of its API.
    pub toxiproxy: String,
    /// Between two looks; `None`: looks once.
    pub every: Option<Duration>,
}

/// Looks, once or until a signal.
pub async fn main(settings: &Settings) -> Result<u8, Failure> {
    let Some(every) = settings.every else {
        return look(&settings.client).await.map(|()| 0).map_err(infrastructure);
    };
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    tracing::info!("looks after {} every {every:?}", settings.toxiproxy);
    keep(&settings.client, every, &stop).await;
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
