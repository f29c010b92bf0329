//! When ops start: a stream of intended instants that the one driver loop follows.

use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

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
        if RATES.contains(&rate) {
            return Ok(Rate(rate));
        }
        Err(format!("a rate lies between {} and {} ops per second", RATES.start(), RATES.end()))
    }
}

/// The intended instants of one driver's open loop.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    rng: ChaCha8Rng,
    next: Instant,
}

/// Longest gap between two starts, so that a tiny rate cannot overflow the clock.
const MAX_GAP: Duration = Duration::from_secs(3600);

impl Schedule {
    /// Starts at `start`; none for a closed loop or a rate that is not positive. `phase` (0-1) shifts constant
    /// arrivals within their first gap, so that parallel drivers interleave.
    pub fn new(arrivals: Arrivals, start: Instant, phase: f64, rng: ChaCha8Rng) -> Option<Self> {
        let rate = arrivals.rate()?;
        if rate.is_nan() || rate <= 0.0 {
            return None;
        }
        let mut schedule = Self { arrivals, rng, next: start };
        let first = match arrivals {
            Arrivals::Constant(rate) => gap(phase / rate),
            _ => schedule.draw_gap(),
        };
        schedule.next += first;
        Some(schedule)
    }

    /// The next intended start.
    pub fn next_start(&self) -> Instant {
        self.next
    }

    /// Takes the next intended start off the schedule.
    pub fn take(&mut self) -> Instant {
        let intended = self.next;
        let gap = self.draw_gap();
        self.next += gap;
        intended
    }

    fn draw_gap(&mut self) -> Duration {
        match self.arrivals {
            Arrivals::Closed => Duration::ZERO,
            Arrivals::Constant(rate) => gap(1.0 / rate),
            // 1 - u lies in (0, 1]: its logarithm is finite.
            Arrivals::Poisson(rate) => gap(-(1.0 - self.rng.random::<f64>()).ln() / rate),
        }
    }
}

fn gap(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_GAP).min(MAX_GAP)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn gaps(arrivals: Arrivals, n: usize) -> Vec<f64> {
        let start = Instant::now();
        let mut schedule = Schedule::new(arrivals, start, 0.0, ChaCha8Rng::seed_from_u64(5)).unwrap();
        let mut last = start;
        let mut taken = Vec::new();
        for _ in 0..n {
            let at = schedule.take();
            taken.push((at - last).as_secs_f64());
            last = at;
        }
        taken
    }

    #[tokio::test]
    async fn poisson_gaps_have_the_mean_and_the_spread_of_their_rate() {
        let gaps = gaps(Arrivals::Poisson(1000.0), 100_000);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "coefficient of variation");
    }

    #[tokio::test]
    async fn constant_gaps_are_equal_and_shards_interleave() {
        assert!(gaps(Arrivals::Constant(500.0), 100).iter().skip(1).all(|g| (g - 0.002).abs() < 1e-6));
        let start = Instant::now();
        let rng = ChaCha8Rng::seed_from_u64(5);
        let schedule = Schedule::new(Arrivals::Constant(100.0), start, 0.25, rng).unwrap();
        assert_eq!(schedule.next_start() - start, Duration::from_micros(2500));
    }

    #[tokio::test]
    async fn a_rate_that_is_none_gives_no_schedule_and_a_tiny_one_no_overflow() {
        let rng = || ChaCha8Rng::seed_from_u64(5);
        let now = Instant::now();
        for arrivals in [Arrivals::Closed, Arrivals::Poisson(0.0), Arrivals::Poisson(f64::NAN)] {
            assert!(Schedule::new(arrivals, now, 0.0, rng()).is_none());
        }
        let mut slow = Schedule::new(Arrivals::Constant(1e-300), now, 0.0, rng()).unwrap();
        assert!(slow.take() + MAX_GAP >= slow.next_start());
    }
}
