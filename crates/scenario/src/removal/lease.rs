//! The lease of a run's faults at a Toxiproxy that knows leases: ours. It is renewed every second; when this process stands
//! still, or is gone with its janitor, the proxy takes the faults away by itself.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use toxiproxy::wire::LeaseTerms;
use toxiproxy::{Client, ClientError};

/// Between two renewals.
const PERIOD: Duration = Duration::from_secs(1);
/// Without renewal for so long the faults end, ms.
const TTL_MS: u64 = 5_000;

/// A lease that is renewed while this lives.
#[derive(Debug)]
pub(crate) struct Lease {
    client: Client,
    prefix: String,
    _renewing: DropGuard,
}

impl Lease {
    /// Takes the lease of all toxics whose names begin with `prefix`, and of the proxies that will be switched off. `lapsed` is
    /// cancelled when the proxy says that it was not renewed in time.
    pub(crate) async fn take(
        client: &Client,
        prefix: String,
        enable: Vec<String>,
        lapsed: CancellationToken,
    ) -> Result<Self, ClientError> {
        let terms = LeaseTerms { ttl_ms: TTL_MS, enable };
        client.renew_lease(&prefix, &terms).await?;
        let stop = CancellationToken::new();
        tokio::spawn(renew(client.clone(), prefix.clone(), terms, lapsed, stop.clone()));
        Ok(Self { client: client.clone(), prefix, _renewing: stop.drop_guard() })
    }

    /// The faults are gone: nothing is left to be renewed.
    pub(crate) async fn end(self) -> Result<(), ClientError> {
        self.client.end_lease(&self.prefix).await
    }
}

async fn renew(
    client: Client,
    prefix: String,
    terms: LeaseTerms,
    lapsed: CancellationToken,
    stop: CancellationToken,
) {
    let mut timer = interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let renewed = tokio::select! {
            () = stop.cancelled() => return,
            renewed = async { timer.tick().await; client.renew_lease(&prefix, &terms).await } => renewed,
        };
        match renewed {
            Ok(state) if state.lapses > 0 => return lapsed.cancel(),
            Ok(_) => {}
            // Asked again in a second; without an answer the faults end, and the next answer says so.
            Err(error) => tracing::warn!(%error, "a lease is not renewed"),
        }
    }
}
