//! What can be seen of a database.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Waits in µs.
pub type Waits = Histogram<u64>;

/// Longest wait that is told apart, µs; longer ones are recorded as this.
const WAIT_MAX_US: u64 = 600_000_000;

/// An empty histogram of 1 µs to ten minutes, within 1 %.
#[expect(clippy::expect_used, reason = "constant bounds that the library accepts; a test calls it")]
pub(crate) fn waits() -> Waits {
    Waits::new_with_bounds(1, WAIT_MAX_US, 2).expect("valid bounds")
}

/// Counters since the start, and gauges of this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Queries that were asked, the refused ones included.
    pub demanded: u64,
    /// Not taken in, or pushed out by a newer one, because the queue was full.
    pub refused: u64,
    /// Of `refused`: the queue had no limit of its own and reached [`crate::QUEUE_MAX`].
    pub overflowed: u64,
    /// Served to the end, whether somebody still waited or not.
    pub served: u64,
    /// Of `served`: the caller had given up before.
    pub in_vain: u64,
    /// Thrown away when their turn came, because the caller had given up.
    pub expired: u64,
    /// Thrown away with the queue.
    pub cleared: u64,
    /// Queued now.
    pub queued: usize,
    /// The longest that the queue ever was.
    pub queued_max: usize,
    /// Being served now.
    pub in_service: usize,
    /// How long the oldest queued query has waited.
    pub oldest: Duration,
}
