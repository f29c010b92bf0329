//! When ops start: how starts are spaced ([`Arrivals`]), at which rates ([`Rate`], [`Profile`]), the intended instants
//! that follow from it ([`Schedule`]), and who keeps to them (`pacer`).

pub(crate) mod pacer;
mod profile;
mod schedule;

use std::str::FromStr;

pub use profile::{Profile, Step};
pub use schedule::Schedule;

/// How starts are spaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Closed loop: the next op starts when one has ended.
    Closed,
    /// Open loop with exponential gaps, ops/s.
    Poisson(f64),
    /// Open loop with equal gaps, ops/s.
    Constant(f64),
}

impl Arrivals {
    /// The share of one of `shards` equal drivers.
    pub fn share(self, shards: usize) -> Self {
        let n = shards as f64;
        match self {
            Arrivals::Closed => Arrivals::Closed,
            Arrivals::Poisson(rate) => Arrivals::Poisson(rate / n),
            Arrivals::Constant(rate) => Arrivals::Constant(rate / n),
        }
    }

    /// The same spacing at another rate; a closed loop stays closed.
    pub fn with_rate(self, ops_per_s: f64) -> Self {
        match self {
            Arrivals::Closed => Arrivals::Closed,
            Arrivals::Poisson(_) => Arrivals::Poisson(ops_per_s),
            Arrivals::Constant(_) => Arrivals::Constant(ops_per_s),
        }
    }

    /// ops/s of an open loop.
    pub fn rate(self) -> Option<f64> {
        match self {
            Arrivals::Closed => None,
            Arrivals::Poisson(rate) | Arrivals::Constant(rate) => Some(rate),
        }
    }
}

/// Arrival processes of an open loop, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivalKind {
    /// Exponential gaps.
    Poisson,
    /// Equal gaps.
    Constant,
}

impl FromStr for ArrivalKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "poisson" => Ok(ArrivalKind::Poisson),
            "constant" => Ok(ArrivalKind::Constant),
            _ => Err("write poisson or constant".to_owned()),
        }
    }
}

/// A rate in ops/s that a schedule can follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

/// Slowest and fastest rate, ops/s.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=10_000_000.0;

impl Rate {
    /// `None`: not between the slowest and the fastest rate.
    pub fn new(ops_per_s: f64) -> Option<Self> {
        RATES.contains(&ops_per_s).then_some(Self(ops_per_s))
    }

    /// Arrivals at this rate.
    pub fn with(self, kind: ArrivalKind) -> Arrivals {
        match kind {
            ArrivalKind::Poisson => Arrivals::Poisson(self.0),
            ArrivalKind::Constant => Arrivals::Constant(self.0),
        }
    }

    /// ops/s.
    pub fn ops_per_s(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.parse().map_err(|_| "not a number of ops per second".to_owned())?;
        Rate::new(rate).ok_or_else(|| RateError::OutOfRange(rate).to_string())
    }
}

/// Why a load does not take a rate.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RateError {
    /// Slower or faster than a schedule can follow.
    #[error("a rate lies between {min} and {max} ops per second", min = RATES.start(), max = RATES.end())]
    OutOfRange(f64),
    /// Starts follow completions, there is no rate.
    #[error("a closed loop has no rate; start the load with one")]
    ClosedLoop,
}
