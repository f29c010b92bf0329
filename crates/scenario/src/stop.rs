//! Rules that end a run before its time: `error_rate > 50% for 2s`. What is written, and what it means.
//!
//! ```text
//! rule     = measure comparison value [ "for" duration ]
//! measure  = goodput | offered | error_rate | p50 | p90 | p99 | p999 | wrong_values
//! ```
//!
//! `for` is the length of the window: the ticks of that time, taken together, are one sample. A window that is not full yet, or
//! has no ops of which to give a share or a percentile, says nothing.

mod window;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(crate) use window::Watch;

/// Longest text of a rule.
pub const TEXT_MAX: usize = 200;
/// Most rules of one run: each looks at every tick.
pub const RULES_MAX: usize = 32;
/// Shortest and longest window.
const WINDOW: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Window of a rule without `for`.
const WINDOW_DEFAULT: Duration = Duration::from_secs(1);
/// What an error shows.
const EXAMPLES: &str = "`error_rate > 50% for 2s`, `goodput < 100 for 3s`, `p99 > 500ms`, `wrong_values > 0`";

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct StopRule {
    measure: Measure,
    above: bool,
    or_equal: bool,
    /// In the measure's own unit: ops/s, a share (0-1), µs, a count.
    limit: f64,
    window: Duration,
    text: String,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    Goodput,
    Offered,
    ErrorRate,
    /// Of the latency from the intended start.
    Quantile(f64),
    WrongValues,
}

/// The words for it.
const MEASURES: [(&str, Measure); 8] = [
    ("goodput", Measure::Goodput),
    ("offered", Measure::Offered),
    ("error_rate", Measure::ErrorRate),
    ("p50", Measure::Quantile(0.5)),
    ("p90", Measure::Quantile(0.9)),
    ("p99", Measure::Quantile(0.99)),
    ("p999", Measure::Quantile(0.999)),
    ("wrong_values", Measure::WrongValues),
];

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stop rule {text:?}, column {column}: {what}; for example: {EXAMPLES}")]
pub struct StopRuleError {
    text: String,
    /// In characters, from 1.
    column: usize,
    /// What is wrong, and which words there are.
    what: String,
}

impl std::str::FromStr for StopRule {
    type Err = StopRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(TEXT_MAX).collect::<String>();
        parse(text).map_err(|Wrong(at, what)| StopRuleError {
            text: shown(),
            column: text.get(..at).unwrap_or(text).chars().count() + 1,
            what,
        })
    }
}

impl fmt::Display for StopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Byte of the text, and what is wrong there.
struct Wrong(usize, String);

fn parse(text: &str) -> Result<StopRule, Wrong> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(Wrong(0, format!("expected at most {TEXT_MAX} bytes without control characters")));
    }
    let text = text.trim_end();
    // A part of the text without the space around it, and where it is.
    let trimmed = |from: usize, to: usize| {
        let part = &text[from..to];
        (from + part.len() - part.trim_start().len(), part.trim())
    };
    let compared = text.find(['<', '>', '=']);
    let (at, word) = trimmed(0, compared.unwrap_or(text.len()));
    let word = if compared.is_none() { word.split_whitespace().next().unwrap_or("") } else { word };
    let Some((_, measure)) = MEASURES.into_iter().find(|(name, _)| *name == word) else {
        return Err(Wrong(at, no_measure(word)));
    };
    let Some(operator) = compared.filter(|at| text[*at..].starts_with(['<', '>'])) else {
        let at = compared.unwrap_or(at + word.len());
        return Err(Wrong(at, "expected a comparison: > >= < or <=".to_owned()));
    };
    let above = text[operator..].starts_with('>');
    let or_equal = text[operator + 1..].starts_with('=');
    let (at, rest) = trimmed(operator + 1 + usize::from(or_equal), text.len());
    let (number, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let limit = measure.limit(number).map_err(|what| Wrong(at, what))?;
    let (at, after) = trimmed(text.len() - after.len(), text.len());
    let window = match after.split_once(char::is_whitespace) {
        None if after.is_empty() => WINDOW_DEFAULT,
        Some(("for", _)) if measure == Measure::WrongValues => {
            return Err(Wrong(at, "wrong_values counts from the run's begin and takes no `for`".to_owned()));
        }
        Some(("for", length)) => {
            let (at, length) = trimmed(text.len() - length.len(), text.len());
            let parsed = duration::within(WINDOW, length);
            parsed.map_err(|error| Wrong(at, format!("for: {error}, not {length:?}")))?
        }
        _ => return Err(Wrong(at, format!("expected nothing more, or `for DURATION`, not {after:?}"))),
    };
    Ok(StopRule { measure, above, or_equal, limit, window, text: text.trim().to_owned() })
}

fn no_measure(word: &str) -> String {
    let names = MEASURES.map(|(name, _)| name);
    let listed = names.join(", ");
    if word.is_empty() {
        return format!("expected a measure: {listed}");
    }
    let nearest = names.into_iter().min_by_key(|name| strsim::damerau_levenshtein(word, name)).unwrap_or("");
    format!("there is no measure {word:?}, did you mean {nearest:?}? there are: {listed}")
}

