//! Lost counts: every answer to an `incr` is a reading of its counter, and must lie between what was acknowledged and
//! what was attempted.
//!
//! A counter's life is cut into epochs. Within one its value begins at a known base; counts that were acknowledged
//! before an incr began must be in its answer, and no more can be in it than have been attempted. A counter that is
//! created anew answers 0, which begins an epoch (a *reset*: eviction, expiry or restart; no violation). If the creator's
//! answer has not come yet, or never comes, a low value may be a reset: the judgement waits for those that run, and
//! an unknown end within the last minute excuses it. Counters belong to one load: another writer's counts are found as
//! too many.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use observation::IntegrityKind;
use tokio::time::Instant;

use super::CountFindings;
use crate::values::Violation;

/// An incr whose end is unknown may have created the counter anew for so long.
const LATE_MAX: Duration = Duration::from_secs(60);
/// Unknown ends that are told apart.
const UNKNOWN_MAX: usize = 256;

/// Where an incr stands among the others of its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// How many had begun, this one included.
    id: u64,
    /// How many ran when it began.
    company: u64,
}

/// One incr that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    epoch: u64,
    run: Run,
    /// Its answer must be above.
    floor: Option<u64>,
}

/// How an incr ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The counter's new value.
    Value(u64),
    /// It was certainly not counted.
    NotApplied,
    /// It may be counted at any time.
    Unknown,
}

/// What is known of the value within an epoch.
#[derive(Debug, Clone, Copy)]
struct Known {
    base: u64,
    /// Highest value answered.
    highest: u64,
    /// Counts begun and acknowledged within the epoch.
    acknowledged: u64,
    /// Counts that may come on top of the base.
    possible: u64,
}

/// A low value that is a reset if one of those that ran turns out to be the creator.
#[derive(Debug)]
struct Suspect {
    waiting: Vec<Run>,
    violation: Violation,
}

#[derive(Debug, Default)]
struct Counter {
    epoch: u64,
    known: Option<Known>,
    begun: u64,
    running: Vec<Run>,
    /// Unknown ends since the start of the load.
    unknown: u64,
    /// Those of the last minute, oldest begin first.
    recent: VecDeque<(Run, Instant)>,
    suspect: Option<Suspect>,
}

impl Counter {
    fn begin(&mut self) -> Token {
        self.begun += 1;
        let run = Run { id: self.begun, company: self.running.len() as u64 };
        self.running.push(run);
        if let Some(known) = &mut self.known {
            known.possible += 1;
        }
        let floor = self.known.map(|known| known.highest.max(known.base.saturating_add(known.acknowledged)));
        Token { epoch: self.epoch, run, floor }
    }

    fn end(&mut self, token: Token, reading: Reading, now: Instant) -> CountFindings {
        self.running.retain(|run| *run != token.run);
        self.recent.retain(|(_, until)| *until > now);
        let mut findings = self.resolve(token, reading);
        match reading {
            Reading::NotApplied => {
                if let Some(known) = &mut self.known {
                    known.possible = known.possible.saturating_sub(1);
                }
            }
            Reading::Unknown => self.lost_sight(token.run, now),
            Reading::Value(0) => {
                let again = token.floor.is_some() || self.known.is_some() && token.epoch > 0;
                // A creator of an earlier epoch: what came since is not known.
                let base = (token.epoch == self.epoch).then_some(0);
                findings.reset |= again;
                self.begin_epoch(base);
            }
            Reading::Value(value) => self.value(token, value, &mut findings),
        }
        findings
    }

    fn value(&mut self, token: Token, value: u64, findings: &mut CountFindings) {
        if token.epoch != self.epoch {
            return;
        }
        let (Some(known), Some(floor)) = (&mut self.known, token.floor) else {
            self.begin_epoch(Some(value));
            return;
        };
        let ceiling = known.base.saturating_add(known.possible);
        if value > ceiling {
            let expected = format!(
                "at most {ceiling}: no more counts were attempted here (several generators need --shard)"
            );
            findings.violation = Some(violation(IntegrityKind::ExtraIncrements, expected, value));
            self.begin_epoch(None);
        } else if value > floor {
            known.highest = known.highest.max(value);
            known.acknowledged += 1;
        } else {
            let expected = format!("more than {floor}: so many counts were acknowledged before");
            self.low(value, violation(IntegrityKind::LostIncrements, expected, value), findings);
            self.begin_epoch(None);
        }
    }

