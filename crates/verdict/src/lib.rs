//! The judge: a pure function from a journal to a verdict. No I/O, no clock; judging again gives the same bytes.
//!
//! `timeline` reads the journal, `expect` computes what this client should do under this fault, `measure` what it did,
//! `validity` whether the run can say anything at all, `criteria` compares; `essential` says what must have been asked.

mod busy;
mod criteria;
mod dose;
mod essential;
mod expect;
pub mod hysteresis;
mod load_needed;
mod machine;
mod measure;
pub mod metastable;
mod pair;
mod question;
pub mod repeat;
pub mod so_far;
pub mod statistics;
pub mod steady;
mod timeline;
mod validity;
mod witness;

use observation::journal::Journal;
use observation::{Note, NoteCode, Outcome};
use serde::Serialize;

use question::{Answer, Answers, Finding, Question};

pub use dose::{DoseBucket, DoseMeter};
pub use expect::{Bounds, Expectation, FaultPlan, Situation, Trip, timeout_probability};
pub use load_needed::LoadNeeded;
pub use machine::Machine;
pub use measure::{
    BreakerMeasures, ConnectionMeasures, Measures, RecoveryPart, Reported, RoutingMeasures, StaleMeasures,
};
pub use pair::{BeforeAfter, DialPeaks, FaultWidth, PhaseLatency};

/// Version of the verdict's form.
pub const VERDICT_VERSION: u32 = 1;

/// What is said of a criterion or a run. Later is stronger when results are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// What was measured is what was expected.
    Pass,
    /// Too noisy, too few samples, or not to its end: run it again.
    Inconclusive,
    /// The run says nothing about the client: no fault, no traffic, no healthy baseline.
    Invalid,
    /// The client did not do what it should.
    Fail,
    /// A wrong value was delivered.
    WrongData,
}

impl Ruling {
    /// In capitals, for people.
    pub fn name(self) -> &'static str {
        match self {
            Ruling::Pass => "PASS",
            Ruling::Inconclusive => "INCONCLUSIVE",
            Ruling::Invalid => "INVALID",
            Ruling::Fail => "FAIL",
            Ruling::WrongData => "FAIL (wrong data)",
        }
    }

    /// Label of the metric `scenario_runs_total`.
    pub fn status(self) -> &'static str {
        match self {
            Ruling::Pass => "pass",
            Ruling::Inconclusive => "inconclusive",
            Ruling::Invalid => "invalid",
            Ruling::Fail | Ruling::WrongData => "fail",
        }
    }

    /// Exit code of a process: 0 pass, 1 fail, 3 inconclusive or invalid, 5 wrong data.
    pub fn exit_code(self) -> u8 {
        match self {
            Ruling::Pass => 0,
            Ruling::Fail => 1,
            Ruling::Inconclusive | Ruling::Invalid => 3,
            Ruling::WrongData => 5,
        }
    }
}

impl From<statistics::Answer> for Ruling {
    fn from(answer: statistics::Answer) -> Self {
        match answer {
            statistics::Answer::Pass => Ruling::Pass,
            statistics::Answer::Fail => Ruling::Fail,
            statistics::Answer::Inconclusive => Ruling::Inconclusive,
        }
    }
}

/// One thing that was expected, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Criterion {
    /// Stable name.
    pub id: &'static str,
    /// What it asks.
    pub title: &'static str,
    /// How it ended.
    pub result: Ruling,
    /// What was expected.
    pub expected: String,
    /// From which settings and numbers that was computed.
    pub because: String,
    /// What was measured.
    pub measured: String,
}

/// One thing that could not be asked of this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotAsked {
    /// Stable name, as in [`Criterion::id`].
    pub id: &'static str,
    /// What it would ask.
    pub title: &'static str,
    /// Why it could not.
    pub reason: String,
}

/// The judgement of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// [`VERDICT_VERSION`].
    pub v: u32,
    /// Run folder's name.
    pub run: String,
    /// Scenario name.
    pub scenario: String,
    /// All together.
    pub result: Ruling,
    /// Why it is not a pass, the strongest first.
    pub reasons: Vec<String>,
    /// What to do about a run that said too little because of the machine.
    pub advice: Option<String>,
    /// The client's machine while the run lasted.
    pub machine: Machine,
    /// Why the run was ended before its time, if that was done on purpose: by a signal, a stop rule, or because the client was
    /// not seen any more.
    pub stopped: Option<String>,
    /// What was applied, in honest words.
    pub given: Vec<String>,
    /// Name and driver of the client under test.
    pub client: String,
    /// What was measured.
    pub measures: Measures,
    /// What was expected.
    pub expectation: Option<Expectation>,
    /// Every criterion that could be asked.
    pub criteria: Vec<Criterion>,
    /// Every other one: nothing is known of it, so it is not passed.
    pub not_asked: Vec<NotAsked>,
    /// Notes of the runner, each as `code: text`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub notes: Vec<Remark>,
}

