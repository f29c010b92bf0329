//! What was expected beside what was measured. Asked only of valid runs.

mod breaker;
mod case;
mod connections;
mod goodput;
mod healthy;
mod recovery;

use crate::NotAsked;
use crate::expect::Expectation;
use crate::measure::Measures;
use crate::question::Answers;
use crate::timeline::Timeline;
use case::Law;
pub(crate) use case::{Case, OPS_MIN};

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
