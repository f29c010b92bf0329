//! What the client does without a fault, and whether that is steady enough to compare with.

use std::fmt;

use super::{Second, mad_sigma, median, pooled};

/// Seconds before the fault that make the baseline; those before are warming up.
pub const SECONDS_MAX: usize = 30;
/// Fewer seconds make none. A full run has 20 or more; the quick one has 10, of which one may be lost at each end.
pub const SECONDS_MIN: usize = 8;
/// Spread over median above which no drop of some percent can be seen.
pub const NOISE_MAX: f64 = 0.15;
/// Difference between the medians of the two halves, over the median.
pub const DRIFT_MAX: f64 = 0.05;
/// Share of failed ops. On a machine with other work a stall of a quarter of a second fails some that are nobody's fault; what
/// is asked of a client under a fault leaves more room than this.
pub const ERRORS_MAX: f64 = 0.005;
/// Share of ops that began more than 10 ms late. They are ops like others: goodput and errors do not show it, a 90th percentile hardly,
/// and a 99th is compared with the baseline's own, which has them too. Beside four busy loops on two processors 1 to 2 % are late,
/// beside eight 2 to 6 %. Not more than the share from which `busy` calls a tick a stall.
pub const LATE_MAX: f64 = 0.05;
/// Share of ops that never began: of them nothing is known.
pub const DROPPED_MAX: f64 = 0.01;

/// The client without a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// Seconds that it was taken from.
    pub seconds: usize,
    /// Median of their goodputs, ops/s.
    pub median: f64,
    /// Spread of their goodputs as a standard deviation, ops/s.
    pub sigma: f64,
    /// Share of failed ops, 0-1.
    pub error_share: f64,
    /// Median of the seconds' 99th percentiles, ms; `None`: no second had one.
    pub p99_ms: Option<f64>,
}

impl Baseline {
    /// Spread as a share of the median.
    pub fn noise(&self) -> f64 {
        self.sigma / self.median
    }
}

/// One reason why seconds make no baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Defect {
    /// Fewer seconds were observed than [`SECONDS_MIN`].
    TooFew {
        /// So many.
        seconds: usize,
    },
    /// Nothing succeeded in most seconds.
    Idle,
    /// Goodput spreads too much.
    Noisy {
        /// Spread over median.
        noise: f64,
    },
    /// The second half is another than the first.
    Drifting {
        /// Median of the first half, ops/s.
        first: f64,
        /// Median of the second half, ops/s.
        second: f64,
    },
    /// Ops failed without a fault.
    Errors {
        /// Share of them.
        share: f64,
    },
    /// The generator was the limit: ops began too late.
    Late {
        /// Share of them.
        share: f64,
    },
    /// The generator was the limit: ops did not begin at all.
    Dropped {
        /// Share of them.
        share: f64,
    },
}

impl Defect {
    /// The run says nothing about the client, and would not if it were repeated as it is. Otherwise another run may do.
    pub fn is_invalid(&self) -> bool {
        match self {
            Self::Idle | Self::Errors { .. } | Self::Late { .. } | Self::Dropped { .. } => true,
            Self::TooFew { .. } | Self::Noisy { .. } | Self::Drifting { .. } => false,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooFew { seconds } => {
                write!(
                    f,
                    "{seconds} s were observed before the fault; a baseline takes {SECONDS_MIN} or more"
                )
            }
            Self::Idle => write!(f, "no goodput before the fault"),
            Self::Noisy { noise } => {
                let max = NOISE_MAX * 100.0;
                write!(f, "goodput before the fault spreads by {:.1} %, more than {max} %", noise * 100.0)
            }
            Self::Drifting { first, second } => {
                let max = DRIFT_MAX * 100.0;
                write!(
                    f,
                    "goodput drifts before the fault, from {first:.0} to {second:.0} ops/s: more than {max} %"
                )
            }
            Self::Errors { share } => {
                let max = ERRORS_MAX * 100.0;
                write!(f, "{:.2} % of the ops fail without a fault, more than {max} %", share * 100.0)
            }
            Self::Late { share } => {
                let max = LATE_MAX * 100.0;
                let late = share * 100.0;
                write!(
                    f,
                    "the generator is overloaded: {late:.2} % of the ops began over 10 ms late, more than {max} %"
                )
            }
            Self::Dropped { share } => {
                let (max, dropped) = (DROPPED_MAX * 100.0, share * 100.0);
                write!(
                    f,
                    "the generator is overloaded: {dropped:.2} % of the ops never began, more than {max} %"
                )
            }
        }
    }
}

