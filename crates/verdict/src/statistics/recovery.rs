//! When a client is as before, and stays so.

use super::{Baseline, Second, mean, pooled};

/// Seconds over which everything must be as before.
pub const HORIZON: usize = 10;
/// The same for a baseline noisier than [`NOISY`]: ten seconds of it look recovered too easily.
pub const HORIZON_NOISY: usize = 20;
/// Spread over median above which [`HORIZON_NOISY`] holds.
pub const NOISY: f64 = 0.10;
/// Fewer seconds than this show no recovery that lasts.
pub const HORIZON_MIN: usize = 5;
/// Share of the baseline's median that the mean goodput must reach.
const MEAN: f64 = 0.95;
/// Of 10 seconds, those that must each be within the band.
const WITHIN: usize = 8;
/// The band below the median: this share of it or three sigma, whichever is wider.
const BAND: f64 = 0.05;
/// Errors above the baseline's, as a share of the ops.
const ERRORS: f64 = 0.005;
/// p99 over the baseline's: this factor or so many ms more, whichever is higher.
const P99: (f64, f64) = (2.0, 5.0);

/// Over how many seconds recovery is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// So many are used.
    pub seconds: usize,
    /// So many the noise of the baseline asks for; more than `seconds` when the phase is too short.
    pub wanted: usize,
}

/// The horizon for a phase of `observed` seconds: what the noise asks for, but at most half of the phase, so that the
/// recovery has time to come before it has to last. A phase of 20 s has one of 10. `None`: shorter than [`HORIZON_MIN`].
pub fn horizon(baseline: &Baseline, observed: usize) -> Option<Horizon> {
    let wanted = if baseline.noise() > NOISY { HORIZON_NOISY } else { HORIZON };
    let seconds = wanted.min((observed / 2).max(HORIZON_MIN));
    (seconds <= observed).then_some(Horizon { seconds, wanted })
}

/// The first second from which `horizon` seconds on everything is as before: mean goodput within 5 % of the median, 8 of 10
/// seconds within its band, errors within 0.5 percentage points, p99 (8 of 10 seconds that have one) within twice or 5 ms.
pub fn find(seconds: &[Second], baseline: &Baseline, horizon: usize) -> Option<usize> {
    seconds.windows(horizon.max(1)).position(|window| recovered(window, baseline))
}

/// The second since which everything has been as before without a break until the last one.
pub fn held(seconds: &[Second], baseline: &Baseline, horizon: usize) -> Option<usize> {
    let windows = seconds.windows(horizon.max(1));
    let (all, held) = (windows.len(), windows.rev().take_while(|window| recovered(window, baseline)).count());
    (held > 0).then_some(all - held)
}

/// A p99 is as before up to this, of the same unit as `before`: ms.
pub fn p99_limit(before: f64) -> f64 {
    (P99.0 * before).max(before + P99.1)
}

fn recovered(window: &[Second], baseline: &Baseline) -> bool {
    let limit = baseline.median - (BAND * baseline.median).max(3.0 * baseline.sigma);
    let within = window.iter().filter(|second| second.goodput >= limit).count();
    let p99s: Vec<f64> = window.iter().filter_map(|second| second.p99_ms).collect();
    let p99_within = baseline.p99_ms.is_none_or(|before| {
        let limit = p99_limit(before);
        most(p99s.iter().filter(|p99| **p99 <= limit).count(), p99s.len())
    });
    mean(window.iter().map(|second| second.goodput)) >= MEAN * baseline.median
        && most(within, window.len())
        && pooled(window, |second| second.error_share) <= baseline.error_share + ERRORS
        && p99_within
}

