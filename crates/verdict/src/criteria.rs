//! What was expected beside what was measured. Asked only of valid runs.

mod breaker;
mod connections;
mod goodput;
mod healthy;
mod recovery;

use observation::BreakerSettings;

use crate::expect::Expectation;
use crate::measure::Measures;
use crate::question::{Answer, Answers, Question};
use crate::timeline::Timeline;
use crate::{NotAsked, Ruling};

/// What every criterion looks at.
pub(crate) struct Case<'a> {
    pub(crate) timeline: &'a Timeline<'a>,
    pub(crate) measures: &'a Measures,
    pub(crate) expected: &'a Expectation,
}

/// A question to the client, and how it is asked.
struct Law {
    question: Question,
    ask: fn(&Question, &Case<'_>) -> Answer,
}

/// Each of them, in the order of the report.
const ALL: &[Law] = &[
    breaker::TRIPS,
    breaker::TIME_TO_TRIP,
    breaker::DEAD_SERVER_CALLS,
    breaker::PROBES,
    breaker::FLAPPING,
    healthy::NO_TRIP,
    healthy::ISOLATED,
    healthy::LATENCY,
    goodput::RETAINED,
    goodput::ERRORS,
    goodput::DEADLINE,
    goodput::AMPLIFIES,
    goodput::LOST_WRITES,
    recovery::IN_TIME,
    recovery::STAYS,
    recovery::GOODPUT_AFTER,
    recovery::FAILS_BACK,
    connections::DIAL_BURST,
    connections::SOCKETS,
];

pub(crate) fn criteria(timeline: &Timeline<'_>, measures: &Measures, expected: &Expectation) -> Answers {
    let case = Case { timeline, measures, expected };
    ALL.iter().map(|law| (law.ask)(&law.question, &case)).collect()
}

/// What would have been asked of a client of which the run says nothing.
pub(crate) fn none_asked() -> impl Iterator<Item = NotAsked> {
    let reason = "the run says nothing about the client".to_owned();
    ALL.iter().map(move |Law { question, .. }| NotAsked {
        id: question.id,
        title: question.title,
        reason: reason.clone(),
    })
}

/// Ops under the fault at least, before shares of them mean something.
const OPS_MIN: f64 = 200.0;

impl Case<'_> {
    /// Why shares of the ops under the fault mean nothing, if so.
    fn no_shares(&self) -> Option<&'static str> {
        if self.measures.baseline_offered * self.measures.fault_ms / 1e3 < OPS_MIN {
            return Some("too few ops under so short a fault");
        }
        self.measures.goodput_retained.is_none().then_some("the fault is shorter than the ticks")
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

/// Why a question was not asked.
const NO_BREAKER: &str = "the client has no breaker";
const NO_FAULTED: &str = "no server had a fault";
const NO_ATTEMPTS: &str = "the client reports no attempts";

/// A percentile of latencies up to so many times that before the fault, or so many ms above it, may be the work of others on the
/// machine.
const SLOWER: f64 = 2.0;
const SLOWER_MS: f64 = 25.0;

fn slower_limit_ms(before_ms: f64) -> f64 {
    (SLOWER * before_ms).max(before_ms + SLOWER_MS)
}

fn pass(ok: bool) -> Ruling {
    if ok { Ruling::Pass } else { Ruling::Fail }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
