//! Does the client handle its connections with care?

use super::{Case, pass};
use crate::Criterion;

/// Dials within 100 ms that are no burst, whatever the settings.
const DIALS: f64 = 8.0;
/// Times the declared rate within any 100 ms.
const RATE: f64 = 2.0;
/// Connections that may be missing from the books: dials under way at either end.
const UNACCOUNTED: i64 = 4;

pub(super) fn dial_burst(case: &Case<'_>) -> Vec<Criterion> {
    let Some(hello) = case.timeline.hello else { return Vec::new() };
    let pool = f64::from(hello.settings.pool_max);
    let cut = case.timeline.faults.iter().any(|fault| fault.effect.cuts_connections);
    let (limit, because) = match hello.settings.dials_per_s.filter(|_| cut) {
        Some(rate) => (
            (RATE * rate / 10.0).max(DIALS),
            format!("all were lost at once: {rate:.0} dials a second, twice that in any 100 ms"),
        ),
        None => (pool.max(DIALS), format!("a pool of {pool:.0} connections, each dialled once")),
    };
    let criterion = |(server, [_, after]): (&String, &[u64; 2])| Criterion {
        id: "dial-burst",
        title: "A healed server is not met by all connections in one instant",
        result: pass(*after as f64 <= limit),
        expected: format!("{server}: at most {limit:.0} dials in 100 ms"),
        because: because.clone(),
        measured: format!("{after} dials after the fault"),
    };
    let faulted = case.expected.trips.keys();
    let dials = &case.measures.connections.dials_per_100ms;
    faulted.filter_map(|server| dials.get_key_value(server)).map(criterion).collect()
}

pub(super) fn sockets(case: &Case<'_>) -> Vec<Criterion> {
    let Some(hello) = case.timeline.hello else { return Vec::new() };
    let max = hello.settings.pool_max;
    let connections = &case.measures.connections;
    let criterion = |(server, peak): (&String, &u32)| {
        let lost = connections.unaccounted.get(server).copied().unwrap_or(0);
        Criterion {
            id: "sockets",
            title: "No connection is leaked, and none beyond the pool",
            result: pass(*peak <= max && lost <= UNACCOUNTED),
            expected: format!("{server}: at most {max} connections, every one closed or in the pool"),
            because: "the pool's size, and dials less closes less the pool's growth".to_owned(),
            measured: format!("at most {peak}, {lost} dialled and neither closed nor in the pool"),
        }
    };
    connections.pool_peak.iter().map(criterion).collect()
}
