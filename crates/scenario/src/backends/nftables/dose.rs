//! The dose of the kernel's loss, as its rules count it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use observation::Dose;
use observation::clock::RunClock;
use tokio::sync::Mutex;

use super::table;
use super::tables::Tables;
use crate::backends::backend::DoseCounter;

/// Time between two looks at the counters: each takes a process.
const PERIOD: Duration = Duration::from_secs(1);

/// The counters of all tables of a run.
pub(super) struct Counters(pub(super) Arc<Mutex<Tables>>);

impl DoseCounter for Counters {
    fn period(&self) -> Duration {
        PERIOD
    }

    /// Packets are the record's chunks, and the fault's id its target: the same proxy may count chunks of its own.
    fn read(&mut self, clock: RunClock) -> BoxFuture<'_, Vec<Dose>> {
        async move {
            // The calls are slow, and nothing that takes a fault away must wait for them.
            let in_force = self.0.lock().await.in_force();
            for (namespace, name) in in_force {
                if let Ok(now) = table::count(&namespace, &name).await {
                    self.0.lock().await.counted(&name, now);
                }
            }
            let counted = self.0.lock().await.untold();
            let counted = counted.into_iter().map(|(name, since)| Dose {
                at_us: clock.at(since.at),
                period_us: since.period.as_micros() as u64,
                target: name.to_string(),
                links: 0,
                links_touched: 0,
                chunks: since.counted.seen,
                chunks_touched: since.counted.dropped,
                bytes: since.counted.seen_bytes,
                bytes_touched: since.counted.dropped_bytes,
            });
            counted.collect()
        }
        .boxed()
    }
}
