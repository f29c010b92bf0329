//! Does the breaker of a faulted server do what its settings say?

use super::{Case, pass};
use crate::expect::Trip;
use crate::{Criterion, Result};

/// Attempts beyond those of the probes: what was under way, and ticks that end late.
const STRAY: f64 = 3.0;
/// The stray ones of a server that many want, as seconds of its load.
const STRAY_S: f64 = 0.02;

pub(super) fn trips(case: &Case<'_>) -> Vec<Criterion> {
    let of = |(server, trip): (&String, &Trip)| {
        let tripped = case.measures.time_to_trip_ms.get(server).copied().flatten();
        let (result, text) = match trip {
            Trip::Must => (pass(tripped.is_some()), "a trip"),
            Trip::MustNot => (pass(tripped.is_none()), "no trip"),
            Trip::May => (Result::Pass, "either"),
        };
        Criterion {
            id: "trips-as-expected",
            title: "The breaker of the faulted server opens when it should, and only then",
            result,
            expected: format!("{server}: {text}"),
            because: case.expected.trips_because.clone(),
            measured: tripped.map_or("no trip".to_owned(), |ms| format!("open after {ms:.0} ms")),
        }
    };
    case.expected.trips.iter().map(of).collect()
}

pub(super) fn time_to_trip(case: &Case<'_>) -> Vec<Criterion> {
    let Some(limit) = case.expected.time_to_trip_ms else { return Vec::new() };
    let tripped =
        case.expected.trips.keys().filter_map(|server| {
            Some((server, case.measures.time_to_trip_ms.get(server).copied().flatten()?))
        });
    let criterion = |(server, ms): (&String, f64)| Criterion {
        id: "time-to-trip",
        title: "It opens in time",
        result: pass(ms <= limit.most),
        expected: format!("{server}: {:.0} to {:.0} ms", limit.least, limit.most),
        because: case.expected.time_to_trip_because.clone(),
        measured: format!("{ms:.0} ms, known to {:.1} ms", case.measures.fault_width_ms[0]),
    };
    tripped.map(criterion).collect()
}

pub(super) fn dead_server_calls(case: &Case<'_>) -> Vec<Criterion> {
    let Some(cycles) = case.expected.probe_cycles else { return Vec::new() };
    let Some(breaker) = case.breaker() else { return Vec::new() };
    let probes = f64::from(breaker.half_open_probes);
    let limit = cycles.most * probes + STRAY.max(case.offered_each() * STRAY_S);
    let criterion = |(server, calls): (&String, &u64)| Criterion {
        id: "dead-server-calls",
        title: "A server whose breaker is open is left alone, but for probes",
        result: pass(*calls as f64 <= limit),
        expected: format!("{server}: at most {limit:.0} attempts after the trip"),
        because: format!(
            "at most {:.0} half-open times of {probes} probes ({}), and stray ones",
            cycles.most, case.expected.probe_cycles_because
        ),
        measured: format!("{calls} attempts"),
    };
    case.measures.breakers.dead_calls.iter().map(criterion).collect()
}

pub(super) fn probes(case: &Case<'_>) -> Vec<Criterion> {
    let Some(breaker) = case.breaker() else { return Vec::new() };
    let (most, limit) = (
        case.measures.breakers.probes_per_half_open,
        u64::from(breaker.half_open_probes) + u64::from(breaker.successes_to_close),
    );
    if case.measures.breakers.half_opens == 0 && most == 0 {
        return Vec::new();
    }
    vec![Criterion {
        id: "probes",
        title: "A half-open breaker lets a few probes through, and nobody else",
        result: pass(most <= limit),
        expected: format!("at most {limit} probes in one half-open time"),
        because: format!(
            "{} at a time, and {} successes close it",
            breaker.half_open_probes, breaker.successes_to_close
        ),
        measured: format!(
            "at most {most}, in {} half-open times under the fault",
            case.measures.breakers.half_opens
        ),
    }]
}

pub(super) fn flapping(case: &Case<'_>) -> Vec<Criterion> {
    let Some(breaker) = case.breaker() else { return Vec::new() };
    // Between two opens lies at least the shortest open time.
    let shortest = (breaker.open_ms as f64 * (1.0 - breaker.open_jitter)).max(1.0);
    let limit = match case.expected.probe_cycles {
        Some(cycles) => cycles.most + 1.0,
        None => (case.measures.fault_ms / shortest).ceil() + 1.0,
    };
    let criterion = |(server, opens): (&String, &u64)| Criterion {
        id: "flapping",
        title: "The breaker opens no more often than its open time allows",
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
    case.measures.breakers.opens.iter().map(criterion).collect()
}