/// A note of the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Remark {
    /// What it is about.
    pub code: NoteCode,
    /// One sentence.
    pub text: String,
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl From<Remark> for String {
    fn from(remark: Remark) -> Self {
        remark.to_string()
    }
}

impl From<&Note> for Remark {
    fn from(note: &Note) -> Self {
        Self { code: note.code.clone(), text: note.text.clone() }
    }
}

impl Verdict {
    /// In capitals, for people. A run that was stopped says nothing, unless it delivered a wrong value.
    pub fn name(&self) -> &'static str {
        if self.was_stopped() { "STOPPED" } else { self.result.name() }
    }

    /// Label of the metric `scenario_runs_total`.
    pub fn status(&self) -> &'static str {
        if self.was_stopped() { "stopped" } else { self.result.status() }
    }

    fn was_stopped(&self) -> bool {
        self.stopped.is_some() && self.result != Ruling::WrongData
    }
}

/// Judges one run.
pub fn judge(journal: &Journal) -> Verdict {
    let timeline = timeline::Timeline::read(journal);
    let measures = measure::Measures::of(&timeline);
    let validity = validity::criteria(&timeline, &measures);
    let passed = validity.all_pass();
    let proven = essential::asked_for_the_fault(&validity, timeline.is_control());
    // This one holds whatever else does.
    let mut answers = Answers::from_iter([no_wrong_values(&measures)]);
    answers.append(validity);
    let expectation = Expectation::of(&timeline, &measures);
    // A run that is not valid is not judged: its numbers would be blamed on the client.
    match &expectation {
        Some(expectation) if passed && proven => {
            let mut asked = criteria::criteria(&timeline, &measures, expectation);
            busy::excuse(&timeline, &measures, expectation, &mut asked.criteria);
            answers.append(asked);
        }
        _ => answers.not_asked.extend(criteria::none_asked()),
    }
    if passed {
        let seen = timeline.fault_window().is_none() || measures.fault_ops > 0;
        essential::demand(&mut answers, timeline.is_control(), seen);
    }
    let Answers { mut criteria, not_asked } = answers;
    // A client that was stopped half-way, perhaps because it was gone, had no time to do what is asked of it.
    if timeline.stopped().is_some() {
        let failed = criteria.iter_mut().filter(|criterion| criterion.result == Ruling::Fail);
        failed.for_each(|criterion| criterion.result = Ruling::Inconclusive);
    }

    let result = criteria.iter().map(|criterion| criterion.result).max().unwrap_or(Ruling::Inconclusive);
    let machine = Machine::of(&timeline.hosts);
    let advice = machine::advice(&timeline, &machine, result, &criteria);
    let mut failed: Vec<&Criterion> =
        criteria.iter().filter(|criterion| criterion.result != Ruling::Pass).collect();
    failed.sort_by_key(|criterion| std::cmp::Reverse(criterion.result));
    let reasons =
        failed.iter().map(|c| format!("{}: expected {}, measured {}", c.id, c.expected, c.measured));
    Verdict {
        v: VERDICT_VERSION,
        run: timeline.run.as_ref().map(|run| run.run.clone()).unwrap_or_default(),
        scenario: timeline.run.as_ref().map(|run| run.scenario.clone()).unwrap_or_default(),
        result,
        reasons: reasons.collect(),
        advice,
        machine,
        stopped: timeline.stopped(),
        given: timeline.given(),
        client: timeline
            .hello
            .as_ref()
            .map(|hello| {
                format!("{} {} (driver {})", hello.client.name, hello.client.version, hello.settings.driver)
            })
            .unwrap_or_default(),
        measures,
        expectation,
        criteria,
        not_asked,
        notes: timeline.notes.iter().map(|note| Remark::from(*note)).collect(),
    }
}

const WRONG_VALUES: Question =
    Question { id: "no-wrong-values", title: "Every value read is the one that was written" };

fn no_wrong_values(measures: &Measures) -> Answer {
    let found = measures.hits + measures.wrong_values;
    if found == 0 {
        return WRONG_VALUES.not_asked("no read found a value");
    }
    WRONG_VALUES.asked(Finding {
        result: if measures.wrong_values == 0 { Ruling::Pass } else { Ruling::WrongData },
        expected: "0 wrong values".to_owned(),
        because: "one is too many, whatever else holds".to_owned(),
        measured: format!("{} wrong of {found} reads that found something", measures.wrong_values),
    })
}

/// Classes of an outcome that count as served by nobody: for shares in tables.
pub(crate) const ERROR_CLASSES: [Outcome; 8] = [
    Outcome::Timeout,
    Outcome::Connect,
    Outcome::Reset,
    Outcome::Protocol,
    Outcome::ServerError,
    Outcome::PoolExhausted,
    Outcome::BreakerOpen,
    Outcome::WrongValue,
];

#[cfg(test)]
mod tests;
