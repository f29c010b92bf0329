//! Is everything as it was, in time and for good?

use super::case::{Case, Law, NO_ATTEMPTS, NO_FAULTED, pass, percent, slower_limit_ms};
use crate::Ruling;
use crate::measure::RELAPSE_S;
use crate::pair::BeforeAfter;
use crate::question::{Answer, Finding, Question};

/// Goodput at the end of the recovery, of the baseline's.
const GOODPUT_AFTER_MIN: f64 = 0.95;
/// A server's share of the attempts at the end is within this of what it was, absolute and relative.
const SHARE: f64 = 0.05;
const SHARE_RELATIVE: f64 = 0.25;

fn seen_ms(case: &Case<'_>) -> f64 {
    match (case.timeline.lifted(), case.timeline.end) {
        (Some(lifted), Some(end)) => end.at_us.saturating_sub(lifted) as f64 / 1e3,
        _ => 0.0,
    }
}

pub(super) const IN_TIME: Law = Law {
    question: Question { id: "recovery", title: "All breakers close and goodput is back in time" },
    ask: in_time,
};

fn in_time(question: &Question, case: &Case<'_>) -> Answer {
    let (measures, limit, seen) = (case.measures, case.expected.recovery_ms.most, seen_ms(case));
    let closed = measures.time_to_close_ms;
    let times = |back: f64| {
        let closed = match closed {
            _ if !measures.reported.breakers => "the client has no breaker".to_owned(),
            Some(ms) => format!("breakers closed after {ms:.0} ms"),
            None => "breakers closed never".to_owned(),
        };
        format!(
            "{closed}; back after {back:.0} ms, for {} s on end; the lift is known to {:.1} ms",
            measures.recovery_horizon_s, measures.fault_width_ms.off_ms
        )
    };
    let (result, measured) = match (closed, measures.time_to_recover_ms, measures.goodput_back_ms) {
        (Some(close), Some(back), _) if close.max(back) <= limit => (Ruling::Pass, times(back)),
        // A p99 that comes and goes, and is well in the end, is the machine's.
        (Some(close), _, Some(goodput)) if close.max(goodput) <= limit && p99_is_well(case) => {
            (Ruling::Pass, times(goodput))
        }
        // Slow replies alone may be another's work on the machine.
        (Some(close), back, Some(goodput)) if close.max(goodput) <= limit => {
            let p99 = back.map_or("not".to_owned(), |ms| format!("after {ms:.0} ms"));
            (Ruling::Inconclusive, format!("{}, but the p99 {p99}", times(goodput)))
        }
        (Some(_), Some(back), _) => (Ruling::Fail, times(back)),
        (None, ..) if seen >= limit => (Ruling::Fail, format!("a breaker is not closed after {seen:.0} ms")),
        _ if seen < limit + 1e3 * measures.recovery_horizon_s as f64 => {
            (Ruling::Inconclusive, format!("not yet after {seen:.0} ms: the phase is too short"))
        }
        _ => (Ruling::Fail, format!("not within {seen:.0} ms")),
    };
    question.asked(Finding {
        result,
        expected: format!("within {limit:.0} ms"),
        because: case.expected.recovery_because.clone(),
        measured,
    })
}

/// At the end, within what a machine with other work may add.
fn p99_is_well(case: &Case<'_>) -> bool {
    let before = case.measures.baseline.and_then(|baseline| baseline.p99_ms);
    before.zip(case.measures.p99_after_ms).is_some_and(|(before, after)| after <= slower_limit_ms(before))
}

pub(super) const STAYS: Law =
    Law { question: Question { id: "stays-recovered", title: "What has recovered stays so" }, ask: stays };

fn stays(question: &Question, case: &Case<'_>) -> Answer {
    let (reopened, relapsed) = (case.measures.breakers.reopened, case.measures.relapsed_ms);
    if reopened == 0 && relapsed.is_none() {
        let Some(back) = case.measures.time_to_recover_ms else {
            return question.not_asked("it was not back for good within the run");
        };
        // Whole seconds, as they are counted.
        if (seen_ms(case) / 1e3).floor() - back / 1e3 < RELAPSE_S as f64 {
            return question
                .not_asked(format!("less than {RELAPSE_S} s of the run were left after it was back"));
        }
    }
    let measured = match relapsed {
        Some(ms) => format!("bad again after {ms:.0} ms; {reopened} opens after closing"),
        None => format!("no relapse within {:.0} ms; {reopened} opens after closing", seen_ms(case)),
    };
    question.asked(Finding {
        result: pass(reopened == 0 && relapsed.is_none()),
        expected: "no three bad seconds after goodput was back, no breaker that opens again".to_owned(),
        because: "the fault is gone".to_owned(),
        measured,
    })
}

pub(super) const GOODPUT_AFTER: Law =
    Law { question: Question { id: "goodput-after", title: "Nothing is lost for good" }, ask: goodput_after };

fn goodput_after(question: &Question, case: &Case<'_>) -> Answer {
    let Some(after) = case.measures.goodput_after else {
        return question.not_asked("no second after the fault was seen whole");
    };
    question.asked(Finding {
        result: pass(after >= GOODPUT_AFTER_MIN),
        expected: format!("at least {} of the baseline at the end", percent(GOODPUT_AFTER_MIN)),
        because: "the recovery's last third, long after the fault".to_owned(),
        measured: percent(after),
    })
}

pub(super) const FAILS_BACK: Law = Law {
    question: Question { id: "fails-back", title: "A healed server gets its load again" },
    ask: fails_back,
};

fn fails_back(question: &Question, case: &Case<'_>) -> Answer {
    if !case.measures.reported.attempts {
        return question.not_asked(NO_ATTEMPTS);
    }
    // Where the end comes before a recovery must be over, nobody needs to be back.
    if seen_ms(case) * 2.0 / 3.0 < case.expected.recovery_ms.most {
        return question.not_asked("the end of the run comes before a recovery must be over");
    }
    let of = |server: &String| {
        let BeforeAfter { before, after } = *case.measures.routing.shares.get(server)?;
        let slack = SHARE.min(before * SHARE_RELATIVE).max(0.01);
        Some(Finding {
            result: pass((after - before).abs() <= slack),
            expected: format!("{server}: {} ± {} of all attempts", percent(before), percent(slack)),
            because: "its share before the fault".to_owned(),
            measured: percent(after),
        })
    };
    question.each(case.expected.trips.keys().filter_map(of), NO_FAULTED)
}