fn most(part: usize, whole: usize) -> bool {
    part * 10 >= whole * WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: Baseline =
        Baseline { seconds: 30, median: 1000.0, sigma: 5.0, error_share: 0.0005, p99_ms: Some(2.0) };

    fn after(bad: Second, seconds: usize) -> Vec<Second> {
        [vec![bad; seconds], vec![Second::good(); 30]].concat()
    }

    fn found(seconds: &[Second]) -> Option<usize> {
        find(seconds, &BASELINE, HORIZON)
    }

    #[test]
    fn recovery_begins_with_the_first_of_ten_seconds_that_are_as_before() {
        assert_eq!(found(&after(Second::good(), 0)), Some(0));
        assert_eq!(found(&after(Second { goodput: 0.0, ..Second::good() }, 7)), Some(7));
        // At 90 % two seconds may be among the ten: 8 within the band, the mean 98 %.
        assert_eq!(found(&after(Second { goodput: 900.0, ..Second::good() }, 7)), Some(5));
        assert_eq!(found(&[Second::good(); 9]), None, "too short");
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn each_rule_alone_denies_recovery_just_outside_of_its_limit() {
        let all = |second: Second| found(&[second; 20]);
        assert_eq!(all(Second { goodput: 950.0, ..Second::good() }), Some(0));
        assert_eq!(all(Second { goodput: 949.0, ..Second::good() }), None);
        assert_eq!(all(Second { error_share: 0.0055, ..Second::good() }), Some(0));
        assert_eq!(all(Second { error_share: 0.0056, ..Second::good() }), None);
        assert_eq!(all(Second { p99_ms: Some(7.0), ..Second::good() }), Some(0));
        assert_eq!(all(Second { p99_ms: Some(7.1), ..Second::good() }), None);
        assert_eq!(
            all(Second { p99_ms: None, ..Second::good() }),
            Some(0),
            "what was not measured denies nothing"
        );
        // The mean alone is not enough: three of ten below the band, the others above the median.
        let seconds: Vec<Second> = (0..30)
            .map(|index| Second { goodput: if index % 10 < 3 { 940.0 } else { 1020.0 }, ..Second::good() })
            .collect();
        assert_eq!(found(&seconds), None);
        let wide = Baseline { sigma: 20.0, ..BASELINE };
        assert_eq!(find(&seconds, &wide, HORIZON), Some(0), "three sigma are wider than 5 %");
    }

    #[test]
    fn a_second_that_was_not_observed_is_not_a_good_one() {
        let mut seconds = after(Second::good(), 0);
        seconds[4].goodput = f64::NAN;
        assert_eq!(found(&seconds), Some(5));
        assert_eq!(held(&seconds, &BASELINE, HORIZON), Some(5));
    }

    #[test]
    fn held_is_broken_by_a_relapse_and_found_is_not() {
        let mut seconds = after(Second { goodput: 0.0, ..Second::good() }, 5);
        assert_eq!(held(&seconds, &BASELINE, HORIZON), Some(5));
        seconds[20].goodput = 0.0;
        assert_eq!((found(&seconds), held(&seconds, &BASELINE, HORIZON)), (Some(5), Some(21)));
        seconds.truncate(25);
        assert_eq!(held(&seconds, &BASELINE, HORIZON), None);
        assert_eq!(held(&[], &BASELINE, HORIZON), None);
    }

    #[test]
    fn the_horizon_fits_noise_and_phase() {
        let noisy = Baseline { sigma: 101.0, ..BASELINE };
        let of = |baseline: &Baseline, observed| horizon(baseline, observed).map(|h| (h.seconds, h.wanted));
        assert_eq!(of(&BASELINE, 60), Some((10, 10)));
        assert_eq!(of(&noisy, 60), Some((20, 20)));
        assert_eq!(of(&BASELINE, 20), Some((10, 10)), "a quick run");
        assert_eq!(of(&noisy, 20), Some((10, 20)));
        assert_eq!(of(&BASELINE, 12), Some((6, 10)));
        assert_eq!(of(&BASELINE, 5), Some((5, 10)));
        assert_eq!(of(&BASELINE, 4), None);
    }
}
