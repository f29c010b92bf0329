//! Do servers without a fault, and moments without one, stay as they were?

use super::{Case, SLOWER, SLOWER_MS, pass, percent, slower_limit_ms};
use crate::{Criterion, Result};

/// Failed ops of healthy servers above the baseline's.
const ISOLATION: f64 = 0.005;

pub(super) fn no_trip(case: &Case<'_>) -> Vec<Criterion> {
    let (elsewhere, before) = (case.measures.trips_elsewhere, case.measures.breakers.opens_before);
    let result = match (elsewhere, before) {
        (0, 0) => Result::Pass,
        // One may be a stall of the machine.
        (0, 1) => Result::Inconclusive,
        _ => Result::Fail,
    };
    vec![Criterion {
        id: "no-trip-on-healthy",
        title: "No breaker opens without a fault",
        result,
        expected: "0 trips of healthy servers, 0 before the fault".to_owned(),
        because: "nothing was done to these servers".to_owned(),
        measured: format!("{elsewhere} trips of healthy servers, {before} before the fault"),
    }]
}

pub(super) fn isolation(case: &Case<'_>) -> Vec<Criterion> {
    let measures = case.measures;
    let servers = case.timeline.hello.map_or(0, |hello| hello.servers.len());
    if case.timeline.faulted().len() >= servers {
        return Vec::new();
    }
    let limit = measures.baseline_error_share + ISOLATION;
    let errors = Criterion {
        id: "healthy-isolation",
        title: "Keys of healthy servers do not notice",
        result: pass(measures.healthy_error_share <= limit),
        expected: format!("at most {} of their ops fail", percent(limit)),
        because: "the baseline's share and 0.5 percentage points".to_owned(),
        measured: percent(measures.healthy_error_share),
    };
    let Some([before, under]) = measures.healthy_p90_ms else { return vec![errors] };
    let limit = slower_limit_ms(before);
    let latency = Criterion {
        id: "healthy-latency",
        title: "Keys of healthy servers stay quick",
        // Slowness alone may be the machine's: it needs the whole p90 to move by much to be the client's.
        result: match under {
            _ if under <= limit => Result::Pass,
            _ if under > 2.0 * limit => Result::Fail,
            _ => Result::Inconclusive,
        },
        expected: format!("p90 of at most {limit:.1} ms"),
        because: format!(
            "{before:.1} ms before the fault, times {SLOWER} or {SLOWER_MS} ms more; beyond twice the limit it is a failure"
        ),
        measured: format!("{under:.1} ms"),
    };
    vec![errors, latency]
}
