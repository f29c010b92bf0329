//! What may be switched on, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use database::Order;

use crate::{BreakerRule, Policy};

/// Longest time of a backoff or an open breaker.
const TIME_MAX: Duration = Duration::from_secs(3_600);

/// One mitigation. As text: its name, and what it takes after a colon, such as `queue:0.5` or `breaker:5s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mitigation {
    /// `no-retries`.
    NoRetries,
    /// `budget:SHARE`: retries are at most this share of the loads.
    Budget(f64),
    /// `backoff:TIME`: a random wait up to this before a retry.
    Backoff(Duration),
    /// `queue:X`: the database's queue holds X times what it serves in a caller's patience.
    Queue(f64),
    /// `lifo`: the database serves the newest query first.
    Lifo,
    /// `drop-expired`: the database throws away what nobody waits for when its turn comes.
    DropExpired,
    /// `coalesce`: one query a key at a time.
    Coalesce,
    /// `late-fill`: an answer that nobody waits for any more fills the cache.
    LateFill,
    /// `aimd`: an adaptive limit of queries at once.
    Aimd,
    /// `breaker:TIME`: open for so long when half of the queries fail.
    Breaker(Duration),
    /// `ramp:TIME`: a breaker closes over so long; after `breaker`.
    Ramp(Duration),
    /// `failover`: the next node of the cache stands in for one that is down.
    Failover,
}

const NAMES: &str = "no-retries, budget:SHARE, backoff:TIME, queue:X, lifo, drop-expired, coalesce, late-fill, aimd, \
breaker:TIME, ramp:TIME, failover";

/// Why a text is no mitigation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MitigationError {
    /// There is none of that name.
    #[error("there is no mitigation {0:?}; there are: {NAMES}")]
    Unknown(String),
    /// It takes something else.
    #[error("{name}: expected {expected}, not {given:?}")]
    Value {
        /// Name of the mitigation.
        name: String,
        /// What it takes.
        expected: &'static str,
        /// What was written.
        given: String,
    },
}

impl FromStr for Mitigation {
    type Err = MitigationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, given) = match text.split_once(':') {
            Some((name, given)) => (name, Some(given)),
            None => (text, None),
        };
        let wrong = |expected| MitigationError::Value {
            name: name.to_owned(),
            expected,
            given: given.unwrap_or("").to_owned(),
        };
        let number = |most: f64, expected| {
            let value = given.and_then(|text| text.parse::<f64>().ok());
            value.filter(|value| *value > 0.0 && *value <= most).ok_or_else(|| wrong(expected))
        };
        let time = || {
            let time = given.and_then(|text| duration::within(duration::SHORTEST..=TIME_MAX, text).ok());
            time.ok_or_else(|| wrong("a time above 0s and of at most 1h, such as 5s"))
        };
        let mitigation = match name {
            "budget" => return Ok(Self::Budget(number(1.0, "a share above 0, such as 0.1")?)),
            "queue" => return Ok(Self::Queue(number(1e6, "a factor above 0, such as 0.5")?)),
            "backoff" => return Ok(Self::Backoff(time()?)),
            "breaker" => return Ok(Self::Breaker(time()?)),
            "ramp" => return Ok(Self::Ramp(time()?)),
            "no-retries" => Self::NoRetries,
            "lifo" => Self::Lifo,
            "drop-expired" => Self::DropExpired,
            "coalesce" => Self::Coalesce,
            "late-fill" => Self::LateFill,
            "aimd" => Self::Aimd,
            "failover" => Self::Failover,
            _ => return Err(MitigationError::Unknown(name.to_owned())),
        };
        if given.is_some() { Err(wrong("nothing after it")) } else { Ok(mitigation) }
    }
}