    /// A value below what was acknowledged: lost, or counted anew from 0 by somebody whose answer is not known?
    fn low(&mut self, value: u64, violation: Violation, findings: &mut CountFindings) {
        // After the creator come at most those that began later, ran already, or come late.
        let created_by = |run: &Run| value <= self.begun - run.id + run.company + self.unknown;
        if self.recent.front().is_some_and(|(run, _)| created_by(run)) || self.suspect.is_some() {
            findings.reset = true;
        } else if self.running.first().is_some_and(created_by) {
            self.suspect = Some(Suspect { waiting: self.running.clone(), violation });
        } else {
            findings.violation = Some(violation);
        }
    }

    /// One of those that a suspicion waits for has ended.
    fn resolve(&mut self, token: Token, reading: Reading) -> CountFindings {
        let mut findings = CountFindings::default();
        let Some(mut suspect) = self.suspect.take() else { return findings };
        let waited = suspect.waiting.len();
        suspect.waiting.retain(|run| *run != token.run);
        match reading {
            Reading::Value(0) | Reading::Unknown if suspect.waiting.len() < waited => findings.reset = true,
            _ if suspect.waiting.is_empty() => findings.violation = Some(suspect.violation),
            _ => self.suspect = Some(suspect),
        }
        findings
    }

    fn lost_sight(&mut self, run: Run, now: Instant) {
        self.unknown += 1;
        let until = now + LATE_MAX;
        if self.recent.len() >= UNKNOWN_MAX {
            // The oldest stands for this one too.
            if let Some(oldest) = self.recent.front_mut() {
                oldest.1 = until;
            }
            return;
        }
        let at = self.recent.partition_point(|(other, _)| other.id < run.id);
        self.recent.insert(at, (run, until));
    }

    /// `base` `None`: the next answer of an incr that begins now says it.
    fn begin_epoch(&mut self, base: Option<u64>) {
        self.epoch += 1;
        let possible = self.running.len() as u64 + self.unknown;
        self.known = base.map(|base| Known { base, highest: base, acknowledged: 0, possible });
    }
}

fn violation(kind: IntegrityKind, expected: String, got: u64) -> Violation {
    Violation { kind, expected, got: got.to_string() }
}

/// All counters of a load.
#[derive(Debug)]
pub(super) struct Counters {
    counters: Vec<Mutex<Counter>>,
}

