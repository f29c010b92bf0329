//! Can this run say anything about the client? Each witness is a criterion that must pass first.

use std::collections::BTreeMap;

use observation::clock::SuspendWatch;
use observation::{EndStatus, FaultState, NoteCode};

use crate::measure::Measures;
use crate::statistics::baseline as rules;
use crate::timeline::Timeline;
use crate::witness;
use crate::{Criterion, Result};

/// Ticks may cover so much more or less than the run.
const COVERAGE: f64 = 0.03;
/// Offered load may be so much less or more than the declared one, beside the randomness of arrivals: a multi-get is one arrival
/// and several ops.
const LESS: f64 = 0.02;
const MORE: f64 = 0.1;
/// A canary that was sent this shortly before the fault may have met it, µs.
const CANARY_US: u64 = 1_000_000;
/// What the fault held may be on its way for so long after it was lifted, µs.
const LINGER_US: u64 = 1_500_000;
/// So many canaries, and this share of them, may remain unanswered on a machine with other work.
const LOST_MIN: u64 = 4;
const LOST: f64 = 0.05;
/// So many on end, 150 ms, are a server that was away.
const IN_A_ROW: u64 = 3;

pub(crate) fn criteria(timeline: &Timeline<'_>, measures: &Measures) -> Vec<Criterion> {
    let mut criteria = vec![completed(timeline), clean(timeline), observed(timeline), baseline(measures)];
    criteria.push(load(timeline, measures));
    criteria.push(alone(timeline));
    criteria.push(surroundings(timeline));
    let well = criteria.iter().all(|criterion| criterion.result == Result::Pass);
    for fault in timeline.distinct_faults() {
        let meter = measures.dose.iter().find(|meter| meter.target == fault.target);
        criteria.extend(witness::criteria(timeline, fault, meter, well));
    }
    if timeline.faults.is_empty() && !timeline.is_control() {
        criteria.push(criterion(
            "fault-bit",
            "The fault was there",
            Result::Invalid,
            "a fault",
            "none was applied".to_owned(),
        ));
    }
    criteria
}

fn criterion(
    id: &'static str,
    title: &'static str,
    result: Result,
    expected: &str,
    measured: String,
) -> Criterion {
    let because = "without it the run says nothing about the client".to_owned();
    Criterion { id, title, result, expected: expected.to_owned(), because, measured }
}

fn completed(timeline: &Timeline<'_>) -> Criterion {
    let (result, measured) = match timeline.end {
        None => (Result::Inconclusive, "the journal has no end: the runner was killed".to_owned()),
        Some(end) if end.status != EndStatus::Completed => {
            (Result::Inconclusive, end.reason.clone().unwrap_or_else(|| "ended early".to_owned()))
        }
        Some(_) if timeline.truncated => (Result::Inconclusive, "the journal is cut".to_owned()),
        Some(_) => (Result::Pass, "all three".to_owned()),
    };
    criterion("completed", "All phases ran to their end", result, "three whole phases", measured)
}

fn clean(timeline: &Timeline<'_>) -> Criterion {
    let removed = timeline.faults.iter().all(|fault| fault.at(FaultState::Removed).is_some());
    let clean = timeline.end.is_some_and(|end| end.clean) && removed;
    let (result, measured) = match clean {
        true => (Result::Pass, "read back: gone"),
        false => (Result::Inconclusive, "a fault may still be there"),
    };
    criterion(
        "clean",
        "Every fault was taken away",
        result,
        "all faults read back as gone",
        measured.to_owned(),
    )
}

fn observed(timeline: &Timeline<'_>) -> Criterion {
    let lost: u64 = timeline.gaps.iter().map(|gap| gap.to_us.saturating_sub(gap.from_us)).sum();
    let restarted = timeline.gaps.iter().any(|gap| gap.reason.is_restart());
    let (result, measured) = match &timeline.hello {
        None => (Result::Inconclusive, "the client never said who it is".to_owned()),
        Some(_) if restarted => (Result::Inconclusive, "the client under test was restarted".to_owned()),
        Some(_) if timeline.suspended >= SuspendWatch::MIN => {
            let slept = timeline.suspended.as_secs_f64();
            (Result::Inconclusive, format!("the client's machine was suspended for {slept:.1} s"))
        }
        Some(_) if timeline.clocks_differ() => (
            Result::Inconclusive,
            "its clock is not of this run: hours apart, or of an earlier run".to_owned(),
        ),
        Some(_) if lost > 0 => {
            let why = timeline.gaps.first().map_or(String::new(), |gap| gap.reason.to_string());
            (Result::Inconclusive, format!("{} ms are missing: {why}", lost / 1000))
        }
        Some(_) => match timeline.coverage() {
            Some(covered) if (covered - 1.0).abs() <= COVERAGE => {
                (Result::Pass, format!("{} ticks", timeline.ticks.len()))
            }
            Some(covered) => {
                (Result::Inconclusive, format!("the ticks cover {:.1} % of the run", covered * 100.0))
            }
            None => (Result::Inconclusive, "the run has no end".to_owned()),
        },
    };
    criterion("observed", "The client was seen all the time", result, "no gap in the observations", measured)
}

