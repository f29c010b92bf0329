//! Quantiles by rank, with an interval that assumes nothing of the distribution.

use super::{Interval, Z_95};

/// Samples that must lie beyond a quantile: p99 takes 10 000, the median 200.
pub const BEYOND_MIN: u64 = 100;

/// A quantile of counted samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The value at rank n·q, rounded up.
    pub value: u64,
    /// The values at the ranks n·q ± 1.96·√(n·q·(1-q)).
    pub interval: Interval,
}

/// Too few samples lie beyond the quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew {
    /// Samples in all.
    pub samples: u64,
    /// How many there would have to be.
    pub needed: u64,
}

/// The quantile `q` (0-1) of samples given as ascending `(value, count)`; an error with fewer than [`BEYOND_MIN`] beyond.
pub fn by_rank(samples: &[(u64, u64)], q: f64) -> Result<Quantile, TooFew> {
    let count = samples.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    let q = q.clamp(0.0, 1.0);
    let rarer = q.min(1.0 - q);
    // The product is rounded to a millionth of a sample: 0.1 is no binary number.
    let needed = (BEYOND_MIN as f64 / rarer * 1e6).round() / 1e6;
    let n = count as f64;
    if count == 0 || n < needed {
        return Err(TooFew { samples: count, needed: needed.ceil() as u64 });
    }
    let half = Z_95 * (n * q * (1.0 - q)).sqrt();
    let at = |rank: f64| value_at(samples, rank.ceil().clamp(1.0, n) as u64);
    let interval = Interval { low: at(n * q - half) as f64, high: at(n * q + half) as f64 };
    Ok(Quantile { value: at(n * q), interval })
}

/// The value of the sample with this rank, from 1; the largest beyond the last.
fn value_at(samples: &[(u64, u64)], rank: u64) -> u64 {
    let mut seen = 0u64;
    let at = samples.iter().find(|(_, n)| {
        seen = seen.saturating_add(*n);
        seen >= rank
    });
    at.or(samples.last()).map_or(0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_has_the_interval_of_its_ranks() {
        // Value = rank.
        let samples: Vec<(u64, u64)> = (1..=10_000).map(|value| (value, 1)).collect();
        let p99 = by_rank(&samples, 0.99).unwrap();
        // 9900 ± 1.96 * sqrt(99) = 9900 ± 19.5
        assert_eq!(p99, Quantile { value: 9_900, interval: Interval { low: 9_881.0, high: 9_920.0 } });
        let p50 = by_rank(&samples, 0.5).unwrap();
        assert_eq!(p50, Quantile { value: 5_000, interval: Interval { low: 4_902.0, high: 5_098.0 } });
    }

    #[test]
    fn a_quantile_needs_a_hundred_samples_beyond_it() {
        for (q, needed) in [(0.99, 10_000), (0.9, 1_000), (0.5, 200), (0.1, 1_000), (0.999, 100_000)] {
            assert!(by_rank(&[(7, needed)], q).is_ok(), "{q}");
            assert_eq!(by_rank(&[(7, needed - 1)], q), Err(TooFew { samples: needed - 1, needed }), "{q}");
        }
        assert_eq!(by_rank(&[], 0.5), Err(TooFew { samples: 0, needed: 200 }));
        assert_eq!(by_rank(&[(7, u64::MAX)], 1.0), Err(TooFew { samples: u64::MAX, needed: u64::MAX }));
        assert_eq!(by_rank(&[(7, u64::MAX), (9, u64::MAX)], 0.99).unwrap().value, 7);
    }
}
