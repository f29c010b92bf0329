//! What the breakers did.

use std::collections::BTreeMap;

use observation::{BreakerState, Counts};
use serde::Serialize;

use crate::statistics::median;
use crate::timeline::{Timeline, sent};

/// What was under way at a trip ends with its timeout, and on a loaded machine is told this much later, µs: no open time is so short.
const TOLD_LATE_US: u64 = 500_000;
/// Ticks tell of ends up to this much later, µs.
const TICK_US: u64 = 200_000;

/// Breakers under the fault and after it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BreakerMeasures {
    /// Opens of each faulted server from fault on to fault off, each failed probe's among them.
    pub opens: BTreeMap<String, u64>,
    /// Opens of any server before the fault.
    pub opens_before: u64,
    /// Opens of any server after the fault was lifted and that breaker had closed.
    pub reopened: u64,
    /// Most probes of one half-open time.
    pub probes_per_half_open: u64,
    /// Half-open times under the fault.
    pub half_opens: u64,
    /// Attempts that reached a faulted server, and failed, before its breaker opened.
    pub lost_before_trip: BTreeMap<String, u64>,
    /// Attempts that were sent to a faulted server after it opened, those under way at that moment apart; without a trip: after
    /// one timeout of the fault.
    pub dead_calls: BTreeMap<String, u64>,
    /// Median time from one open to the next of the same server under the fault, ms.
    pub sawtooth_period_ms: Option<f64>,
    /// Share of the fault's ticks with a failed op, after the first trip, or the first second.
    pub error_duty_cycle: Option<f64>,
}

impl BreakerMeasures {
    pub(super) fn of(timeline: &Timeline<'_>) -> Self {
        let mut measures = Self::default();
        let Some((on, off)) = timeline.fault_window() else { return measures };
        let timeout = timeline.op_timeout_us();
        let opens = |from: u64, to: u64| {
            let opens = timeline.breakers.iter().filter(|t| t.to == BreakerState::Open);
            opens.filter(move |t| t.at_us >= from && t.at_us <= to)
        };
        measures.opens_before = opens(0, on.saturating_sub(1_000)).count() as u64;
        let mut periods = Vec::new();
        let mut first_trip = None;
        for server in timeline.faulted() {
            let at: Vec<u64> = opens(on.saturating_sub(1_000), off)
                .filter(|t| t.server == server)
                .map(|t| t.at_us)
                .collect();
            periods.extend(at.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e3));
            let first = at.first().copied();
            first_trip = first_trip.max(first);
            let attempts = |from: u64, to: u64| {
                let mut sum = Counts::default();
                timeline.server(&server, from, to).for_each(|(_, tick)| sum.merge(&tick.attempts));
                sum
            };
            let dead_from =
                first.map_or(on.saturating_add(TICK_US), |first| first.saturating_add(TOLD_LATE_US));
            let dead_from = dead_from.saturating_add(timeout);
            measures.dead_calls.insert(server.clone(), sent(&attempts(dead_from, off)));
            if let Some(first) = first {
                let before = attempts(on, first.saturating_add(100_000));
                let failed = before.errors().saturating_sub(before.get(observation::Outcome::BreakerOpen));
                measures.lost_before_trip.insert(server.clone(), failed);
            }
            measures.opens.insert(server, at.len() as u64);
        }
        measures.sawtooth_period_ms = median(&periods);
        measures.half_open_times(timeline, on, off);
        measures.reopened(timeline);
        let settled = first_trip.unwrap_or(on + 1_000_000) + TICK_US;
        let ticks: Vec<bool> = timeline
            .ticks
            .iter()
            .filter(|(at, _)| *at > settled && *at <= off)
            .map(|(_, tick)| tick.servers.iter().any(|server| server.ops.errors() > 0))
            .collect();
        measures.error_duty_cycle = (!ticks.is_empty())
            .then(|| ticks.iter().filter(|failed| **failed).count() as f64 / ticks.len() as f64);
        measures
    }

    fn half_open_times(&mut self, timeline: &Timeline<'_>, on: u64, off: u64) {
        for (index, begin) in timeline.breakers.iter().enumerate() {
            if begin.to != BreakerState::HalfOpen {
                continue;
            }
            if begin.at_us > on && begin.at_us <= off {
                self.half_opens += 1;
            }
            let mut later = timeline.breakers[index + 1..].iter();
            let end = later.find(|t| t.server == begin.server).map_or(u64::MAX, |t| t.at_us);
            let probes = timeline.probes.iter().filter(|probe| {
                // The last one's end is what ends the time: the two events are in either order.
                probe.server == begin.server
                    && probe.at_us > begin.at_us
                    && probe.at_us <= end.saturating_add(5_000)
            });
            self.probes_per_half_open = self.probes_per_half_open.max(probes.count() as u64);
        }
    }

    fn reopened(&mut self, timeline: &Timeline<'_>) {
        let Some(lifted) = timeline.lifted() else { return };
        let mut closed: BTreeMap<&str, bool> = BTreeMap::new();
        for transition in timeline.breakers.iter().filter(|t| t.at_us > lifted) {
            let was = closed.insert(&transition.server, transition.to == BreakerState::Closed);
            if transition.to == BreakerState::Open && was == Some(true) {
                self.reopened += 1;
            }
        }
    }
}