impl Measure {
    /// A limit as it is written.
    fn limit(self, text: &str) -> Result<f64, String> {
        let plain =
            |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
        let (limit, expected) = match self {
            Measure::Goodput | Measure::Offered => (plain(text), "ops/s, a number like 100"),
            Measure::WrongValues => (plain(text).filter(|n| n.fract() == 0.0), "a count like 0"),
            Measure::ErrorRate => {
                let percent = text.strip_suffix('%').and_then(plain).filter(|percent| *percent <= 100.0);
                (percent.map(|percent| percent / 100.0), "a share from 0% to 100%, with its %")
            }
            Measure::Quantile(_) => {
                let limit = duration::any(text).map(|limit| limit.as_micros() as f64);
                return limit.map_err(|error| format!("{error}, not {text:?}"));
            }
        };
        limit.ok_or_else(|| format!("expected {expected}, not {text:?}"))
    }

    /// A value as people read it.
    fn shown(self, value: f64) -> String {
        match self {
            Measure::Goodput | Measure::Offered => format!("{value:.0} ops/s"),
            Measure::ErrorRate => format!("{:.1} %", value * 100.0),
            Measure::Quantile(_) => format!("{:.1} ms", value / 1e3),
            Measure::WrongValues => format!("{value:.0}"),
        }
    }
}

impl StopRule {
    fn holds(&self, value: f64) -> bool {
        let beyond = if self.above { value > self.limit } else { value < self.limit };
        beyond || self.or_equal && value == self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> StopRule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn wrong(text: &str) -> (usize, String) {
        let error = text.parse::<StopRule>().unwrap_err();
        assert!(error.to_string().contains("for example"), "{error}");
        (error.column, error.what)
    }

    #[test]
    fn a_rule_is_a_measure_a_comparison_a_value_and_perhaps_a_window() {
        let parsed = rule("  error_rate > 50% for 2s ");
        assert_eq!((parsed.measure, parsed.above, parsed.or_equal), (Measure::ErrorRate, true, false));
        assert_eq!((parsed.limit, parsed.window), (0.5, Duration::from_secs(2)));
        assert_eq!(parsed.to_string(), "error_rate > 50% for 2s");
        let parsed = rule("goodput<=100");
        assert_eq!((parsed.measure, parsed.above, parsed.or_equal), (Measure::Goodput, false, true));
        assert_eq!((parsed.limit, parsed.window), (100.0, WINDOW_DEFAULT));
        assert_eq!(rule("p99 > 500ms for 1m").limit, 500_000.0);
        assert_eq!(rule("p999>=1s for   100ms").window, Duration::from_millis(100));
        assert_eq!(rule("wrong_values > 0").limit, 0.0);
        assert_eq!(rule("offered < 1e3").limit, 1000.0);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_the_words_that_exist() {
        let (column, what) = wrong("error_rte > 50%");
        assert_eq!(column, 1);
        assert!(what.contains("did you mean \"error_rate\"?") && what.contains("wrong_values"), "{what}");
        assert!(wrong("").1.starts_with("expected a measure: goodput"));
        assert!(wrong("> 3").1.starts_with("expected a measure"));
        assert_eq!(wrong("goodput 100"), (8, "expected a comparison: > >= < or <=".to_owned()));
        assert_eq!(wrong("goodput = 100").0, 9);
        assert_eq!(
            wrong("error_rate > 0.5"),
            (14, "expected a share from 0% to 100%, with its %, not \"0.5\"".into())
        );
        assert_eq!(wrong("error_rate > 101%").0, 14);
        assert!(wrong("goodput < -1").1.contains("expected ops/s"));
        assert!(wrong("goodput < NaN").1.contains("expected ops/s"));
        assert!(wrong("goodput < inf").1.contains("expected ops/s"));
        assert!(wrong("goodput <").1.contains("expected ops/s, a number like 100, not \"\""));
        assert!(wrong("p99 > 500").1.contains("a duration of at most 1year with its unit"));
        assert!(wrong("p99 > 18446744073709551615s").1.contains("at most 1year"));
        assert!(wrong("wrong_values > 0.5").1.contains("a count"));
        assert!(wrong("wrong_values > 0 for 1s").1.contains("takes no `for`"));
        assert_eq!(
            wrong("goodput < 1 for 1h"),
            (
                17,
                "for: expected a duration of 100ms to 1m with its unit, such as 250ms, 10s or 2m, not \"1h\""
                    .into()
            )
        );
        assert_eq!(wrong("goodput < 1 during 3s").0, 13);
        assert_eq!(wrong("goodput < 1 for").0, 13);
        assert_eq!(wrong("größe > 1").0, 1);
        assert_eq!(wrong(&"x".repeat(TEXT_MAX + 1)).0, 1);
    }

    #[test]
    fn limits_are_inside_only_where_that_is_written() {
        assert!(!rule("goodput < 100").holds(100.0) && rule("goodput <= 100").holds(100.0));
        assert!(!rule("p99 > 1ms").holds(1000.0) && rule("p99 >= 1ms").holds(1000.0));
        assert!(rule("goodput < 100").holds(99.0) && !rule("goodput < 100").holds(101.0));
    }
}
