//! Does the breaker of a faulted server do what its settings say?

use super::case::{Case, Law, NO_ATTEMPTS, NO_BREAKER, NO_FAULTED, pass};
use crate::expect::Trip;
use crate::question::{Answer, Finding, Question};

/// Attempts beyond those of the probes: what was under way, and ticks that end late.
const STRAY: f64 = 3.0;
/// The stray ones of a server that many want, as seconds of its load.
const STRAY_S: f64 = 0.02;

pub(super) const TRIPS: Law = Law {
    question: Question {
        id: "trips-as-expected",
        title: "The breaker of the faulted server opens when it should, and only then",
    },
    ask: trips,
};

fn trips(question: &Question, case: &Case<'_>) -> Answer {
    if !case.measures.reported.breakers {
        return question.not_asked(NO_BREAKER);
    }
    let of = |(server, trip): (&String, &Trip)| {
        let tripped = case.measures.time_to_trip_ms.get(server).copied().flatten();
        let (ok, text) = match trip {
            Trip::Must => (tripped.is_some(), "a trip"),
            Trip::MustNot => (tripped.is_none(), "no trip"),
            Trip::May => return None,
        };
        Some(Finding {
            result: pass(ok),
            expected: format!("{server}: {text}"),
            because: case.expected.trips_because.clone(),
            measured: tripped.map_or("no trip".to_owned(), |ms| format!("open after {ms:.0} ms")),
        })
    };
    let none = match case.expected.trips.is_empty() {
        true => NO_FAULTED.to_owned(),
        false => format!("a trip depends on chance: {}", case.expected.trips_because),
    };
    question.each(case.expected.trips.iter().filter_map(of), &none)
}

pub(super) const TIME_TO_TRIP: Law =
    Law { question: Question { id: "time-to-trip", title: "It opens in time" }, ask: time_to_trip };

fn time_to_trip(question: &Question, case: &Case<'_>) -> Answer {
    let Some(limit) = case.expected.time_to_trip_ms else {
        return question.not_asked("no trip must come");
    };
    let tripped =
        case.expected.trips.keys().filter_map(|server| {
            Some((server, case.measures.time_to_trip_ms.get(server).copied().flatten()?))
        });
    let finding = |(server, ms): (&String, f64)| Finding {
        result: pass(ms <= limit.most),
        expected: format!("{server}: {:.0} to {:.0} ms", limit.least, limit.most),
        because: case.expected.time_to_trip_because.clone(),
        measured: format!("{ms:.0} ms, known to {:.1} ms", case.measures.fault_width_ms.on_ms),
    };
    question.each(tripped.map(finding), "no breaker of a faulted server opened")
}

pub(super) const DEAD_SERVER_CALLS: Law = Law {
    question: Question {
        id: "dead-server-calls",
        title: "A server whose breaker is open is left alone, but for probes",
    },
    ask: dead_server_calls,
};

fn dead_server_calls(question: &Question, case: &Case<'_>) -> Answer {
    let Some(breaker) = case.breaker() else { return question.not_asked(NO_BREAKER) };
    let Some(cycles) = case.expected.probe_cycles else {
        return question.not_asked("no breaker must stay open under this fault");
    };
    if !case.measures.reported.attempts {
        return question.not_asked(NO_ATTEMPTS);
    }
    let probes = f64::from(breaker.half_open_probes);
    let limit = cycles.most * probes + STRAY.max(case.offered_each() * STRAY_S);
    let finding = |(server, calls): (&String, &u64)| Finding {
        result: pass(*calls as f64 <= limit),
        expected: format!("{server}: at most {limit:.0} attempts after the trip"),
        because: format!(
            "at most {:.0} half-open times of {probes} probes ({}), and stray ones",
            cycles.most, case.expected.probe_cycles_because
        ),
        measured: format!("{calls} attempts"),
    };
    question.each(case.measures.breakers.dead_calls.iter().map(finding), NO_FAULTED)
}

pub(super) const PROBES: Law = Law {
    question: Question {
        id: "probes",
        title: "A half-open breaker lets a few probes through, and nobody else",
    },
    ask: probes,
};

fn probes(question: &Question, case: &Case<'_>) -> Answer {
    let Some(breaker) = case.breaker() else { return question.not_asked(NO_BREAKER) };
    let breakers = &case.measures.breakers;
    let (most, limit) = (
        breakers.probes_per_half_open,
        u64::from(breaker.half_open_probes) + u64::from(breaker.successes_to_close),
    );
    match (breakers.half_opens, most) {
        (0, 0) => return question.not_asked("no breaker was half-open under the fault"),
        (_, 0) if !case.measures.reported.probes => {
            return question.not_asked("the client reports no probes");
        }
        _ => {}
    }
    question.asked(Finding {
        result: pass(most <= limit),
        expected: format!("at most {limit} probes in one half-open time"),
        because: format!(
            "{} at a time, and {} successes close it",
            breaker.half_open_probes, breaker.successes_to_close
        ),
        measured: format!("at most {most}, in {} half-open times under the fault", breakers.half_opens),
    })
}

pub(super) const FLAPPING: Law = Law {
    question: Question { id: "flapping", title: "The breaker opens no more often than its open time allows" },
    ask: flapping,
};

fn flapping(question: &Question, case: &Case<'_>) -> Answer {
    let Some(breaker) = case.breaker() else { return question.not_asked(NO_BREAKER) };
    // Between two opens lies at least the shortest open time.
    let shortest = (breaker.open_ms as f64 * (1.0 - breaker.open_jitter)).max(1.0);
    let limit = match case.expected.probe_cycles {
        Some(cycles) => cycles.most + 1.0,
        None => (case.measures.fault_ms / shortest).ceil() + 1.0,
    };
    let finding = |(server, opens): (&String, &u64)| Finding {
        result: pass(*opens as f64 <= limit),
        expected: format!("{server}: at most {limit:.0} opens"),
        because: format!("{:.0} ms of fault, open for at least {shortest:.0} ms", case.measures.fault_ms),
        measured: format!(
            "{opens} opens{}",
            case.measures
                .breakers
                .sawtooth_period_ms
                .map_or(String::new(), |period| format!(", one every {period:.0} ms"))
        ),
    };
    question.each(case.measures.breakers.opens.iter().map(finding), NO_FAULTED)
}
