//! What a search has found so far.

use crate::knee::{Knee, knee};
use crate::step::{Measured, Peak};
use crate::usl::{Usl, fit};

/// One step upwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// ops/s that were asked for.
    pub rate: f64,
    /// ops/s that succeeded.
    pub throughput: f64,
    /// Mean latency, ms.
    pub avg_ms: f64,
    /// p99 of the latency, ms.
    pub p99_ms: f64,
    /// Share (0-1) of ended ops that failed.
    pub errors: f64,
}

/// Load above what was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overload {
    /// How far above.
    pub factor: f64,
    /// ops/s that succeeded.
    pub throughput: f64,
    /// The same as a share of the highest of all steps.
    pub of_peak: f64,
    /// Too little of it.
    pub collapsed: bool,
}

/// One rate on the way up and on the way down: shares (0-1) of the offered ops that succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hysteresis {
    /// ops/s.
    pub rate: f64,
    /// Upwards.
    pub up: f64,
    /// Downwards, after the overload.
    pub down: f64,
    /// By more than is allowed.
    pub differs: bool,
}

/// What has been found so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchReport {
    /// The highest rate that keeps the promise, ops/s.
    pub rate: Option<f64>,
    /// From the lowest rate that failed (or was confirmed) to the lowest bound above, ops/s.
    pub interval: Option<(f64, f64)>,
    /// The rate that held up for longer, ops/s.
    pub confirmed: Option<f64>,
    /// The highest rate allowed was reached, and kept the promise.
    pub at_max: bool,
    /// The step with the highest throughput.
    pub peak: Option<Peak>,
    /// Every step of ramp, bisection and confirmation, in order.
    pub points: Vec<Point>,
    /// Rates that passed.
    pub passed: Vec<f64>,
    /// Rates that failed.
    pub failed: Vec<f64>,
    /// Above what was found.
    pub overload: Vec<Overload>,
    /// After the overload; `Some(None)`: not within the step.
    pub time_to_recover_s: Option<Option<f64>>,
    /// The ramp in both directions.
    pub mirror: Vec<Hysteresis>,
}

impl SearchReport {
    pub(super) fn saw(&mut self, rate: f64, measured: &Measured) {
        self.points.push(Point {
            rate,
            throughput: measured.throughput(),
            avg_ms: measured.avg_ms,
            p99_ms: measured.p99_ms,
            errors: measured.error_share(),
        });
    }

    /// Where p99 leaves its floor; `Err`: nowhere, and why.
    pub fn knee(&self) -> Result<Knee, String> {
        let points: Vec<(f64, f64)> = self.points.iter().map(|point| (point.rate, point.p99_ms)).collect();
        knee(&points)
    }

    /// The law of throughput over concurrency; `Err`: none is believed, and why.
    pub fn usl(&self) -> Result<Usl, String> {
        let concurrency = |point: &Point| point.throughput * point.avg_ms / 1e3;
        let points: Vec<(f64, f64)> =
            self.points.iter().map(|point| (concurrency(point), point.throughput)).collect();
        fit(&points)
    }
}
