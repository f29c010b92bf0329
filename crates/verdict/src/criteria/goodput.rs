//! How much work gets done under the fault, and at what cost.

use super::{Case, pass, percent};
use crate::{Criterion, Result};

/// Attempts over ops beyond what retries may add.
const AMPLIFICATION: f64 = 1.2;
/// How far a share of few seconds may be off.
const NOISE: f64 = 0.03;
/// Ops that may outlast their deadline: those that a stall of the machine held.
const LATE_OPS: u64 = 5;

pub(super) fn retained(case: &Case<'_>) -> Vec<Criterion> {
    let (least, measures) = (case.expected.goodput_retained, case.measures);
    let (result, measured) = match (measures.goodput_retained, measures.goodput_interval) {
        _ if case.too_few() => (Result::Pass, "too few ops under so short a fault: not asked".to_owned()),
        (None, _) => (Result::Pass, "the fault is shorter than the ticks: not asked".to_owned()),
        (Some(retained), Some(interval)) => {
            let text = format!(
                "{}, at 99 % within {} to {}",
                percent(retained),
                percent(interval.low),
                percent(interval.high)
            );
            (interval.at_least(least).into(), text)
        }
        (Some(retained), None) => {
            let noise = (3.0 * measures.baseline_sigma / measures.baseline_goodput.max(1.0)).max(NOISE);
            let result = match retained {
                _ if retained >= least => Result::Pass,
                _ if retained < least - noise => Result::Fail,
                _ => Result::Inconclusive,
            };
            let text =
                format!("{}, too few seconds for an interval: ± {}", percent(retained), percent(noise));
            (result, text)
        }
    };
    vec![Criterion {
        id: "goodput-retained",
        title: "Goodput under the fault is what these settings allow",
        result,
        expected: format!("at least {} of the baseline", percent(least)),
        because: case.expected.goodput_because.clone(),
        measured,
    }]
}

pub(super) fn errors(case: &Case<'_>) -> Vec<Criterion> {
    let most = case.expected.error_share;
    vec![Criterion {
        id: "error-share",
        title: "No more ops fail than must",
        result: pass(case.too_few() || case.measures.error_share <= most),
        expected: format!("at most {}", percent(most)),
        because: case.expected.goodput_because.clone(),
        measured: percent(case.measures.error_share),
    }]
}

pub(super) fn deadline(case: &Case<'_>) -> Vec<Criterion> {
    let (Some(beyond), Some(hello)) = (case.measures.beyond_deadline, case.timeline.hello) else {
        return Vec::new();
    };
    let settings = &hello.settings;
    vec![Criterion {
        id: "op-deadline",
        title: "Every op ends by its deadline",
        result: pass(beyond <= LATE_OPS),
        expected: format!("at most {LATE_OPS} ops later than half as much again, and 100 ms"),
        because: format!(
            "an attempt takes at most {} ms, an op {} attempts and at most {} ms",
            settings.op_timeout_ms,
            u64::from(settings.retries) + 1,
            settings.total_timeout_ms.unwrap_or(0)
        ),
        measured: format!("{beyond} ops, the slowest took {:.0} ms", case.measures.slowest_ms),
    }]
}

pub(super) fn amplification(case: &Case<'_>) -> Vec<Criterion> {
    let Some(worst) = case.measures.routing.amplification else { return Vec::new() };
    // One attempt of a trip's every op is the price of finding out.
    let failover = case.measures.faulted_share * case.expected.time_to_trip_ms.map_or(0.0, |t| t.most / 1e4);
    let limit = AMPLIFICATION + failover.min(1.0);
    vec![Criterion {
        id: "amplification",
        title: "Retries do not multiply the load",
        result: pass(worst <= limit),
        expected: format!("at most {limit:.2} attempts an op in any 10 s"),
        because: "a retry budget of 10 %, as much again, and what finding a trip costs".to_owned(),
        measured: format!("{worst:.3}"),
    }]
}

pub(super) fn lost_writes(case: &Case<'_>) -> Vec<Criterion> {
    let stale = &case.measures.stale;
    vec![Criterion {
        id: "acknowledged-writes",
        title: "What was acknowledged is there",
        result: pass(stale.lost_writes == 0),
        expected: "0 reads under the fault that miss an acknowledged write of the same server".to_owned(),
        because: "a write that was refused must not be reported as stored; one that timed out is excused"
            .to_owned(),
        measured: format!(
            "{}; stale reads in all {}, the oldest {:.0} ms, the last {:.0} ms after the fault",
            stale.lost_writes, stale.count, stale.worst_age_ms, stale.until_ms
        ),
    }]
}
