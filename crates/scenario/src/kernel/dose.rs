//! The dose of the kernel's loss, as its rules count it, into the journal.

use std::time::Duration;

use observation::clock::RunClock;
use observation::{Dose, Record};
use tokio::time::MissedTickBehavior;

use super::KernelLoss;
use crate::recorder::Journal;

/// Between two looks at the counters: each takes a process.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes what was lost, per bucket, until it is dropped.
pub(crate) async fn keep(kernel: &mut KernelLoss, clock: RunClock, journal: &Journal) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    timer.tick().await;
    loop {
        timer.tick().await;
        record(kernel, clock, journal).await;
    }
}

/// Writes what was lost since the last time. Packets are the record's chunks, and the fault's id its target: the same proxy
/// may count chunks of its own.
pub(crate) async fn record(kernel: &mut KernelLoss, clock: RunClock, journal: &Journal) {
    for (name, since) in kernel.count().await {
        let dose = Dose {
            at_us: clock.now_us(),
            period_us: since.period.as_micros() as u64,
            target: name.to_string(),
            links: 0,
            links_touched: 0,
            chunks: since.counted.seen,
            chunks_touched: since.counted.dropped,
            bytes: since.counted.seen_bytes,
            bytes_touched: since.counted.dropped_bytes,
        };
        journal.append(Record::Dose(dose)).await;
    }
}
