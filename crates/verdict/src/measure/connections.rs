//! What happened to the connections.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pair::DialPeaks;
use crate::timeline::Timeline;

/// Interval in which dials are counted together, µs.
const BURST_US: u64 = 100_000;

/// Connections of the whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionMeasures {
    /// Dials that ended.
    pub dials: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// Most dials of a server within 100 ms: before the fault, and after it was lifted.
    pub dials_per_100ms: BTreeMap<String, DialPeaks>,
    /// Most connections of a server at the same time.
    pub pool_peak: BTreeMap<String, u32>,
    /// Dials that succeeded, less connections closed, less the growth of the pool: what is open and no longer known. Absent
    /// where the source tells of no dials.
    pub unaccounted: BTreeMap<String, i64>,
}

impl ConnectionMeasures {
    pub(super) fn of(timeline: &Timeline<'_>) -> Self {
        let mut measures = Self::default();
        let mut recent: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
        let on = timeline.fault_window().map_or(u64::MAX, |(on, _)| on);
        let lifted = timeline.lifted().unwrap_or(u64::MAX);
        // What happened after the last tick is in no tick's pool.
        let from = timeline.ticks.first().map_or(0, |(at, _)| *at);
        let to = timeline.ticks.last().map_or(0, |(at, _)| *at);
        for change in timeline.connections.iter().filter(|change| change.at_us > from && change.at_us <= to) {
            let balance = balance.entry(&change.server).or_default();
            if !change.dial {
                measures.closed += 1;
                *balance -= 1;
                continue;
            }
            measures.dials += 1;
            *balance += i64::from(change.ok);
            let recent = recent.entry(&change.server).or_default();
            recent.retain(|at| at + BURST_US > change.at_us);
            recent.push(change.at_us);
            let peaks = measures.dials_per_100ms.entry(change.server.clone()).or_default();
            // While the fault is on nobody is healed yet.
            let peak = match change.at_us {
                at_us if at_us > lifted => &mut peaks.after,
                at_us if at_us <= on => &mut peaks.before,
                _ => continue,
            };
            *peak = (*peak).max(recent.len() as u64);
        }
        let (Some((_, first)), Some((_, last))) = (timeline.ticks.first(), timeline.ticks.last()) else {
            return measures;
        };
        for (_, tick) in &timeline.ticks {
            for server in &tick.servers {
                let peak = measures.pool_peak.entry(server.server.clone()).or_default();
                *peak = (*peak).max(server.pool.total);
            }
        }
        let total = |tick: &observation::Tick, name: &str| {
            let server = tick.servers.iter().find(|server| server.server == name);
            server.map_or(0, |server| i64::from(server.pool.total))
        };
        for (name, balance) in balance {
            let growth = total(last, name) - total(first, name);
            measures.unaccounted.insert(name.to_owned(), balance - growth);
        }
        measures
    }
}
