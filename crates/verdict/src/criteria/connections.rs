//! Does the client handle its connections with care?

use super::case::{Case, Law, pass};
use crate::pair::DialPeaks;
use crate::question::{Answer, Finding, Question};

/// Dials within 100 ms that are no burst, whatever the settings.
const DIALS: f64 = 8.0;
/// Times the declared rate within any 100 ms.
const RATE: f64 = 2.0;
/// Connections that may be missing from the books: dials under way at either end.
const UNACCOUNTED: i64 = 4;
/// A pool of this size has no limit, or does not tell it.
const NO_LIMIT: u32 = u32::MAX;

pub(super) const DIAL_BURST: Law = Law {
    question: Question {
        id: "dial-burst",
        title: "A healed server is not met by all connections in one instant",
    },
    ask: dial_burst,
};

fn dial_burst(question: &Question, case: &Case<'_>) -> Answer {
    let Some(hello) = case.timeline.hello else { return question.not_asked("the client told no settings") };
    if !case.measures.reported.dials {
        return question.not_asked("the client reports no dials");
    }
    let pool = hello.settings.pool_max;
    let cut = case.timeline.faults.iter().any(|fault| fault.effect.cuts_connections);
    let (limit, because) = match hello.settings.dials_per_s.filter(|_| cut) {
        Some(rate) => (
            (RATE * rate / 10.0).max(DIALS),
            format!("all were lost at once: {rate:.0} dials a second, twice that in any 100 ms"),
        ),
        None if pool == NO_LIMIT => {
            return question.not_asked("the client declares no limit of its pool");
        }
        None => (f64::from(pool).max(DIALS), format!("a pool of {pool} connections, each dialled once")),
    };
    let finding = |(server, dials): (&String, &DialPeaks)| Finding {
        result: pass(dials.after as f64 <= limit),
        expected: format!("{server}: at most {limit:.0} dials in 100 ms"),
        because: because.clone(),
        measured: format!("{} dials after the fault", dials.after),
    };
    let faulted = case.expected.trips.keys();
    let dials = &case.measures.connections.dials_per_100ms;
    let faulted = faulted.filter_map(|server| dials.get_key_value(server));
    question.each(faulted.map(finding), "no faulted server was dialled")
}

pub(super) const SOCKETS: Law = Law {
    question: Question { id: "sockets", title: "No connection is leaked, and none beyond the pool" },
    ask: sockets,
};

fn sockets(question: &Question, case: &Case<'_>) -> Answer {
    let Some(hello) = case.timeline.hello else { return question.not_asked("the client told no settings") };
    let reported = &case.measures.reported;
    let connections = &case.measures.connections;
    // A finding is one, whatever else was asked: what was dialled and is nowhere has leaked.
    let leaks = reported.closes && connections.unaccounted.values().any(|lost| *lost > UNACCOUNTED);
    if !reported.pool && !leaks {
        return question.not_asked("the client reports no connections of its pool");
    }
    let max = Some(hello.settings.pool_max).filter(|max| *max != NO_LIMIT);
    if max.is_none() && !reported.dials {
        return question.not_asked("the client declares no limit of its pool, and reports no dials");
    }
    let finding = |(server, peak): (&String, &u32)| {
        let lost = connections.unaccounted.get(server).copied().unwrap_or(0);
        let most = max.map_or("any number of".to_owned(), |max| format!("at most {max}"));
        let (books, counted) = match reported.dials {
            true => (
                ", every one closed or in the pool",
                format!("{lost} dialled and neither closed nor in the pool"),
            ),
            false => ("", "no dials are reported, so a leak would not show".to_owned()),
        };
        Finding {
            result: pass(max.is_none_or(|max| *peak <= max) && lost <= UNACCOUNTED),
            expected: format!("{server}: {most} connections{books}"),
            because: "the pool's size, and dials less closes less the pool's growth".to_owned(),
            measured: format!("at most {peak}, {counted}"),
        }
    };
    question.each(connections.pool_peak.iter().map(finding), "there is no tick of any server")
}
