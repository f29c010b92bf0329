//! The one loop that makes load: starts ops as a pace says, and hands over what has ended. Which op is next, and what
//! becomes of one that has ended, is the caller's.

use std::sync::Arc;
use std::time::Duration;

use alarm::Alarm;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::pacer::{Pace, Pacer, Step};

/// Ops in flight when the load stops may take this long to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Makes load until `stop`, then lets the ops in flight end. `next` makes the op that was to start at this instant;
/// `record` takes what it gave.
pub(crate) async fn drive<F: Future>(
    pace: Pace,
    alarm: Alarm,
    stop: &CancellationToken,
    mut next: impl FnMut(Instant) -> F,
    mut record: impl FnMut(F::Output),
) {
    let recorder = Arc::clone(&pace.recorder);
    let recorder = &*recorder;
    let mut pacer = Pacer::new(pace, alarm);
    let mut in_flight = FuturesUnordered::new();
    loop {
        match pacer.next(&mut in_flight, stop).await {
            Step::Stopped => break,
            Step::Ended(ended) => record(ended),
            Step::Start(start) => {
                let op = next(start.intended);
                in_flight.push(async move {
                    start.count(recorder);
                    op.await
                });
            }
        }
    }
    let drain = async {
        while let Some(ended) = in_flight.next().await {
            record(ended);
        }
    };
    if tokio::time::timeout(DRAIN, drain).await.is_err() {
        tracing::warn!("ops were still in flight {DRAIN:?} after the end of the load; they are not counted");
    }
}
