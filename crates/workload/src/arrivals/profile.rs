//! Rates in steps: `500/10s,1000/10s,2000/30s`.

use std::str::FromStr;
use std::time::Duration;

use super::Rate;

/// One rate and how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// ops/s.
    pub rate: Rate,
    /// How long.
    pub lasts: Duration,
}

/// Steps one after the other; there is at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    first: Rate,
    steps: Vec<Step>,
    lasts: Duration,
}

impl Profile {
    /// One rate for so long; `None`: not at all, or for more than a year.
    pub fn single(rate: Rate, lasts: Duration) -> Option<Self> {
        let in_range = !lasts.is_zero() && lasts <= duration::LONGEST;
        in_range.then(|| Self { first: rate, steps: vec![Step { rate, lasts }], lasts })
    }

    /// The same steps for one of `shards` equal generators.
    pub fn share(&self, shards: u32) -> Self {
        let part = |rate: Rate| Rate::new(rate.ops_per_s() / f64::from(shards)).unwrap_or(rate);
        let steps = self.steps.iter().map(|step| Step { rate: part(step.rate), lasts: step.lasts });
        Self { first: part(self.first), steps: steps.collect(), lasts: self.lasts }
    }

    /// The rate that it begins with.
    pub fn first(&self) -> Rate {
        self.first
    }

    /// In their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// From the begin of the first step to the end of the last.
    pub fn duration(&self) -> Duration {
        self.lasts
    }

    /// When each step begins, and its ops/s.
    pub fn begins(&self) -> impl Iterator<Item = (Duration, f64)> {
        let mut after = Duration::ZERO;
        self.steps.iter().map(move |step| {
            let begin = after;
            after += step.lasts;
            (begin, step.rate.ops_per_s())
        })
    }

    /// ops/s at a moment; 0 after the end.
    pub fn rate_at(&self, after: Duration) -> f64 {
        if after >= self.lasts {
            return 0.0;
        }
        self.begins().take_while(|(begin, _)| *begin <= after).last().map_or(0.0, |(_, rate)| rate)
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps = text.split(',').enumerate().map(|(index, text)| {
            let text = text.trim();
            text.parse().map_err(|error: String| format!("step {} ({text:?}): {error}", index + 1))
        });
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        let lasts = steps.iter().try_fold(Duration::ZERO, |sum, step| sum.checked_add(step.lasts));
        match (steps.first(), lasts) {
            (Some(first), Some(lasts)) if lasts <= duration::LONGEST => {
                Ok(Self { first: first.rate, steps, lasts })
            }
            _ => Err("a profile lasts a year at most".to_owned()),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rate, lasts) = text.split_once('/').ok_or("write RATE/DURATION, such as 500/10s")?;
        let rate = rate.trim().parse()?;
        let lasts = duration::positive(lasts.trim()).map_err(|error| error.to_string())?;
        Ok(Self { rate, lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_its_steps() {
        let profile: Profile = "500/10s, 1000/1m30s ,0.5/250ms".parse().unwrap();
        let steps: Vec<_> = profile.steps().iter().map(|s| (s.rate.ops_per_s(), s.lasts)).collect();
        let ms = Duration::from_millis;
        assert_eq!(steps, [(500.0, ms(10_000)), (1000.0, ms(90_000)), (0.5, ms(250))]);
        assert_eq!((profile.first().ops_per_s(), profile.duration()), (500.0, ms(100_250)));
        let rates = [0, 9_999, 10_000, 99_999, 100_249, 100_250].map(|at| profile.rate_at(ms(at)));
        let rate = profile.first();
        assert_eq!(Profile::single(rate, ms(10_000)), "500/10s".parse().ok());
        assert_eq!([ms(0), duration::LONGEST * 2].map(|lasts| Profile::single(rate, lasts)), [None, None]);
        assert_eq!(rates, [500.0, 500.0, 1000.0, 1000.0, 0.5, 0.0]);
    }

    #[test]
    fn errors_name_the_step_and_say_what_to_write() {
        let error = |text: &str| text.parse::<Profile>().unwrap_err();
        let write = "write RATE/DURATION, such as 500/10s";
        assert_eq!(error(""), format!("step 1 (\"\"): {write}"));
        assert_eq!(error("500/10s,1000"), format!("step 2 (\"1000\"): {write}"));
        assert_eq!(error("500/10s,"), format!("step 2 (\"\"): {write}"));
        assert_eq!(error("x/10s"), "step 1 (\"x/10s\"): not a number of ops per second");
        assert!(error("0/10s").ends_with("a rate lies between 0.01 and 10000000 ops per second"));
        assert!(error("-5/10s").contains("a rate lies between"));
        assert!(error("NaN/10s").contains("a rate lies between"));
        for text in ["5/0s", "5/10", "5/10s/3", "5/999999999999years", "5/18446744073709551615s"] {
            let told = format!("step 1 ({text:?}): expected a duration above 0s and of at most 1year");
            assert!(error(text).starts_with(&told), "{}", error(text));
        }
        assert_eq!(error("5/300days,6/300days"), "a profile lasts a year at most");
    }
}
