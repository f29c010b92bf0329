//! The statistics of a verdict: pure functions of numbers that know nothing of journals and clients.
//!
//! All of it is arithmetic that IEEE 754 defines exactly (no logarithm, no random source of the machine's), so the same
//! numbers give the same bytes everywhere. The thresholds were tuned by simulation; `tests` measures what they do.

pub mod baseline;
pub mod bootstrap;
mod dice;
mod interval;
mod proportion;
pub mod quantile;
pub mod recovery;
mod robust;
#[cfg(test)]
mod tests;

pub use baseline::Baseline;
pub use interval::{Answer, Interval};
pub use proportion::{wilson, zero_in};
pub use robust::{mad_sigma, median};

/// z of a two-sided interval of 95 %.
pub const Z_95: f64 = 1.96;
/// z of a two-sided interval of 99 %.
pub const Z_99: f64 = 2.576;

/// One second of a run. Rules are about seconds in a row: a second that was not observed keeps its place, with a goodput
/// of NaN, and is then never a good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// Ops that succeeded, per second. In an open loop the caller takes the randomness of arrivals out first.
    pub goodput: f64,
    /// Ops that were asked for, per second.
    pub offered: f64,
    /// Share of the ops that failed, 0-1.
    pub error_share: f64,
    /// 99th percentile of their latency, ms; `None`: too few ops to say.
    pub p99_ms: Option<f64>,
    /// Share of the ops that the generator began more than 10 ms late, 0-1.
    pub late_share: f64,
    /// Share of the ops that it did not begin at all, 0-1.
    pub dropped_share: f64,
}

#[cfg(test)]
impl Second {
    /// A good one.
    fn good() -> Self {
        Self {
            goodput: 1000.0,
            offered: 1000.0,
            error_share: 0.0,
            p99_ms: Some(2.0),
            late_share: 0.0,
            dropped_share: 0.0,
        }
    }
}

/// Share of ops that failed, or were late, over `seconds`: each weighs what it offered.
fn pooled(seconds: &[Second], share: impl Fn(&Second) -> f64) -> f64 {
    let offered: f64 = seconds.iter().map(|second| second.offered).sum();
    if offered > 0.0 {
        seconds.iter().map(|second| share(second) * second.offered).sum::<f64>() / offered
    } else {
        mean(seconds.iter().map(share))
    }
}

/// NaN of nothing.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}
