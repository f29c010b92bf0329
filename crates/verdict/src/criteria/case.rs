//! What the criteria share: the run that they are asked of, limits, and words.

use observation::BreakerSettings;

use crate::Ruling;
use crate::expect::Expectation;
use crate::measure::Measures;
use crate::question::{Answer, Question};
use crate::timeline::Timeline;

/// The run, as every criterion sees it.
pub(crate) struct Case<'a> {
    pub(crate) timeline: &'a Timeline<'a>,
    pub(crate) measures: &'a Measures,
    pub(crate) expected: &'a Expectation,
}

/// A question to the client, and how it is asked.
pub(super) struct Law {
    pub(super) question: Question,
    pub(super) ask: fn(&Question, &Case<'_>) -> Answer,
}

/// Ops under the fault at least, before shares of them mean something.
pub(crate) const OPS_MIN: u32 = 200;

impl Case<'_> {
    /// Why shares of the ops under the fault mean nothing, if so.
    pub(super) fn no_shares(&self) -> Option<&'static str> {
        if self.measures.baseline_offered * self.measures.fault_ms / 1e3 < f64::from(OPS_MIN) {
            return Some("too few ops under so short a fault");
        }
        self.measures.goodput_retained.is_none().then_some("the fault is shorter than the ticks")
    }

    /// The client's breaker, as it declares it.
    pub(super) fn breaker(&self) -> Option<&BreakerSettings> {
        self.timeline.hello?.settings.breaker.as_ref()
    }

    /// Offered ops/s whose home is one faulted server, on average.
    pub(super) fn offered_each(&self) -> f64 {
        let servers = self.expected.trips.len().max(1) as f64;
        self.measures.baseline_offered * self.measures.faulted_share / servers
    }
}

/// Why a question was not asked.
pub(super) const NO_BREAKER: &str = "the client has no breaker";
pub(super) const NO_FAULTED: &str = "no server had a fault";
pub(super) const NO_ATTEMPTS: &str = "the client reports no attempts";

/// A percentile of latencies up to so many times that before the fault, or so many ms above it, may be the work of others on the
/// machine.
pub(super) const SLOWER: f64 = 2.0;
pub(super) const SLOWER_MS: f64 = 25.0;

pub(super) fn slower_limit_ms(before_ms: f64) -> f64 {
    (SLOWER * before_ms).max(before_ms + SLOWER_MS)
}

pub(super) fn pass(ok: bool) -> Ruling {
    if ok { Ruling::Pass } else { Ruling::Fail }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