/// Why seconds make no baseline; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfit {
    /// Every reason, those that make the run invalid first.
    pub defects: Vec<Defect>,
}

impl Unfit {
    /// Does one of the reasons make the run invalid?
    pub fn is_invalid(&self) -> bool {
        self.defects.iter().any(Defect::is_invalid)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, defect) in self.defects.iter().enumerate() {
            let before = if index == 0 { "" } else { "; " };
            write!(f, "{before}{defect}")?;
        }
        Ok(())
    }
}

/// The baseline of the last [`SECONDS_MAX`] of `seconds`, or every rule that they break. Seconds that were not observed are
/// left out.
pub fn assess(seconds: &[Second]) -> Result<Baseline, Unfit> {
    let last = &seconds[seconds.len().saturating_sub(SECONDS_MAX)..];
    let observed: Vec<Second> = last.iter().copied().filter(|second| second.goodput.is_finite()).collect();
    let goodputs: Vec<f64> = observed.iter().map(|second| second.goodput).collect();
    let (Some(middle), Some(sigma)) = (median(&goodputs), mad_sigma(&goodputs)) else {
        return Err(Unfit { defects: vec![Defect::TooFew { seconds: 0 }] });
    };
    let p99s: Vec<f64> = observed.iter().filter_map(|second| second.p99_ms).collect();
    let baseline = Baseline {
        seconds: observed.len(),
        median: middle,
        sigma,
        error_share: pooled(&observed, |second| second.error_share),
        p99_ms: median(&p99s),
    };
    let late = pooled(&observed, |second| second.late_share);
    let dropped = pooled(&observed, |second| second.dropped_share);
    let (first, second) = goodputs.split_at(goodputs.len() / 2);
    let halves = median(first).zip(median(second)).unwrap_or((middle, middle));

    let mut defects = Vec::new();
    let mut unless = |holds: bool, defect: Defect| {
        if !holds {
            defects.push(defect);
        }
    };
    let flows = middle > 0.0;
    unless(flows, Defect::Idle);
    unless(baseline.error_share <= ERRORS_MAX, Defect::Errors { share: baseline.error_share });
    unless(late <= LATE_MAX, Defect::Late { share: late });
    unless(dropped <= DROPPED_MAX, Defect::Dropped { share: dropped });
    unless(observed.len() >= SECONDS_MIN, Defect::TooFew { seconds: observed.len() });
    unless(!flows || sigma <= NOISE_MAX * middle, Defect::Noisy { noise: baseline.noise() });
    let drift = Defect::Drifting { first: halves.0, second: halves.1 };
    unless(!flows || (halves.0 - halves.1).abs() <= DRIFT_MAX * middle, drift);
    if defects.is_empty() { Ok(baseline) } else { Err(Unfit { defects }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defects(seconds: &[Second]) -> Vec<Defect> {
        assess(seconds).unwrap_err().defects
    }

    #[test]
    fn only_the_last_thirty_seconds_are_the_baseline() {
        let mut seconds = vec![Second { goodput: 1.0, error_share: 1.0, ..Second::good() }; 30];
        seconds.extend([Second::good(); 30]);
        let baseline = assess(&seconds).unwrap();
        let expected =
            Baseline { seconds: 30, median: 1000.0, sigma: 0.0, error_share: 0.0, p99_ms: Some(2.0) };
        assert_eq!((baseline, baseline.noise()), (expected, 0.0));
    }

    #[test]
    fn each_rule_rejects_just_outside_of_its_limit_and_not_just_inside() {
        let with = |change: &dyn Fn(usize, &mut Second)| {
            let mut seconds = [Second::good(); 20];
            seconds.iter_mut().enumerate().for_each(|(index, second)| change(index, second));
            assess(&seconds)
        };
        // Half above and half below, by turns: MAD = step, sigma = 1.4826 * step.
        let noise =
            |step: f64| with(&|index, second| second.goodput += if index % 2 == 0 { step } else { -step });
        assert!(noise(101.0).is_ok());
        assert!(matches!(noise(102.0).unwrap_err().defects[..], [Defect::Noisy { .. }]));
        let drift = |step: f64| with(&|index, second| second.goodput += if index < 10 { 0.0 } else { step });
        assert!(drift(51.0).is_ok());
        let drifting = Defect::Drifting { first: 1000.0, second: 1052.0 };
        assert_eq!(drift(52.0).unwrap_err().defects, [drifting]);
        assert!(with(&|_, second| second.error_share = 0.999 * ERRORS_MAX).is_ok());
        let failing = with(&|_, second| second.error_share = 1.1 * ERRORS_MAX).unwrap_err();
        assert!(failing.is_invalid() && matches!(failing.defects[..], [Defect::Errors { .. }]));
        assert!(with(&|_, second| second.late_share = 0.999 * LATE_MAX).is_ok());
        let late = with(&|_, second| second.late_share = 1.1 * LATE_MAX).unwrap_err();
        assert!(late.is_invalid() && matches!(late.defects[..], [Defect::Late { .. }]));
        assert!(with(&|_, second| second.dropped_share = 0.999 * DROPPED_MAX).is_ok());
        let dropped = with(&|_, second| second.dropped_share = 1.1 * DROPPED_MAX).unwrap_err();
        assert!(dropped.is_invalid() && matches!(dropped.defects[..], [Defect::Dropped { .. }]));
        assert!(assess(&[Second::good(); SECONDS_MIN]).is_ok());
        let few = assess(&[Second::good(); SECONDS_MIN - 1]).unwrap_err();
        assert_eq!(
            (few.is_invalid(), few.defects),
            (false, vec![Defect::TooFew { seconds: SECONDS_MIN - 1 }])
        );
    }

    #[test]
    fn what_was_not_observed_is_left_out_and_nothing_is_no_baseline() {
        let mut seconds = vec![Second { goodput: f64::NAN, ..Second::good() }; 5];
        assert_eq!(defects(&seconds), [Defect::TooFew { seconds: 0 }]);
        assert_eq!(defects(&[]), [Defect::TooFew { seconds: 0 }]);
        seconds.extend([Second::good(); 7]);
        assert_eq!(defects(&seconds), [Defect::TooFew { seconds: 7 }]);
        seconds.push(Second::good());
        assert_eq!(assess(&seconds).map(|baseline| baseline.seconds), Ok(8));
        let idle = Second { goodput: 0.0, offered: 0.0, p99_ms: None, ..Second::good() };
        let unfit = assess(&[idle; 20]).unwrap_err();
        assert_eq!((unfit.is_invalid(), unfit.to_string()), (true, "no goodput before the fault".to_owned()));
    }

    #[test]
    fn each_defect_has_its_own_words_and_a_busy_second_weighs_more() {
        let all = [
            Defect::TooFew { seconds: 3 },
            Defect::Idle,
            Defect::Noisy { noise: 0.2 },
            Defect::Drifting { first: 100.0, second: 120.0 },
            Defect::Errors { share: 0.02 },
            Defect::Late { share: 0.1 },
            Defect::Dropped { share: 0.02 },
        ];
        let texts: std::collections::BTreeSet<String> = all.iter().map(Defect::to_string).collect();
        assert_eq!(texts.len(), all.len());
        let text = Unfit { defects: all[2..4].to_vec() }.to_string();
        assert_eq!(
            text,
            "goodput before the fault spreads by 20.0 %, more than 15 %; \
             goodput drifts before the fault, from 100 to 120 ops/s: more than 5 %"
        );
        let mut seconds = [Second::good(); 20];
        seconds[3] = Second { offered: 1.0, error_share: 1.0, ..Second::good() };
        assert!(assess(&seconds).is_ok(), "one op failed of 19 001");
    }
}
