//! An interval, and the three answers that it can give.

use serde::Serialize;

/// Where a number lies with the confidence asked for; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an interval says to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The whole interval meets it.
    Pass,
    /// No part of it does.
    Fail,
    /// The limit lies within: more samples would tell.
    Inconclusive,
}

impl Interval {
    /// Is the number `limit` or more?
    pub fn at_least(&self, limit: f64) -> Answer {
        self.answer(self.low >= limit, self.high < limit)
    }

    /// Is the number `limit` or less?
    pub fn at_most(&self, limit: f64) -> Answer {
        self.answer(self.high <= limit, self.low > limit)
    }

    /// Is `value` in it?
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    fn answer(&self, pass: bool, fail: bool) -> Answer {
        match (pass, fail) {
            (true, _) => Answer::Pass,
            (_, true) => Answer::Fail,
            // NaN too: nothing is known.
            _ => Answer::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_belong_to_the_interval() {
        let interval = Interval { low: 0.9, high: 0.95 };
        for (limit, least, most) in [
            (0.89, Answer::Pass, Answer::Fail),
            (0.9, Answer::Pass, Answer::Inconclusive),
            (0.93, Answer::Inconclusive, Answer::Inconclusive),
            (0.95, Answer::Inconclusive, Answer::Pass),
            (0.96, Answer::Fail, Answer::Pass),
            (f64::NAN, Answer::Inconclusive, Answer::Inconclusive),
        ] {
            assert_eq!((interval.at_least(limit), interval.at_most(limit)), (least, most), "{limit}");
        }
        let nothing = Interval { low: f64::NAN, high: f64::NAN };
        assert_eq!((nothing.at_least(0.5), nothing.contains(0.5)), (Answer::Inconclusive, false));
    }
}
