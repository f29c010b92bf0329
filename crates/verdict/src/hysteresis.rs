//! How far must the load of a system that was brought down fall before it comes back by itself? A pure function of the
//! journal of a sweep: the load goes up in steps, the system is brought down, the load goes down by the same steps.

use observation::journal::Journal;
use observation::metastable::CellPhase;
use serde::Serialize;

use crate::metastable::{COVERED, LOAD_BACK, MISSED, RECOVERED, Second, phases, seconds, void, wrong_values};

/// Goodput at one load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadStep {
    /// Requests a second.
    pub rate: f64,
    /// Goodput before the trigger as a share of what was offered, in the step's second half; absent: not reached, or
    /// the load was another.
    pub up: Option<f64>,
    /// The same after it.
    pub down: Option<f64>,
}

/// What a sweep says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hysteresis {
    /// By rate, the lowest first.
    pub steps: Vec<LoadStep>,
    /// Highest load up to which it was healthy at every step on the way up.
    pub healthy: Option<f64>,
    /// Highest load at which, and at all below which, it came back on the way down.
    pub recovers: Option<f64>,
    /// Load of a step that would have to be known for the two: it was not reached, or the load was another.
    pub unmeasured: Option<f64>,
    /// Why it says nothing at all.
    pub void: Option<String>,
    /// Reads of the whole run that gave a value that was never written there.
    pub wrong_values: u64,
}

impl Hysteresis {
    /// `healthy` in parts of `recovers`: 1 is none. `None`: it was never healthy, never came back, or a step is missing.
    pub fn index(&self) -> Option<f64> {
        if self.unmeasured.is_some() || self.void.is_some() {
            return None;
        }
        Some(self.healthy? / self.recovers?)
    }
}

/// What the journal of a sweep says.
pub fn hysteresis(journal: &Journal) -> Hysteresis {
    let phases = phases(journal);
    let mut steps: Vec<LoadStep> = Vec::new();
    for pair in phases.windows(2) {
        let ((phase, from), (next, to)) = (&pair[0], &pair[1]);
        let (rate, up) = match phase {
            _ if *next == CellPhase::Stopped => continue,
            CellPhase::Up(rate) => (*rate, true),
            CellPhase::Down(rate) => (*rate, false),
            _ => continue,
        };
        let second_half = from + to.saturating_sub(*from) / 2;
        let goodput = goodput(&seconds(journal, second_half, *to), rate);
        let index = steps.iter().position(|step| step.rate == rate).unwrap_or_else(|| {
            steps.push(LoadStep { rate, up: None, down: None });
            steps.len() - 1
        });
        if up {
            steps[index].up = goodput;
        } else {
            steps[index].down = goodput;
        }
    }
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let good = |share: Option<f64>| share.is_some_and(|share| share >= RECOVERED);
    let reach = |of: fn(&LoadStep) -> Option<f64>| {
        let reached = steps.iter().take_while(|step| good(of(step))).count();
        let highest = reached.checked_sub(1).map(|index| steps[index].rate);
        (highest, steps.get(reached).filter(|step| of(step).is_none()).map(|step| step.rate))
    };
    let ((healthy, no_up), (recovers, no_down)) = (reach(|step| step.up), reach(|step| step.down));
    Hysteresis {
        healthy,
        recovers,
        unmeasured: no_up.or(no_down),
        void: void(journal),
        wrong_values: wrong_values(journal),
        steps,
    }
}

fn goodput(seconds: &[Second], rate: f64) -> Option<f64> {
    let sum = |what: fn(&Second) -> f64| seconds.iter().map(what).sum::<f64>();
    let (offered, expected) = (sum(|second| second.offered), rate * seconds.len() as f64);
    let as_named = (offered - expected).abs() <= expected * LOAD_BACK + 3.0 * expected.sqrt();
    let covered = sum(|second| second.covered_us as f64) >= COVERED * 1e6 * seconds.len() as f64;
    (offered > 0.0 && covered && as_named && sum(|second| second.missed) <= offered * MISSED)
        .then(|| sum(|second| second.good) / offered)
}

