//! How much work gets done under the fault, and at what cost.

use super::case::{Case, Law, NO_ATTEMPTS, pass, percent};
use crate::Ruling;
use crate::question::{Answer, Finding, Question};

/// Attempts over ops beyond what retries may add.
const AMPLIFICATION: f64 = 1.2;
/// How far a share of few seconds may be off.
const NOISE: f64 = 0.03;
/// Ops that may outlast their deadline: those that a stall of the machine held.
const LATE_OPS: u64 = 5;

pub(super) const RETAINED: Law = Law {
    question: Question {
        id: "goodput-retained",
        title: "Goodput under the fault is what these settings allow",
    },
    ask: retained,
};

fn retained(question: &Question, case: &Case<'_>) -> Answer {
    let (least, measures) = (case.expected.goodput_retained, case.measures);
    if let Some(why) = case.no_shares() {
        return question.not_asked(why);
    }
    if least <= 0.0 {
        return question.not_asked(format!("nothing need be left: {}", case.expected.goodput_because));
    }
    let retained = measures.goodput_retained.unwrap_or(0.0);
    let (result, measured) = match measures.goodput_interval {
        Some(interval) => {
            let text = format!(
                "{}, at 99 % within {} to {}",
                percent(retained),
                percent(interval.low),
                percent(interval.high)
            );
            (interval.at_least(least).into(), text)
        }
        None => {
            let noise = (3.0 * measures.baseline_sigma / measures.baseline_goodput.max(1.0)).max(NOISE);
            let result = match retained {
                _ if retained >= least => Ruling::Pass,
                _ if retained < least - noise => Ruling::Fail,
                _ => Ruling::Inconclusive,
            };
            let text =
                format!("{}, too few seconds for an interval: ± {}", percent(retained), percent(noise));
            (result, text)
        }
    };
    question.asked(Finding {
        result,
        expected: format!("at least {} of the baseline", percent(least)),
        because: case.expected.goodput_because.clone(),
        measured,
    })
}

pub(super) const ERRORS: Law =
    Law { question: Question { id: "error-share", title: "No more ops fail than must" }, ask: errors };

fn errors(question: &Question, case: &Case<'_>) -> Answer {
    let most = case.expected.error_share;
    if let Some(why) = case.no_shares() {
        return question.not_asked(why);
    }
    if most >= 1.0 {
        return question.not_asked(format!("all ops may fail: {}", case.expected.goodput_because));
    }
    question.asked(Finding {
        result: pass(case.measures.error_share <= most),
        expected: format!("at most {}", percent(most)),
        because: case.expected.goodput_because.clone(),
        measured: percent(case.measures.error_share),
    })
}

pub(super) const DEADLINE: Law =
    Law { question: Question { id: "op-deadline", title: "Every op ends by its deadline" }, ask: deadline };

fn deadline(question: &Question, case: &Case<'_>) -> Answer {
    let (Some(beyond), Some(hello)) = (case.measures.beyond_deadline, case.timeline.hello) else {
        return question.not_asked("the client declares no deadline of a whole op");
    };
    if !case.measures.reported.service {
        return question.not_asked("the client does not report how long its ops take");
    }
    let settings = &hello.settings;
    question.asked(Finding {
        result: pass(beyond <= LATE_OPS),
        expected: format!("at most {LATE_OPS} ops later than half as much again, and 100 ms"),
        because: format!(
            "an attempt takes at most {} ms, an op {} attempts and at most {} ms",
            settings.op_timeout_ms,
            u64::from(settings.retries) + 1,
            settings.total_timeout_ms.unwrap_or(0)
        ),
        measured: format!("{beyond} ops, the slowest took {:.0} ms", case.measures.slowest_ms),
    })
}

pub(super) const AMPLIFIES: Law = Law {
    question: Question { id: "amplification", title: "Retries do not multiply the load" },
    ask: amplification,
};

fn amplification(question: &Question, case: &Case<'_>) -> Answer {
    if !case.measures.reported.attempts {
        return question.not_asked(NO_ATTEMPTS);
    }
    let Some(worst) = case.measures.routing.amplification else {
        return question.not_asked("no stretch of the run was seen whole");
    };
    // One attempt of a trip's every op is the price of finding out.
    let failover = case.measures.faulted_share * case.expected.time_to_trip_ms.map_or(0.0, |t| t.most / 1e4);
    let limit = AMPLIFICATION + failover.min(1.0);
    question.asked(Finding {
        result: pass(worst <= limit),
        expected: format!("at most {limit:.2} attempts an op in any 10 s"),
        because: "a retry budget of 10 %, as much again, and what finding a trip costs".to_owned(),
        measured: format!("{worst:.3}"),
    })
}

pub(super) const LOST_WRITES: Law = Law {
    question: Question { id: "acknowledged-writes", title: "What was acknowledged is there" },
    ask: lost_writes,
};

fn lost_writes(question: &Question, case: &Case<'_>) -> Answer {
    let stale = &case.measures.stale;
    let driver = case.timeline.hello.map(|hello| &hello.settings.driver);
    let unacknowledged = driver.filter(|driver| !driver.acknowledges_writes());
    let why = match unacknowledged {
        // A finding is one, whatever was asked.
        _ if stale.lost_writes > 0 => None,
        Some(driver) => Some(format!("the driver {driver} writes and deletes without an acknowledgement")),
        None if case.measures.acknowledged == 0 => Some("no write was acknowledged".to_owned()),
        None if case.measures.hits == 0 => Some("no read found a value".to_owned()),
        None => None,
    };
    if let Some(why) = why {
        return question.not_asked(why);
    }
    question.asked(Finding {
        result: pass(stale.lost_writes == 0),
        expected: "0 reads under the fault that miss an acknowledged write of the same server".to_owned(),
        because: "a write that was refused must not be reported as stored; one that timed out is excused"
            .to_owned(),
        measured: format!(
            "{}; stale reads in all {}, the oldest {:.0} ms, the last {:.0} ms after the fault",
            stale.lost_writes, stale.count, stale.worst_age_ms, stale.until_ms
        ),
    })
}
