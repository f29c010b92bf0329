//! Intervals of shares.

use super::Interval;

/// Wilson's interval for the share of `successes` in `n`; from 0 to 1 without a sample. `z` as [`super::Z_95`].
pub fn wilson(successes: u64, n: u64, z: f64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = n as f64;
    let p = (successes as f64 / n).min(1.0);
    let z2 = z * z;
    let middle = p + z2 / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // Rounding must not move an end past a share that was seen.
    Interval { low: ((middle - half) / scale).clamp(0.0, p), high: ((middle + half) / scale).clamp(p, 1.0) }
}

/// Upper bound at 95 % of a share that was never seen in `n`: 3 / n. To claim 0.1 % or less takes 3 000.
pub fn zero_in(n: u64) -> f64 {
    if n == 0 { 1.0 } else { (3.0 / n as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::Z_95;
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook_and_never_leave_0_to_1() {
        let near = |got: Interval, low: f64, high: f64| {
            assert!((got.low - low).abs() < 5e-5 && (got.high - high).abs() < 5e-5, "{got:?}");
        };
        near(wilson(0, 10, Z_95), 0.0, 0.27754);
        near(wilson(10, 10, Z_95), 0.72246, 1.0);
        near(wilson(81, 263, Z_95), 0.25529, 0.36621);
        near(wilson(1, 2_000, Z_95), 0.00009, 0.00283);
        assert_eq!(wilson(0, 0, Z_95), Interval { low: 0.0, high: 1.0 });
        assert_eq!(wilson(9, 3, Z_95).high, 1.0);
        for (successes, n) in [(u64::MAX, u64::MAX), (0, u64::MAX), (1, u64::MAX), (u64::MAX - 1, u64::MAX)] {
            let got = wilson(successes, n, Z_95);
            assert!(0.0 <= got.low && got.low <= got.high && got.high <= 1.0, "{got:?}");
        }
    }

    #[test]
    fn what_was_never_seen_may_still_be_three_in_n() {
        assert_eq!((zero_in(0), zero_in(2), zero_in(3_000)), (1.0, 1.0, 0.001));
    }
}
