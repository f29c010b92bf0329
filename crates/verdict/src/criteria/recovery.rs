//! Is everything as it was, in time and for good?

use super::{Case, pass, percent, slower_limit_ms};
use crate::{Criterion, Result};

/// Goodput at the end of the recovery, of the baseline's.
const GOODPUT_AFTER: f64 = 0.95;
/// A server's share of the attempts at the end is within this of what it was, absolute and relative.
const SHARE: f64 = 0.05;
const SHARE_RELATIVE: f64 = 0.25;

fn seen_ms(case: &Case<'_>) -> f64 {
    match (case.timeline.lifted(), case.timeline.end) {
        (Some(lifted), Some(end)) => end.at_us.saturating_sub(lifted) as f64 / 1e3,
        _ => 0.0,
    }
}

pub(super) fn in_time(case: &Case<'_>) -> Vec<Criterion> {
    let (measures, limit, seen) = (case.measures, case.expected.recovery_ms.most, seen_ms(case));
    let closed = measures.time_to_close_ms;
    let times = |back: f64| {
        let closed = closed.map_or("never".to_owned(), |ms| format!("after {ms:.0} ms"));
        format!(
            "breakers closed {closed}; back after {back:.0} ms, for {} s on end; the lift is known to {:.1} ms",
            measures.recovery_horizon_s, measures.fault_width_ms[1]
        )
    };
    let (result, measured) = match (closed, measures.time_to_recover_ms, measures.goodput_back_ms) {
        (Some(close), Some(back), _) if close.max(back) <= limit => (Result::Pass, times(back)),
        // A p99 that comes and goes, and is well in the end, is the machine's.
        (Some(close), _, Some(goodput)) if close.max(goodput) <= limit && p99_is_well(case) => {
            (Result::Pass, times(goodput))
        }
        // Slow replies alone may be another's work on the machine.
        (Some(close), back, Some(goodput)) if close.max(goodput) <= limit => {
            let p99 = back.map_or("not".to_owned(), |ms| format!("after {ms:.0} ms"));
            (Result::Inconclusive, format!("{}, but the p99 {p99}", times(goodput)))
        }
        (Some(_), Some(back), _) => (Result::Fail, times(back)),
        (None, ..) if seen >= limit => (Result::Fail, format!("a breaker is not closed after {seen:.0} ms")),
        _ if seen < limit + 1e3 * measures.recovery_horizon_s as f64 => {
            (Result::Inconclusive, format!("not yet after {seen:.0} ms: the phase is too short"))
        }
        _ => (Result::Fail, format!("not within {seen:.0} ms")),
    };
    vec![Criterion {
        id: "recovery",
        title: "All breakers close and goodput is back in time",
        result,
        expected: format!("within {limit:.0} ms"),
        because: case.expected.recovery_because.clone(),
        measured,
    }]
}

/// At the end, within what a machine with other work may add.
fn p99_is_well(case: &Case<'_>) -> bool {
    let before = case.measures.baseline.and_then(|baseline| baseline.p99_ms);
    before.zip(case.measures.p99_after_ms).is_some_and(|(before, after)| after <= slower_limit_ms(before))
}

pub(super) fn stays(case: &Case<'_>) -> Vec<Criterion> {
    let (reopened, relapsed) = (case.measures.breakers.reopened, case.measures.relapsed_ms);
    let measured = match relapsed {
        Some(ms) => format!("bad again after {ms:.0} ms; {reopened} opens after closing"),
        None => format!("no relapse within {:.0} ms; {reopened} opens after closing", seen_ms(case)),
    };
    vec![Criterion {
        id: "stays-recovered",
        title: "What has recovered stays so",
        result: pass(reopened == 0 && relapsed.is_none()),
        expected: "no three bad seconds after goodput was back, no breaker that opens again".to_owned(),
        because: "the fault is gone".to_owned(),
        measured,
    }]
}

pub(super) fn goodput_after(case: &Case<'_>) -> Vec<Criterion> {
    let Some(after) = case.measures.goodput_after else { return Vec::new() };
    vec![Criterion {
        id: "goodput-after",
        title: "Nothing is lost for good",
        result: pass(after >= GOODPUT_AFTER),
        expected: format!("at least {} of the baseline at the end", percent(GOODPUT_AFTER)),
        because: "the recovery's last third, long after the fault".to_owned(),
        measured: percent(after),
    }]
}

pub(super) fn fails_back(case: &Case<'_>) -> Vec<Criterion> {
    // Where the end comes before a recovery must be over, nobody needs to be back.
    if seen_ms(case) * 2.0 / 3.0 < case.expected.recovery_ms.most {
        return Vec::new();
    }
    let of = |server: &String| {
        let [before, after] = *case.measures.routing.shares.get(server)?;
        let slack = SHARE.min(before * SHARE_RELATIVE).max(0.01);
        Some(Criterion {
            id: "fails-back",
            title: "A healed server gets its load again",
            result: pass((after - before).abs() <= slack),
            expected: format!("{server}: {} ± {} of all attempts", percent(before), percent(slack)),
            because: "its share before the fault".to_owned(),
            measured: percent(after),
        })
    };
    case.expected.trips.keys().filter_map(of).collect()
}
