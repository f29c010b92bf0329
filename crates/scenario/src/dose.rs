//! The dose, as the proxy counts it, into the journal and the metrics: what toxics touched in each 100 ms.

use std::time::Duration;

use observation::clock::RunClock;

use observation::{Dose, Record};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use toxiproxy::wire::DoseBucket;

use crate::backend::Backend;
use crate::metrics::{Metrics, PROXY};
use crate::recorder::Journal;

/// The proxy's buckets are fetched this often.
const PERIOD: Duration = Duration::from_millis(200);

/// Fetches and writes until `done`.
pub(crate) async fn keep(
    backend: Backend,
    targets: Vec<String>,
    clock: RunClock,
    journal: Journal,
    metrics: Metrics,
    done: CancellationToken,
) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // What happened before this run is not its dose.
    let mut after_us = u64::MAX;
    loop {
        let last = tokio::select! {
            () = done.cancelled() => true,
            _ = timer.tick() => false,
        };
        let asked_us = clock.now_us();
        // A call that fails loses nothing: the proxy remembers its buckets.
        if let Ok(answer) = backend.client().dose_buckets(after_us).await {
            // Both clocks at the middle of the call.
            let here_us = asked_us.midpoint(clock.now_us());
            for target in &targets {
                for bucket in answer.proxies.get(target).into_iter().flatten() {
                    let age_us = answer.now_us.saturating_sub(bucket.at_us);
                    metrics.dose_measured(target, PROXY, bucket.chunks_touched, bucket.chunks);
                    let record = record(target, bucket, here_us.saturating_sub(age_us));
                    journal.append(Record::Dose(record)).await;
                }
            }
            let ends = answer.proxies.values().flatten().map(|bucket| bucket.at_us);
            // At the first call, and after a restart of the proxy: from its now on.
            after_us = ends.max().unwrap_or(after_us.min(answer.now_us));
        }
        if last {
            return;
        }
    }
}

fn record(target: &str, bucket: &DoseBucket, at_us: u64) -> Dose {
    Dose {
        at_us,
        period_us: bucket.period_us,
        target: target.to_owned(),
        links: bucket.links,
        links_touched: bucket.links_touched,
        chunks: bucket.chunks,
        chunks_touched: bucket.chunks_touched,
        bytes: bucket.bytes,
        bytes_touched: bucket.bytes_touched,
    }
}
