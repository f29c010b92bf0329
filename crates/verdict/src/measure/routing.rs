//! Where the ops went, and what that cost.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pair::BeforeAfter;
use crate::timeline::{Sum, Timeline, sent, share};

/// Amplification is that of the worst such interval, µs.
const WINDOW_US: u64 = 10_000_000;
/// The step between two of them, µs.
const STEP_US: u64 = 1_000_000;

/// Attempts beside ops.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoutingMeasures {
    /// Attempts that were sent over ops that ended, in the worst 10 s of the run.
    pub amplification: Option<f64>,
    /// Fault on to the first op of a faulted server that another one served, ms.
    pub time_to_failover_ms: Option<f64>,
    /// Share of all attempts that were sent to each server: before the fault, and at the end.
    pub shares: BTreeMap<String, BeforeAfter>,
}

impl RoutingMeasures {
    pub(super) fn of(timeline: &Timeline<'_>, tail: Option<(u64, u64)>) -> Self {
        let mut measures = Self::default();
        let (Some((from, to)), Some((on, off))) = (timeline.baseline_window(), timeline.fault_window())
        else {
            return measures;
        };
        measures.amplification = worst_amplification(timeline, from);
        for server in timeline.faulted() {
            let mut ticks = timeline.server(&server, on, off);
            let elsewhere = ticks.find(|(_, tick)| tick.ops.ok() > tick.attempts.ok());
            let ms = elsewhere.map(|(at, _)| (at - on) as f64 / 1e3);
            measures.time_to_failover_ms = match (measures.time_to_failover_ms, ms) {
                (Some(known), Some(ms)) => Some(f64::min(known, ms)),
                (known, ms) => known.or(ms),
            };
        }
        if let Some((from_end, to_end)) = tail {
            let (before, after) = (timeline.sum(from, to), timeline.sum(from_end, to_end));
            let all = |sum: &Sum| total(sum.attempts.values());
            for (server, attempts) in &before.attempts {
                let after_here = after.attempts.get(server).map_or(0, sent);
                let shares = BeforeAfter {
                    before: share(sent(attempts), all(&before)),
                    after: share(after_here, all(&after)),
                };
                measures.shares.insert(server.clone(), shares);
            }
        }
        measures
    }
}

fn worst_amplification(timeline: &Timeline<'_>, begin: u64) -> Option<f64> {
    let end = timeline.ticks.last().map(|(at, _)| *at)?;
    let mut worst: Option<f64> = None;
    let mut from = begin;
    while from < end {
        let sum = timeline.sum(from, from + WINDOW_US);
        let ops = sum.all().total();
        if ops > 0 && sum.seconds > 0.5 * (WINDOW_US.min(end - begin) as f64 / 1e6) {
            let attempts = total(sum.attempts.values());
            let here = attempts as f64 / ops as f64;
            worst = Some(worst.map_or(here, |worst: f64| worst.max(here)));
        }
        from += STEP_US;
    }
    worst
}

fn total<'a>(attempts: impl Iterator<Item = &'a observation::Counts>) -> u64 {
    attempts.fold(0, |total, attempts| sent(attempts).saturating_add(total))
}
