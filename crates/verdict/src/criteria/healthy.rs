//! Do servers without a fault, and moments without one, stay as they were?

use super::case::{Case, Law, NO_BREAKER, SLOWER, SLOWER_MS, pass, percent, slower_limit_ms};
use crate::Ruling;
use crate::pair::BeforeAfter;
use crate::question::{Answer, Finding, Question};

/// Failed ops of healthy servers above the baseline's.
const ISOLATION: f64 = 0.005;
const NO_HEALTHY: &str = "every server had a fault";

pub(super) const NO_TRIP: Law = Law {
    question: Question { id: "no-trip-on-healthy", title: "No breaker opens without a fault" },
    ask: no_trip,
};

fn no_trip(question: &Question, case: &Case<'_>) -> Answer {
    if !case.measures.reported.breakers {
        return question.not_asked(NO_BREAKER);
    }
    let (elsewhere, before) = (case.measures.trips_elsewhere, case.measures.breakers.opens_before);
    let result = match (elsewhere, before) {
        (0, 0) => Ruling::Pass,
        // One may be a stall of the machine.
        (0, 1) => Ruling::Inconclusive,
        _ => Ruling::Fail,
    };
    question.asked(Finding {
        result,
        expected: "0 trips of healthy servers, 0 before the fault".to_owned(),
        because: "nothing was done to these servers".to_owned(),
        measured: format!("{elsewhere} trips of healthy servers, {before} before the fault"),
    })
}

pub(super) const ISOLATED: Law = Law {
    question: Question { id: "healthy-isolation", title: "Keys of healthy servers do not notice" },
    ask: isolation,
};

fn isolation(question: &Question, case: &Case<'_>) -> Answer {
    let measures = case.measures;
    if no_healthy(case) {
        return question.not_asked(NO_HEALTHY);
    }
    if measures.healthy_ops == 0 {
        return question.not_asked("no op of a healthy server ended under the fault");
    }
    let limit = measures.baseline_error_share + ISOLATION;
    question.asked(Finding {
        result: pass(measures.healthy_error_share <= limit),
        expected: format!("at most {} of their ops fail", percent(limit)),
        because: "the baseline's share and 0.5 percentage points".to_owned(),
        measured: percent(measures.healthy_error_share),
    })
}

pub(super) const LATENCY: Law = Law {
    question: Question { id: "healthy-latency", title: "Keys of healthy servers stay quick" },
    ask: latency,
};

fn latency(question: &Question, case: &Case<'_>) -> Answer {
    if no_healthy(case) {
        return question.not_asked(NO_HEALTHY);
    }
    let Some(BeforeAfter { before, after: under }) = case.measures.healthy_p90_ms else {
        return question.not_asked("too few latencies of healthy servers before the fault or under it");
    };
    let limit = slower_limit_ms(before);
    question.asked(Finding {
        // Slowness alone may be the machine's: it needs the whole p90 to move by much to be the client's.
        result: match under {
            _ if under <= limit => Ruling::Pass,
            _ if under > 2.0 * limit => Ruling::Fail,
            _ => Ruling::Inconclusive,
        },
        expected: format!("p90 of at most {limit:.1} ms"),
        because: format!(
            "{before:.1} ms before the fault, times {SLOWER} or {SLOWER_MS} ms more; beyond twice the limit it is a failure"
        ),
        measured: format!("{under:.1} ms"),
    })
}

fn no_healthy(case: &Case<'_>) -> bool {
    let servers = case.timeline.hello.map_or(0, |hello| hello.servers.len());
    case.timeline.faulted().len() >= servers
}
