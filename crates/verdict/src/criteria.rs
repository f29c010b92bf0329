//! What was expected beside what was measured. Asked only of valid runs.

use crate::expect::{Expectation, Trip};
use crate::measure::Measures;
use crate::timeline::Timeline;
use crate::{Criterion, Result};

/// Failed ops of healthy servers above the baseline's.
const ISOLATION: f64 = 0.005;
/// Ops under the fault at least, before shares of them mean something.
const OPS_MIN: f64 = 200.0;

pub(crate) fn criteria(
    timeline: &Timeline<'_>,
    measures: &Measures,
    expected: &Expectation,
) -> Vec<Criterion> {
    let mut criteria = trips(measures, expected);
    criteria.push(no_trip_elsewhere(measures));
    criteria.push(isolation(timeline, measures));
    criteria.push(goodput(measures, expected));
    criteria.push(errors(measures, expected));
    criteria.push(recovery(timeline, measures, expected));
    criteria
}

fn pass(ok: bool) -> Result {
    if ok { Result::Pass } else { Result::Fail }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn trips(measures: &Measures, expected: &Expectation) -> Vec<Criterion> {
    let mut criteria = Vec::new();
    for (server, trip) in &expected.trips {
        let tripped = measures.time_to_trip_ms.get(server).copied().flatten();
        let measured = tripped.map_or("no trip".to_owned(), |ms| format!("open after {ms:.0} ms"));
        let (result, text) = match trip {
            Trip::Must => (pass(tripped.is_some()), "a trip"),
            Trip::MustNot => (pass(tripped.is_none()), "no trip"),
            Trip::May => (Result::Pass, "either"),
        };
        criteria.push(Criterion {
            id: "trips-as-expected",
            title: "The breaker of the faulted server opens when it should, and only then",
            result,
            expected: format!("{server}: {text}"),
            because: expected.trips_because.clone(),
            measured,
        });
        if let (Some(limit), Some(ms)) = (expected.time_to_trip_ms, tripped) {
            criteria.push(Criterion {
                id: "time-to-trip",
                title: "It opens in time",
                result: pass(ms <= limit.most),
                expected: format!("{server}: {:.0} to {:.0} ms", limit.least, limit.most),
                because: expected.time_to_trip_because.clone(),
                measured: format!("{ms:.0} ms"),
            });
        }
    }
    criteria
}

fn no_trip_elsewhere(measures: &Measures) -> Criterion {
    Criterion {
        id: "no-trip-on-healthy",
        title: "No breaker of a healthy server opens",
        result: pass(measures.trips_elsewhere == 0),
        expected: "0 trips".to_owned(),
        because: "nothing was done to these servers".to_owned(),
        measured: format!("{} trips", measures.trips_elsewhere),
    }
}

fn isolation(timeline: &Timeline<'_>, measures: &Measures) -> Criterion {
    let limit = measures.baseline_error_share + ISOLATION;
    let servers = timeline.hello.map_or(0, |hello| hello.servers.len());
    if timeline.faulted().len() >= servers {
        return Criterion {
            id: "healthy-isolation",
            title: "Keys of healthy servers do not notice",
            result: Result::Pass,
            expected: "nothing".to_owned(),
            because: "every server was faulted".to_owned(),
            measured: "no healthy server".to_owned(),
        };
    }
    Criterion {
        id: "healthy-isolation",
        title: "Keys of healthy servers do not notice",
        result: pass(measures.healthy_error_share <= limit),
        expected: format!("at most {} of their ops fail", percent(limit)),
        because: "the baseline's share and 0.5 percentage points".to_owned(),
        measured: percent(measures.healthy_error_share),
    }
}

/// Too few ops under the fault to speak of shares.
fn too_few(measures: &Measures) -> bool {
    measures.baseline_offered * measures.fault_ms / 1e3 < OPS_MIN
}

fn goodput(measures: &Measures, expected: &Expectation) -> Criterion {
    let (result, measured) = match measures.goodput_retained {
        _ if too_few(measures) => (Result::Pass, "too few ops under so short a fault: not asked".to_owned()),
        Some(retained) => (pass(retained >= expected.goodput_retained), percent(retained)),
        None => (Result::Pass, "the fault is shorter than the ticks: not asked".to_owned()),
    };
    Criterion {
        id: "goodput-retained",
        title: "Goodput under the fault is what these settings allow",
        result,
        expected: format!("at least {} of the baseline", percent(expected.goodput_retained)),
        because: expected.goodput_because.clone(),
        measured,
    }
}

fn errors(measures: &Measures, expected: &Expectation) -> Criterion {
    let ok = too_few(measures) || measures.error_share <= expected.error_share;
    Criterion {
        id: "error-share",
        title: "No more ops fail than must",
        result: pass(ok),
        expected: format!("at most {}", percent(expected.error_share)),
        because: expected.goodput_because.clone(),
        measured: percent(measures.error_share),
    }
}

fn recovery(timeline: &Timeline<'_>, measures: &Measures, expected: &Expectation) -> Criterion {
    let seen_ms = match (timeline.lifted(), timeline.end) {
        (Some(lifted), Some(end)) => end.at_us.saturating_sub(lifted) as f64 / 1e3,
        _ => 0.0,
    };
    let limit = expected.recovery_ms.most;
    let times = measures.time_to_close_ms.zip(measures.time_to_recover_ms);
    let (result, measured) = match times {
        Some((close, back)) if close.max(back) <= limit => {
            (Result::Pass, format!("breakers closed after {close:.0} ms, goodput back within {back:.0} ms"))
        }
        Some((close, back)) => {
            (Result::Fail, format!("breakers closed after {close:.0} ms, goodput back after {back:.0} ms"))
        }
        None if seen_ms < limit => {
            (Result::Inconclusive, format!("not yet after {seen_ms:.0} ms: the phase is too short"))
        }
        None => (Result::Fail, format!("not within {seen_ms:.0} ms")),
    };
    Criterion {
        id: "recovery",
        title: "All breakers close and goodput is back in time",
        result,
        expected: format!("within {limit:.0} ms"),
        because: expected.recovery_because.clone(),
        measured,
    }
}
