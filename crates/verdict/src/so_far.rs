//! What can be said of a run that is not over. Never a verdict: what holds may still break, and what does not hold yet may still come.

use observation::journal::Journal;
use observation::{End, EndStatus, PhaseKind};
use serde::Serialize;

use crate::expect::Expectation;
use crate::measure::Measures;
use crate::question::Answers;
use crate::timeline::Timeline;
use crate::{Criterion, Ruling, criteria, essential, no_wrong_values, validity};

/// Asked at the end only: they are about the end.
const OF_THE_END: [&str; 2] = ["completed", "clean"];
/// Asked when there is a fault: they are about it.
const OF_THE_FAULT: [&str; 2] = ["fault-bit", "witness-agrees"];
/// Asked when the fault is gone: they are about what comes after it.
const OF_THE_RECOVERY: [&str; 6] =
    ["recovery", "stays-recovered", "goodput-after", "fails-back", "dial-burst", "sockets"];

/// How a criterion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It would be met if the run ended now.
    Holds,
    /// It would not be met if the run ended now.
    NotYet,
    /// Nothing can be said yet.
    Open,
    /// It cannot be met any more, whatever comes.
    Broken,
}

impl Standing {
    fn of(result: Ruling) -> Self {
        match result {
            Ruling::Pass => Standing::Holds,
            Ruling::Fail => Standing::NotYet,
            Ruling::Inconclusive | Ruling::Invalid => Standing::Open,
            Ruling::WrongData => Standing::Broken,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Holds => "holds so far",
            Standing::NotYet => "not met so far",
            Standing::Open => "cannot be said yet",
            Standing::Broken => "broken for good",
        }
    }
}

/// A criterion before the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// Stable name.
    pub id: &'static str,
    /// What it asks.
    pub title: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What is expected.
    pub expected: String,
    /// What was measured so far.
    pub measured: String,
}

/// A run so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SoFar {
    /// Which phase runs; absent: none has begun.
    pub phase: Option<PhaseKind>,
    /// Up to which moment of the run it was looked at, µs.
    pub until_us: u64,
    /// Is the client asked already? Not while it is open whether the run can say anything about it.
    pub asked: bool,
    /// What can be asked by now.
    pub criteria: Vec<Preview>,
}

/// Looks at a journal that is still being written, as if the run ended with its last line.
pub fn so_far(journal: &Journal) -> SoFar {
    let until_us = journal.entries.iter().map(|entry| entry.at_us).max().unwrap_or(0);
    let end = End { at_us: until_us, status: EndStatus::Completed, reason: None, clean: true };
    let mut timeline = Timeline::read(journal);
    let phase = timeline.phases.keys().max().copied();
    timeline.ended_by(&end);
    let measures = Measures::of(&timeline);
    let under_fault = phase >= Some(PhaseKind::Testing);
    let after = phase >= Some(PhaseKind::Recovery);
    let now = |criterion: &Criterion| {
        let early = (!under_fault && OF_THE_FAULT.contains(&criterion.id))
            || (!after && OF_THE_RECOVERY.contains(&criterion.id));
        !early && !OF_THE_END.contains(&criterion.id)
    };
    let mut asked = Answers::from_iter([no_wrong_values(&measures)]).criteria;
    let mut validity = validity::criteria(&timeline, &measures);
    validity.criteria.retain(now);
    let valid = under_fault
        && validity.all_pass()
        && essential::asked_for_the_fault(&validity, timeline.is_control());
    asked.extend(validity.criteria);
    // As the judge does: of a run that cannot speak, nothing is blamed on the client.
    if valid && let Some(expectation) = Expectation::of(&timeline, &measures) {
        let of_the_client = criteria::criteria(&timeline, &measures, &expectation).criteria;
        asked.extend(of_the_client.into_iter().filter(now));
    }
    let criteria = asked.into_iter().map(|criterion| Preview {
        id: criterion.id,
        title: criterion.title,
        standing: Standing::of(criterion.result),
        expected: criterion.expected,
        measured: criterion.measured,
    });
    SoFar { phase, until_us, asked: valid, criteria: criteria.collect() }
}