impl Counters {
    pub(super) fn new(count: usize) -> Self {
        Self { counters: (0..count.max(1)).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn begin(&self, number: usize) -> Token {
        self.with(number, Counter::begin)
    }

    pub(super) fn end(&self, number: usize, token: Token, reading: Reading, now: Instant) -> CountFindings {
        self.with(number, |counter| counter.end(token, reading, now))
    }

    fn with<T>(&self, number: usize, act: impl FnOnce(&mut Counter) -> T) -> T {
        let counter = &self.counters[number % self.counters.len()];
        act(&mut counter.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        counter: Counter,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { counter: Counter::default(), now: Instant::now() }
        }

        fn end(&mut self, token: Token, reading: Reading) -> (Option<IntegrityKind>, bool) {
            let found = self.counter.end(token, reading, self.now);
            (found.violation.map(|violation| violation.kind), found.reset)
        }

        fn reads(&mut self, value: u64) -> (Option<IntegrityKind>, bool) {
            let token = self.counter.begin();
            self.end(token, Reading::Value(value))
        }
    }

    const FINE: (Option<IntegrityKind>, bool) = (None, false);
    const LOST: (Option<IntegrityKind>, bool) = (Some(IntegrityKind::LostIncrements), false);
    const EXTRA: (Option<IntegrityKind>, bool) = (Some(IntegrityKind::ExtraIncrements), false);
    const RESET: (Option<IntegrityKind>, bool) = (None, true);

    #[test]
    fn a_counter_that_counts_is_fine_wherever_it_began() {
        for first in [0, 1, 77] {
            let mut bench = Bench::new();
            assert!((first..first + 100).all(|value| bench.reads(value) == FINE), "{first}");
        }
    }

    #[test]
    fn a_lost_count_and_an_extra_one_are_found_once() {
        let mut bench = Bench::new();
        for value in 5..10 {
            assert_eq!(bench.reads(value), FINE);
        }
        assert_eq!(bench.reads(9), LOST);
        assert_eq!((bench.reads(10), bench.reads(11), bench.reads(13)), (FINE, FINE, EXTRA));
        assert_eq!((bench.reads(14), bench.reads(3)), (FINE, LOST));
    }

    #[test]
    fn two_answers_with_the_same_value_are_found_at_the_next() {
        let mut bench = Bench::new();
        bench.reads(10);
        let (a, b) = (bench.counter.begin(), bench.counter.begin());
        assert_eq!((bench.end(b, Reading::Value(11)), bench.end(a, Reading::Value(11))), (FINE, FINE));
        assert_eq!(bench.reads(12), LOST);
    }

    #[test]
    fn answers_of_incrs_that_overlap_may_come_in_any_order() {
        let mut bench = Bench::new();
        bench.reads(0);
        let tokens: Vec<_> = (0..6).map(|_| bench.counter.begin()).collect();
        for (token, value) in tokens.into_iter().zip([4, 6, 1, 5, 2, 3]) {
            assert_eq!(bench.end(token, Reading::Value(value)), FINE);
        }
        assert_eq!((bench.reads(7), bench.reads(7)), (FINE, LOST));
    }

    #[test]
    fn what_may_have_been_counted_widens_the_upper_bound_only() {
        let mut bench = Bench::new();
        bench.reads(0);
        let unknown = bench.counter.begin();
        assert_eq!(bench.end(unknown, Reading::Unknown), FINE);
        let refused = bench.counter.begin();
        assert_eq!(bench.end(refused, Reading::NotApplied), FINE);
        assert_eq!(bench.reads(1), FINE);
        // It came later.
        assert_eq!(bench.reads(3), FINE);
        assert_eq!(bench.reads(5), EXTRA);
    }

    #[test]
    fn a_counter_that_begins_anew_is_a_reset() {
        let mut bench = Bench::new();
        for value in 0..50 {
            bench.reads(value);
        }
        assert_eq!(bench.reads(0), RESET);
        assert_eq!((bench.reads(1), bench.reads(2), bench.reads(2)), (FINE, FINE, LOST));
    }

    #[test]
    fn a_creator_whose_answer_comes_later_or_never_makes_a_low_value_a_reset() {
        let mut bench = Bench::new();
        for value in 0..50 {
            bench.reads(value);
        }
        let creator = bench.counter.begin();
        assert_eq!(bench.reads(1), FINE);
        assert_eq!(bench.end(creator, Reading::Value(0)), RESET);
        assert_eq!((bench.reads(2), bench.reads(3)), (FINE, FINE));
        // The creator turns out to be none.
        let slow = bench.counter.begin();
        assert_eq!(bench.reads(1), FINE);
        assert_eq!(bench.end(slow, Reading::Value(5)), LOST);
        bench.reads(20);
        let unknown = bench.counter.begin();
        bench.end(unknown, Reading::Unknown);
        assert_eq!(bench.reads(1), RESET);
        bench.reads(20);
        bench.reads(21);
        // Too high to be counted from 0 by so few.
        assert_eq!(bench.reads(19), LOST);
        // A minute later nothing excuses it any more.
        bench.reads(30);
        bench.now += LATE_MAX;
        assert_eq!(bench.reads(1), LOST);
    }

    /// A server of one counter that is honest but forgets, and clients whose answers are late or lost: never a
    /// violation. With a loss: always one.
    #[test]
    fn honest_servers_are_never_blamed() {
        use rand::{RngExt, SeedableRng};
        for seed in 0..300 {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut bench = Bench::new();
            let mut value: Option<u64> = (seed % 2 == 0).then_some(seed);
            let mut sent: Vec<Token> = Vec::new();
            let mut answered: Vec<(Token, u64)> = Vec::new();
            let mut late = 0u32;
            for _ in 0..2_000 {
                let count = |value: &mut Option<u64>| *value.insert(value.map_or(0, |value| value + 1));
                match rng.random_range(0..100) {
                    0..40 => sent.push(bench.counter.begin()),
                    40..60 if !sent.is_empty() => {
                        let token = sent.swap_remove(rng.random_range(0..sent.len()));
                        answered.push((token, count(&mut value)));
                    }
                    60..95 if !answered.is_empty() => {
                        let (token, got) = answered.swap_remove(rng.random_range(0..answered.len()));
                        let (violation, _) = bench.end(token, Reading::Value(got));
                        assert_eq!(violation, None, "seed {seed}");
                    }
                    95 if !sent.is_empty() => {
                        late += 1;
                        let token = sent.swap_remove(rng.random_range(0..sent.len()));
                        assert_eq!(bench.end(token, Reading::Unknown).0, None, "seed {seed}");
                    }
                    96 if late > 0 => {
                        late -= 1;
                        count(&mut value);
                    }
                    97 if rng.random_range(0..10) == 0 => value = None,
                    _ => {}
                }
            }
        }
    }
}
