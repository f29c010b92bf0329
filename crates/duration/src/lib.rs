//! Durations as people write them, such as `250ms`, `10s` or `1h 30m`: the only parser of them, because each needs a limit.
//!
//! A clock cannot count up to every duration that can be written: an instant plus `18446744073709551615s` is a panic.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest duration, one year as the unit `y` counts it: 365.25 days. Sums of a few of them still fit every clock.
pub const LONGEST: Duration = Duration::from_secs(31_557_600);
/// The shortest duration that is not zero.
pub const SHORTEST: Duration = Duration::from_nanos(1);

/// Why a text is no duration. Whoever reports it names the flag or the key, and the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration {} with its unit, such as 250ms, 10s or 2m", allowed(.0))]
pub struct DurationError(RangeInclusive<Duration>);

/// Reads a duration with its unit that lies in `range`.
pub fn within(range: RangeInclusive<Duration>, text: &str) -> Result<Duration, DurationError> {
    let read = humantime::parse_duration(text).ok().filter(|duration| range.contains(duration));
    read.ok_or(DurationError(range))
}

/// Reads a duration of 0s to [`LONGEST`].
pub fn any(text: &str) -> Result<Duration, DurationError> {
    within(Duration::ZERO..=LONGEST, text)
}

/// Reads a duration above 0s and up to [`LONGEST`].
pub fn positive(text: &str) -> Result<Duration, DurationError> {
    within(SHORTEST..=LONGEST, text)
}

/// A range in words.
fn allowed(range: &RangeInclusive<Duration>) -> String {
    let most = humantime::format_duration(*range.end());
    match *range.start() {
        Duration::ZERO => format!("of at most {most}"),
        SHORTEST => format!("above 0s and of at most {most}"),
        least => format!("of {} to {most}", humantime::format_duration(least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_unit_and_is_a_year_at_most() {
        for (text, wanted) in [
            ("0s", Some(Duration::ZERO)),
            ("250ms", Some(Duration::from_millis(250))),
            ("1h 30m", Some(Duration::from_secs(5_400))),
            ("1y", Some(LONGEST)),
            ("31557600s", Some(LONGEST)),
            ("31557601s", None),
            ("2y", None),
            ("18446744073709551615s", None),
            ("18446744073709551616s", None),
            ("584942417355y", None),
            ("-1s", None),
            ("1", None),
            ("", None),
            (" ", None),
            ("1e9s", None),
            ("NaNs", None),
            ("1 parsec", None),
        ] {
            assert_eq!(any(text).ok(), wanted, "{text:?}");
        }
    }

    #[test]
    fn the_error_says_what_is_allowed_and_gives_an_example() {
        let told = |error: Result<Duration, DurationError>| error.unwrap_err().to_string();
        let rest = "with its unit, such as 250ms, 10s or 2m";
        assert_eq!(told(any("2y")), format!("expected a duration of at most 1year {rest}"));
        assert_eq!(told(positive("0s")), format!("expected a duration above 0s and of at most 1year {rest}"));
        let range = Duration::from_millis(100)..=Duration::from_secs(60);
        assert_eq!(told(within(range, "61s")), format!("expected a duration of 100ms to 1m {rest}"));
    }

    #[test]
    fn a_range_includes_its_ends() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(60));
        for (text, fits) in [("99ms", false), ("100ms", true), ("1m", true), ("60001ms", false)] {
            assert_eq!(within(least..=most, text).is_ok(), fits, "{text}");
        }
        assert!(positive("1ns").is_ok());
    }
}