fn baseline(measures: &Measures) -> Criterion {
    let noise = if measures.baseline_goodput > 0.0 {
        measures.baseline_sigma / measures.baseline_goodput
    } else {
        0.0
    };
    let numbers = format!(
        "{:.0} ok/s ± {:.1} %, {:.2} % errors, {:.2} % of starts late or dropped",
        measures.baseline_goodput,
        noise * 100.0,
        measures.baseline_error_share * 100.0,
        measures.baseline_missed_share * 100.0
    );
    let (result, measured) = match (&measures.baseline, &measures.unfit) {
        (Some(baseline), _) => (Result::Pass, format!("{numbers}, {} s", baseline.seconds)),
        (None, Some((true, why))) => (Result::Invalid, format!("{why} ({numbers})")),
        (None, Some((false, why))) => (Result::Inconclusive, format!("{why} ({numbers})")),
        (None, None) => (Result::Inconclusive, "there was none".to_owned()),
    };
    let expected = format!(
        "at least {} s, a spread of at most {} %, halves within {} %, at most {} % errors and {} % late starts",
        rules::SECONDS_MIN,
        rules::NOISE_MAX * 100.0,
        rules::DRIFT_MAX * 100.0,
        rules::ERRORS_MAX * 100.0,
        rules::LATE_MAX * 100.0
    );
    let title = "Client and generator were well before the fault";
    criterion("baseline", title, result, &expected, measured)
}

/// Was the load what it says?
fn load(timeline: &Timeline<'_>, measures: &Measures) -> Criterion {
    let title = "The load was the one that is declared";
    let declared = timeline.hello.and_then(|hello| hello.settings.load.rate_ops_per_s);
    let Some(declared) = declared.filter(|rate| *rate > 0.0) else {
        return criterion("load", title, Result::Pass, "a closed loop has no rate", "not asked".to_owned());
    };
    let seconds = timeline.baseline_window().map_or(0.0, |(from, to)| (to - from) as f64 / 1e6);
    let chance = 3.0 / (declared * seconds).max(1.0).sqrt();
    let (least, most) = (declared * (1.0 - LESS - chance), declared * (1.0 + MORE + chance));
    let offered = measures.baseline_offered;
    let result = if offered >= least && offered <= most { Result::Pass } else { Result::Invalid };
    let expected = format!("{declared:.0} ops/s: {least:.0} to {most:.0}");
    criterion("load", title, result, &expected, format!("{:.0} ops/s", measures.baseline_offered))
}

/// Nobody else's toxics on the proxies of this run.
fn alone(timeline: &Timeline<'_>) -> Criterion {
    let ours = |target: &String| timeline.canaries.iter().any(|canary| canary.target == *target);
    let foreign = timeline.notes.iter().filter(|note| note.code == NoteCode::ForeignToxic);
    let foreign = foreign.filter(|note| note.target.as_ref().is_some_and(ours));
    let foreign: Vec<&str> = foreign.map(|note| note.text.as_str()).collect();
    let (result, measured) = match foreign[..] {
        [] => (Result::Pass, "none".to_owned()),
        _ => (Result::Invalid, foreign.join(", ")),
    };
    criterion("alone", "No toxic of somebody else's was on these proxies", result, "none", measured)
}

/// What became of canaries, in the order in which they were sent.
#[derive(Default)]
struct Asked {
    all: u64,
    lost: u64,
    /// On end, up to the last one, and at most.
    row: u64,
    longest: u64,
}

impl Asked {
    fn count(&mut self, answered: bool) {
        self.all += 1;
        self.lost += u64::from(!answered);
        self.row = if answered { 0 } else { self.row + 1 };
        self.longest = self.longest.max(self.row);
    }

    fn is_bad(&self) -> bool {
        self.longest >= IN_A_ROW || (self.lost >= LOST_MIN && self.lost as f64 > LOST * self.all as f64)
    }
}

/// Servers without a fault, and moments without one, as the canaries saw them.
fn surroundings(timeline: &Timeline<'_>) -> Criterion {
    let say = |result, measured: String| {
        let title = "Nothing but the fault was wrong with the servers";
        let expected = "canaries that are answered, before and after the fault and at servers without one";
        criterion("surroundings", title, result, expected, measured)
    };
    let faulted: Vec<&String> = timeline.faults.iter().map(|fault| &fault.target).collect();
    let window = timeline.fault_window();
    let lifted = timeline.lifted();
    let mut asked: BTreeMap<(&str, &str), Asked> = BTreeMap::new();
    for canary in &timeline.canaries {
        let when = match (window, lifted) {
            (Some((on, _)), _) if canary.at_us + CANARY_US < on => "before the fault",
            (_, Some(lifted)) if canary.at_us > lifted + LINGER_US => "after the fault",
            _ if !faulted.contains(&&canary.target) => "during the fault",
            _ => continue,
        };
        asked.entry((&canary.target, when)).or_default().count(canary.took_us.is_some());
    }
    let bad =
        asked.iter().filter(|(_, asked)| asked.is_bad()).map(|((target, when), Asked { lost, all, .. })| {
            format!("{target} {when}: {lost} of {all} canaries without an answer")
        });
    let bad: Vec<String> = bad.collect();
    match bad[..] {
        [] => say(Result::Pass, "all as they should be".to_owned()),
        _ => say(Result::Invalid, bad.join("; ")),
    }
}
