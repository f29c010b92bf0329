//! Writes down what faults touch, as the backends count it.

use observation::Record;
use observation::clock::RunClock;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::recorder::Journal;
use crate::backends::DoseCounter;

/// Reads and writes until `done`, and once more then.
pub(super) async fn keep(
    mut counter: Box<dyn DoseCounter>,
    clock: RunClock,
    journal: Journal,
    done: CancellationToken,
) {
    let mut timer = tokio::time::interval(counter.period());
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let last = tokio::select! {
            () = done.cancelled() => true,
            _ = timer.tick() => false,
        };
        for dose in counter.read(clock).await {
            journal.append(Record::Dose(dose)).await;
        }
        if last {
            return;
        }
    }
}
