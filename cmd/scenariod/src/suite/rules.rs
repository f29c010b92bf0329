//! A verdict's criteria as metrics.

use scenario::metrics::RuleOutcome;
use verdict::{Ruling, Verdict};

/// Each criterion once, also where it was asked of several servers: it holds if it holds of all.
pub fn outcomes(verdict: &Verdict) -> Vec<RuleOutcome> {
    let mut outcomes: Vec<RuleOutcome> = Vec::new();
    for criterion in &verdict.criteria {
        let passed = match criterion.result {
            Ruling::Pass => Some(true),
            Ruling::Fail | Ruling::WrongData => Some(false),
            Ruling::Inconclusive | Ruling::Invalid => None,
        };
        match outcomes.iter_mut().find(|outcome| outcome.rule == criterion.id) {
            // One that does not hold says more than one of which it cannot be said.
            Some(outcome) if outcome.passed != Some(false) && passed != Some(true) => outcome.passed = passed,
            Some(_) => {}
            None => outcomes.push(RuleOutcome {
                rule: criterion.id.to_owned(),
                passed,
                value_and_limit: numbers(verdict, criterion.id),
            }),
        }
    }
    outcomes
}

/// Fault off until all breakers are closed and goodput, errors and p99 are back for good, s; `None`: they are not.
pub fn recovery_s(verdict: &Verdict) -> Option<f64> {
    let (back, closed) = (verdict.measures.time_to_recover_ms?, verdict.measures.time_to_close_ms?);
    Some(f64::max(back, closed) / 1e3)
}

/// What was measured and the limit, where a rule compares just two numbers: seconds, shares (0-1) or counts. The worst server's.
fn numbers(verdict: &Verdict, rule: &str) -> Option<(f64, f64)> {
    let measures = &verdict.measures;
    if rule == "no-wrong-values" {
        return Some((measures.wrong_values as f64, 0.0));
    }
    let expected = verdict.expectation.as_ref()?;
    match rule {
        "time-to-trip" => {
            let slowest = measures.time_to_trip_ms.values().flatten().copied().reduce(f64::max)?;
            Some((slowest / 1e3, expected.time_to_trip_ms?.most / 1e3))
        }
        "goodput-retained" => Some((measures.goodput_retained?, expected.goodput_retained)),
        "error-share" => Some((measures.error_share, expected.error_share)),
        "recovery" => Some((recovery_s(verdict)?, expected.recovery_ms.most / 1e3)),
        _ => None,
    }
}
