//! Can this run say anything about the client? Each witness is a criterion that must pass first.

use std::collections::BTreeMap;

use observation::clock::SuspendWatch;
use observation::{EndStatus, FaultState, LoadKind, NoteCode};

use crate::Ruling;
use crate::measure::Measures;
use crate::question::{Answer, Answers, Finding, Question};
use crate::statistics::baseline as rules;
use crate::timeline::Timeline;
use crate::witness::{self, FAULT_BIT};

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

const COMPLETED: Question = Question { id: "completed", title: "All phases ran to their end" };
const CLEAN: Question = Question { id: "clean", title: "Every fault was taken away" };
const OBSERVED: Question = Question { id: "observed", title: "The client was seen all the time" };
const BASELINE: Question =
    Question { id: "baseline", title: "Client and generator were well before the fault" };
const LOAD: Question = Question { id: "load", title: "The load was the one that is declared" };
const ALONE: Question = Question { id: "alone", title: "No toxic of somebody else's was on these proxies" };
const SURROUNDINGS: Question =
    Question { id: "surroundings", title: "Nothing but the fault was wrong with the servers" };
const NO_CANARY: &str = "there was no canary to ask";

pub(crate) fn criteria(timeline: &Timeline<'_>, measures: &Measures) -> Answers {
    let mut answers = Answers::from_iter([
        completed(timeline),
        clean(timeline),
        observed(timeline),
        baseline(measures),
        load(timeline, measures),
        alone(timeline),
        surroundings(timeline),
    ]);
    let well = answers.all_pass();
    for fault in timeline.distinct_faults() {
        let meter = measures.dose.iter().find(|meter| meter.target == fault.target);
        witness::answers(timeline, fault, meter, well).into_iter().for_each(|answer| answers.add(answer));
    }
    if timeline.faults.is_empty() {
        answers.add(match timeline.is_control() {
            true => FAULT_BIT.not_asked("a control run has no fault"),
            false => FAULT_BIT.asked(finding(Ruling::Invalid, "a fault", "none was applied".to_owned())),
        });
    }
    answers
}

fn finding(result: Ruling, expected: &str, measured: String) -> Finding {
    let because = "without it the run says nothing about the client".to_owned();
    Finding { result, expected: expected.to_owned(), because, measured }
}

fn completed(timeline: &Timeline<'_>) -> Answer {
    let (result, measured) = match timeline.end {
        None => (Ruling::Inconclusive, "the journal has no end: the runner was killed".to_owned()),
        Some(end) if end.status != EndStatus::Completed => {
            (Ruling::Inconclusive, end.reason.clone().unwrap_or_else(|| "ended early".to_owned()))
        }
        Some(_) if timeline.truncated => (Ruling::Inconclusive, "the journal is cut".to_owned()),
        Some(_) => (Ruling::Pass, "all three".to_owned()),
    };
    COMPLETED.asked(finding(result, "three whole phases", measured))
}

fn clean(timeline: &Timeline<'_>) -> Answer {
    let removed = timeline.faults.iter().all(|fault| fault.at(FaultState::Removed).is_some());
    let clean = timeline.end.is_some_and(|end| end.clean) && removed;
    let (result, measured) = match clean {
        true => (Ruling::Pass, "read back: gone"),
        false => (Ruling::Inconclusive, "a fault may still be there"),
    };
    CLEAN.asked(finding(result, "all faults read back as gone", measured.to_owned()))
}

fn observed(timeline: &Timeline<'_>) -> Answer {
    let lost: u64 = timeline.gaps.iter().map(|gap| gap.to_us.saturating_sub(gap.from_us)).sum();
    let restarted = timeline.gaps.iter().any(|gap| gap.reason.is_restart());
    let (result, measured) = match &timeline.hello {
        None => (Ruling::Inconclusive, "the client never said who it is".to_owned()),
        Some(_) if restarted => (Ruling::Inconclusive, "the client under test was restarted".to_owned()),
        Some(_) if timeline.suspended >= SuspendWatch::MIN => {
            let slept = timeline.suspended.as_secs_f64();
            (Ruling::Inconclusive, format!("the client's machine was suspended for {slept:.1} s"))
        }
        Some(_) if timeline.clocks_differ() => (
            Ruling::Inconclusive,
            "its clock is not of this run: hours apart, or of an earlier run".to_owned(),
        ),
        Some(_) if lost > 0 => {
            let why = timeline.gaps.first().map_or(String::new(), |gap| gap.reason.to_string());
            (Ruling::Inconclusive, format!("{} ms are missing: {why}", lost / 1000))
        }
        Some(_) => match timeline.coverage() {
            Some(covered) if (covered - 1.0).abs() <= COVERAGE => {
                (Ruling::Pass, format!("{} ticks", timeline.ticks.len()))
            }
            Some(covered) => {
                (Ruling::Inconclusive, format!("the ticks cover {:.1} % of the run", covered * 100.0))
            }
            None => (Ruling::Inconclusive, "the run has no end".to_owned()),
        },
    };
    OBSERVED.asked(finding(result, "no gap in the observations", measured))
}