#[cfg(test)]
mod tests {
    use observation::journal::{Entry, Source};
    use observation::{LookAside, Note, NoteCode, Outcome, Record, ServerTick, Tick};

    use super::*;

    /// Steps of 4 s: name, what is offered and what is good each second.
    fn journal(steps: &[(&str, u64, u64)]) -> Journal {
        let mut entries = Vec::new();
        let note = |at_us, text: &str| {
            let note = Note::new(at_us, NoteCode::MetastablePhase, text);
            Entry { at_us, source: Source::Runner, record: Record::Note(note) }
        };
        let mut at_us = 0;
        for (name, offered, good) in steps {
            entries.push(note(at_us, name));
            for second in 0..4 {
                at_us += 1_000_000;
                // The first half of a step still shows the one before.
                let good = if second < 2 { 0 } else { *good };
                let record = LookAside {
                    at_us,
                    period_us: 1_000_000,
                    offered: *offered,
                    hits: good,
                    ..LookAside::default()
                };
                entries.push(Entry { at_us, source: Source::Client, record: Record::LookAside(record) });
            }
        }
        entries.push(note(at_us, "ended"));
        Journal { entries, truncated: false }
    }

    #[test]
    fn the_index_is_the_healthy_load_in_parts_of_the_one_it_comes_back_at() {
        let found = hysteresis(&journal(&[
            ("warm", 100, 100),
            ("up:100", 100, 100),
            ("up:1000", 1_000, 990),
            ("up:2000", 2_000, 500),
            ("trigger", 1_000, 0),
            ("down:2000", 2_000, 0),
            ("down:1000", 1_000, 0),
            ("down:100", 100, 99),
        ]));
        assert_eq!((found.healthy, found.recovers, found.index()), (Some(1_000.0), Some(100.0), Some(10.0)));
        assert_eq!(found.steps[0], LoadStep { rate: 100.0, up: Some(1.0), down: Some(0.99) });
    }

    #[test]
    fn wrong_values_of_a_sweep_are_counted() {
        let mut wrong = journal(&[("up:1", 1, 1), ("down:1", 1, 1)]);
        let mut server = ServerTick::default();
        server.ops.add(Outcome::WrongValue, 2);
        let record = Record::Tick(Tick { servers: vec![server], ..Tick::default() });
        wrong.entries.push(Entry { at_us: 1, source: Source::Client, record });
        assert_eq!((hysteresis(&wrong).wrong_values, hysteresis(&journal(&[])).wrong_values), (2, 0));
    }

    #[test]
    fn a_step_at_another_load_says_nothing_and_what_never_comes_back_has_no_index() {
        let found =
            hysteresis(&journal(&[("up:1000", 1_000, 1_000), ("down:1000", 800, 800), ("down:x", 1, 1)]));
        assert_eq!(found.steps, [LoadStep { rate: 1_000.0, up: Some(1.0), down: None }]);
        assert_eq!((found.recovers, found.unmeasured, found.index()), (None, Some(1_000.0), None));
        // One good step above a bad one is chance.
        let lucky = [("up:1", 1, 1), ("up:2", 2, 2), ("down:2", 2, 2), ("down:1", 1, 0)];
        assert_eq!(hysteresis(&journal(&lucky)).recovers, None);
        let mut stopped = journal(&[("up:1", 1, 1), ("down:1", 1, 1)]);
        if let Some(Entry { record: Record::Note(note), .. }) = stopped.entries.last_mut() {
            note.text = CellPhase::Stopped.to_string();
        }
        assert_eq!(hysteresis(&stopped).unmeasured, Some(1.0));
        assert_eq!(hysteresis(&journal(&[])).steps, []);
    }
}
