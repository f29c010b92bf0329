//! What was expected beside what was measured. Asked only of valid runs.

mod breaker;
mod connections;
mod goodput;
mod healthy;
mod recovery;

use observation::BreakerSettings;

use crate::expect::Expectation;
use crate::measure::Measures;
use crate::timeline::Timeline;
use crate::{Criterion, Result};

/// What every criterion looks at.
pub(crate) struct Case<'a> {
    pub(crate) timeline: &'a Timeline<'a>,
    pub(crate) measures: &'a Measures,
    pub(crate) expected: &'a Expectation,
}

/// Each criterion, in the order of the report; none where it has nothing to ask of this run.
const ALL: &[fn(&Case<'_>) -> Vec<Criterion>] = &[
    breaker::trips,
    breaker::time_to_trip,
    breaker::dead_server_calls,
    breaker::probes,
    breaker::flapping,
    healthy::no_trip,
    healthy::isolation,
    goodput::retained,
    goodput::errors,
    goodput::deadline,
    goodput::amplification,
    goodput::lost_writes,
    recovery::in_time,
    recovery::stays,
    recovery::goodput_after,
    recovery::fails_back,
    connections::dial_burst,
    connections::sockets,
];

pub(crate) fn criteria(
    timeline: &Timeline<'_>,
    measures: &Measures,
    expected: &Expectation,
) -> Vec<Criterion> {
    let case = Case { timeline, measures, expected };
    ALL.iter().flat_map(|criterion| criterion(&case)).collect()
}

/// Ops under the fault at least, before shares of them mean something.
const OPS_MIN: f64 = 200.0;

impl Case<'_> {
    /// Too few ops under the fault to speak of shares.
    fn too_few(&self) -> bool {
        self.measures.baseline_offered * self.measures.fault_ms / 1e3 < OPS_MIN
    }

    /// The client's breaker, as it declares it.
    fn breaker(&self) -> Option<&BreakerSettings> {
        self.timeline.hello?.settings.breaker.as_ref()
    }

    /// Offered ops/s whose home is one faulted server, on average.
    fn offered_each(&self) -> f64 {
        let servers = self.expected.trips.len().max(1) as f64;
        self.measures.baseline_offered * self.measures.faulted_share / servers
    }
}

/// A percentile of latencies up to so many times that before the fault, or so many ms above it, may be the work of others on the
/// machine.
const SLOWER: f64 = 2.0;
const SLOWER_MS: f64 = 25.0;

fn slower_limit_ms(before_ms: f64) -> f64 {
    (SLOWER * before_ms).max(before_ms + SLOWER_MS)
}

fn pass(ok: bool) -> Result {
    if ok { Result::Pass } else { Result::Fail }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