fn baseline(measures: &Measures) -> Answer {
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
        (Some(baseline), _) => (Ruling::Pass, format!("{numbers}, {} s", baseline.seconds)),
        (None, Some((true, why))) => (Ruling::Invalid, format!("{why} ({numbers})")),
        (None, Some((false, why))) => (Ruling::Inconclusive, format!("{why} ({numbers})")),
        (None, None) => (Ruling::Inconclusive, "there was none".to_owned()),
    };
    let expected = format!(
        "at least {} s, a spread of at most {} %, halves within {} %, at most {} % errors, {} % late and {} % dropped starts",
        rules::SECONDS_MIN,
        rules::NOISE_MAX * 100.0,
        rules::DRIFT_MAX * 100.0,
        rules::ERRORS_MAX * 100.0,
        rules::LATE_MAX * 100.0,
        rules::DROPPED_MAX * 100.0
    );
    BASELINE.asked(finding(result, &expected, measured))
}

/// Was the load what it says?
fn load(timeline: &Timeline<'_>, measures: &Measures) -> Answer {
    let declared = timeline.hello.map(|hello| &hello.settings.load);
    let Some(declared) = declared.and_then(|load| load.rate_ops_per_s).filter(|rate| *rate > 0.0) else {
        return LOAD.not_asked(match declared.map(|load| load.kind) {
            Some(LoadKind::Closed) => "a closed loop has no rate",
            Some(LoadKind::Open) => "the client declares no rate",
            None => "the client told no settings",
        });
    };
    let seconds = timeline.baseline_window().map_or(0.0, |(from, to)| (to - from) as f64 / 1e6);
    let chance = 3.0 / (declared * seconds).max(1.0).sqrt();
    let (least, most) = (declared * (1.0 - LESS - chance), declared * (1.0 + MORE + chance));
    let offered = measures.baseline_offered;
    let result = if offered >= least && offered <= most { Ruling::Pass } else { Ruling::Invalid };
    let expected = format!("{declared:.0} ops/s: {least:.0} to {most:.0}");
    LOAD.asked(finding(result, &expected, format!("{:.0} ops/s", measures.baseline_offered)))
}

/// Nobody else's toxics on the proxies of this run.
fn alone(timeline: &Timeline<'_>) -> Answer {
    if timeline.canaries.is_empty() {
        return ALONE.not_asked(NO_CANARY);
    }
    let ours = |target: &String| timeline.canaries.iter().any(|canary| canary.target == *target);
    let foreign = timeline.notes.iter().filter(|note| note.code == NoteCode::ForeignToxic);
    let foreign = foreign.filter(|note| note.target.as_ref().is_some_and(ours));
    let foreign: Vec<&str> = foreign.map(|note| note.text.as_str()).collect();
    let (result, measured) = match foreign[..] {
        [] => (Ruling::Pass, "none".to_owned()),
        _ => (Ruling::Invalid, foreign.join(", ")),
    };
    ALONE.asked(finding(result, "none", measured))
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
fn surroundings(timeline: &Timeline<'_>) -> Answer {
    let say = |result, measured: String| {
        let expected = "canaries that are answered, before and after the fault and at servers without one";
        SURROUNDINGS.asked(finding(result, expected, measured))
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
    if asked.is_empty() {
        return SURROUNDINGS.not_asked(NO_CANARY);
    }
    let bad =
        asked.iter().filter(|(_, asked)| asked.is_bad()).map(|((target, when), Asked { lost, all, .. })| {
            format!("{target} {when}: {lost} of {all} canaries without an answer")
        });
    let bad: Vec<String> = bad.collect();
    match bad[..] {
        [] => say(Ruling::Pass, "all as they should be".to_owned()),
        _ => say(Ruling::Invalid, bad.join("; ")),
    }
}
