//! The one loop that makes load: starts ops as a pace says, and hands over what has ended. Which op is next, and what
//! becomes of one that has ended, is the caller's.

use std::time::Duration;

use alarm::Alarm;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::arrivals::pacer::{Pace, Pacer, Start, Step};

/// Ops in flight when the load stops may take this long to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Makes load until `stop`, then lets the ops in flight end. `next` makes the op that starts now, and begins it when it is
/// first polled; `record` takes what it gave.
pub(crate) async fn drive<F: Future>(
    pace: Pace,
    alarm: Alarm,
    stop: &CancellationToken,
    mut next: impl FnMut(Start) -> F,
    mut record: impl FnMut(F::Output),
) {
    let mut pacer = Pacer::new(pace, alarm);
    let mut in_flight = FuturesUnordered::new();
    loop {
        match pacer.next(&mut in_flight, stop).await {
            Step::Stopped => break,
            Step::Ended(ended) => record(ended),
            // Not wrapped in another future: each would be as large again as the op's, which is moved for every op.
            Step::Start(start) => in_flight.push(next(start)),
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
