//! How long written values live.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How far a time to live may lie from its middle, in parts of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Jitter(f64);

impl Jitter {
    /// Every value lives equally long.
    pub const NONE: Jitter = Jitter(0.0);

    /// As a share, 0-1.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl FromStr for Jitter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%').map(str::parse) {
            Some(Ok(percent @ 0.0..=100.0)) => Ok(Jitter(percent / 100.0)),
            Some(Ok(percent)) => Err(format!("{percent}% is not between 0% and 100%")),
            _ => Err(format!("{text:?} is not a percentage such as 10%")),
        }
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// The longest time to live, 30 days: memcached takes a greater number for a Unix time, which lies in the past.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A time to live that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "a time to live of {days:.1} days, with its jitter, is more than the 30 days that can be sent: memcached takes more for a date in \
     the past; 0s is for ever",
    days = .0.as_secs_f64() / 86_400.0
)]
pub struct TtlError(pub Duration);

/// As the client sends it: memcached counts in whole seconds, and less than one would be for ever.
pub(crate) fn sent(ttl: Duration) -> Duration {
    Duration::from_secs((ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1))
}

/// Times to live: values that were written together need not expire together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ttl {
    middle: Option<Duration>,
    jitter: Jitter,
}

impl Ttl {
    /// Uniform over `middle` less and more `jitter` of it; `None`: for ever.
    pub fn new(middle: Option<Duration>, jitter: Jitter) -> Self {
        Self { middle, jitter }
    }

    /// Checks that all of them can be sent.
    pub fn validate(self) -> Result<(), TtlError> {
        let Some(middle) = self.middle else { return Ok(()) };
        let longest = Duration::try_from_secs_f64(middle.as_secs_f64() * (1.0 + self.jitter.0));
        match longest.unwrap_or(Duration::MAX) {
            longest if longest > TTL_MAX => Err(TtlError(longest)),
            _ => Ok(()),
        }
    }

    /// The next one. The client rounds it up to whole seconds, memcached's unit, and to at least one.
    pub fn draw(self, rng: &mut ChaCha8Rng) -> Option<Duration> {
        let middle = self.middle?;
        if self.jitter == Jitter::NONE {
            return Some(middle);
        }
        let factor = rng.random_range(1.0 - self.jitter.0..=1.0 + self.jitter.0);
        // Fails only for a time beyond all clocks.
        Some(Duration::try_from_secs_f64(middle.as_secs_f64() * factor).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn drawn(middle: Duration, jitter: &str, n: usize) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let ttl = Ttl::new(Some(middle), jitter.parse().unwrap());
        (0..n).filter_map(|_| ttl.draw(&mut rng)).map(|ttl| ttl.as_secs_f64()).collect()
    }

    #[test]
    fn times_are_uniform_over_the_jitter() {
        for (jitter, low, high) in [("10%", 270.0, 330.0), ("100%", 0.0, 600.0), ("0.5%", 298.5, 301.5)] {
            let n = 20_000;
            let times = drawn(Duration::from_secs(300), jitter, n);
            assert_eq!(times.len(), n);
            assert!(times.iter().all(|t| (low - 1e-6..=high + 1e-6).contains(t)), "{jitter}");
            // A tenth of all in each tenth of the range, within 5 standard deviations of a binomial.
            let mut tenths = [0.0; 10];
            for time in times {
                tenths[(((time - low) / (high - low) * 10.0) as usize).min(9)] += 1.0;
            }
            let sigma = (n as f64 * 0.1 * 0.9).sqrt();
            for seen in tenths {
                assert!((seen - n as f64 / 10.0).abs() < 5.0 * sigma, "{jitter}: {tenths:?}");
            }
        }
    }

    #[test]
    fn without_jitter_nothing_is_drawn() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let before = rng.clone();
        let ttl = Ttl::new(Some(Duration::from_secs(3)), Jitter::NONE);
        assert_eq!(ttl.draw(&mut rng), Some(Duration::from_secs(3)));
        assert_eq!(Ttl::new(None, "50%".parse().unwrap()).draw(&mut rng), None);
        assert_eq!(rng, before);
    }

    #[test]
    fn no_time_is_too_long() {
        assert_eq!(drawn(Duration::MAX, "100%", 100).len(), 100);
    }

    #[test]
    fn a_time_that_memcached_takes_for_a_date_is_refused_with_its_jitter() {
        let day = Duration::from_secs(24 * 3600);
        let checked =
            |days: u32, jitter: &str| Ttl::new(Some(day * days), jitter.parse().unwrap()).validate();
        assert_eq!((checked(30, "0%"), checked(25, "20%")), (Ok(()), Ok(())));
        assert_eq!(checked(60, "0%"), Err(TtlError(day * 60)));
        let error = checked(30, "10%").unwrap_err().to_string();
        assert!(error.contains("33.0 days, with its jitter, is more than the 30 days"), "{error}");
        assert_eq!(Ttl::new(None, "50%".parse().unwrap()).validate(), Ok(()));
        assert!(Ttl::new(Some(Duration::MAX), Jitter::NONE).validate().is_err());
    }

    #[test]
    fn what_is_sent_is_whole_seconds_and_never_none() {
        for (given, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (300_000, 300)] {
            assert_eq!(sent(Duration::from_millis(given)), Duration::from_secs(seconds), "{given} ms");
        }
    }

    #[test]
    fn percentages_are_read() {
        for (text, share) in [("0%", 0.0), ("10%", 0.1), ("12.5%", 0.125), ("100%", 1.0)] {
            let jitter: Jitter = text.parse().unwrap();
            assert_eq!((jitter.share(), jitter.to_string().as_str()), (share, text));
        }
        for (text, told) in [
            ("101%", "101% is not between 0% and 100%"),
            ("-1%", "-1% is not between"),
            ("NaN%", "NaN% is not between"),
            ("10", "\"10\" is not a percentage such as 10%"),
            ("%", "\"%\" is not a percentage"),
            ("", "\"\" is not a percentage"),
        ] {
            let error = text.parse::<Jitter>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