impl fmt::Display for Mitigation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRetries => f.write_str("no-retries"),
            Self::Budget(share) => write!(f, "budget:{share}"),
            Self::Backoff(most) => write!(f, "backoff:{most:?}"),
            Self::Queue(factor) => write!(f, "queue:{factor}"),
            Self::Lifo => f.write_str("lifo"),
            Self::DropExpired => f.write_str("drop-expired"),
            Self::Coalesce => f.write_str("coalesce"),
            Self::LateFill => f.write_str("late-fill"),
            Self::Aimd => f.write_str("aimd"),
            Self::Breaker(open) => write!(f, "breaker:{open:?}"),
            Self::Ramp(ramp) => write!(f, "ramp:{ramp:?}"),
            Self::Failover => f.write_str("failover"),
        }
    }
}

/// A database and the policy of its callers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Setup {
    /// The database.
    pub database: database::Config,
    /// What its callers do.
    pub policy: Policy,
    /// The next node of the cache stands in for one that is down; the cache's own matter.
    pub failover: bool,
}

impl Setup {
    /// The same with these mitigations, one after the other.
    pub fn with(mut self, mitigations: &[Mitigation]) -> Self {
        let breaker = |policy: &Policy| {
            policy.breaker.unwrap_or(BreakerRule { open: Duration::from_secs(5), ramp: Duration::ZERO })
        };
        for mitigation in mitigations {
            let (policy, queue) = (&mut self.policy, &mut self.database.queue);
            match *mitigation {
                Mitigation::NoRetries => policy.retries = 0,
                Mitigation::Budget(share) => policy.budget = Some(share),
                Mitigation::Backoff(most) => policy.backoff = Some(most),
                Mitigation::Lifo => queue.order = Order::Lifo,
                Mitigation::DropExpired => queue.drop_expired = true,
                Mitigation::Coalesce => policy.coalesce = true,
                Mitigation::LateFill => policy.late_fill = true,
                Mitigation::Aimd => policy.adaptive = true,
                Mitigation::Breaker(open) => policy.breaker = Some(BreakerRule { open, ..breaker(policy) }),
                Mitigation::Ramp(ramp) => policy.breaker = Some(BreakerRule { ramp, ..breaker(policy) }),
                Mitigation::Failover => self.failover = true,
                Mitigation::Queue(factor) => {
                    let served = self.database.capacity() * policy.patience.as_secs_f64();
                    // A database without a place would refuse all.
                    self.database.queue.limit = Some((served * factor).round().max(1.0) as usize);
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mitigation_is_read_as_it_is_shown() {
        for text in [
            "no-retries",
            "budget:0.1",
            "backoff:1s",
            "queue:0.5",
            "lifo",
            "drop-expired",
            "coalesce",
            "late-fill",
            "aimd",
            "breaker:5s",
            "ramp:250ms",
            "failover",
        ] {
            assert_eq!(text.parse::<Mitigation>().unwrap().to_string(), text);
            assert!(NAMES.contains(text.split(':').next().unwrap()));
        }
    }

    #[test]
    fn what_is_wrong_with_a_mitigation_is_named() {
        for (text, told) in [
            ("fifo", "there is no mitigation \"fifo\"; there are: no-retries, budget:SHARE"),
            ("queue", "queue: expected a factor above 0, such as 0.5, not \"\""),
            ("budget:2", "budget: expected a share above 0, such as 0.1, not \"2\""),
            ("budget:NaN", "budget: expected a share"),
            ("breaker:5", "breaker: expected a time above 0s and of at most 1h, such as 5s, not \"5\""),
            ("lifo:1", "lifo: expected nothing after it, not \"1\""),
        ] {
            let error = text.parse::<Mitigation>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn mitigations_change_what_they_say() {
        let half = Setup::default().with(&[Mitigation::Queue(0.5), Mitigation::Ramp(Duration::from_secs(1))]);
        assert_eq!(half.database.queue.limit, Some(25));
        assert_eq!(Setup::default().with(&[Mitigation::Queue(0.001)]).database.queue.limit, Some(1));
        let (long, many) =
            (Policy { patience: Duration::MAX, ..half.policy }, Policy { retries: 101, ..half.policy });
        assert!(half.policy.validate().is_ok() && long.validate().is_err() && many.validate().is_err());
        let rule = BreakerRule { open: Duration::from_secs(5), ramp: Duration::from_secs(1) };
        assert_eq!(half.policy.breaker, Some(rule));
    }
}
