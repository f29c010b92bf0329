//! Lost and extra counts: every answer to an `incr` says how often its counter was counted, and each of those counts
//! must belong to an incr.
//!
//! The server may lose a counter at any moment, any number of times: it is evicted or expires, or the server is flushed or
//! restarted. Whoever counts next creates it again and is answered 0 (a *reset*; no violation). An incr takes effect
//! between its begin and its end; one whose end is unknown does so at any later time, or never. Under these rules, let the
//! incr `a` have ended before `b` began:
//!
//! - *Too high.* Whether the counter was lost between them or not, `b`'s answer is at most `a`'s and one count for each incr
//!   that took effect in between, and for `b` itself. In between means: not ended before `a` began, and begun by now.
//! - *Too low.* If `b`'s answer is not above `a`'s, the counter was lost after `a`, and counted from 0 to `b`'s answer since:
//!   each value below it belongs to an incr that ended after `a` began, and was answered so, or runs, or has an unknown
//!   end. What is missing while some still run is a [`Suspect`] until they have ended.
//!
//! Two overlapping incrs with one answer are too low in the same way: the counter was lost between them, whichever was
//! first. All three are necessary under every order of effects, so a violation is a proof. Counters belong to one load:
//! another writer's counts are found as too many.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use observation::IntegrityKind;

use super::CountFindings;
use crate::values::Violation;

/// Answers that are kept of one counter. What is older is taken for the answer that explains.
const ANSWERS_MAX: usize = 256;
/// Answers since a reset for which those that overlap it are looked at again.
const RECENT: u64 = 64;
/// Low values of one counter that wait for running incrs; beyond that they are taken for resets.
const SUSPECTS_MAX: usize = 16;

/// When an incr began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begin {
    /// On the counter's clock, on which every begin and end is one tick.
    tick: u64,
    /// How many had been answered before: they cannot take effect after it.
    answered: u64,
}

/// An incr that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    begin: Begin,
    /// Tick of its end.
    ended: u64,
    value: u64,
}

/// What the incrs that have ended say of those that begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// The highest answer since the last reset.
    highest: Answer,
    /// The least of the answers, each less those before its begin; what is above was counted since.
    least: i64,
}

/// One incr that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    begin: Begin,
    known: Option<Known>,
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

/// A low value that some of those that ran at its end have to explain.
#[derive(Debug)]
struct Suspect {
    /// Tick of that end.
    at: u64,
    /// Values below it that no incr was answered.
    missing: Vec<u64>,
    /// How many that ran then still do.
    waiting: u64,
    /// How many may have been answered any of the missing, and will never tell.
    unknown: u64,
    violation: Violation,
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Counter {
    tick: u64,
    begun: u64,
    answered: u64,
    not_applied: u64,
    unknown: u64,
    known: Option<Known>,
    /// The answer in which the last reset was noticed.
    reset: Option<Answer>,
    /// Those that began before have a violation among them, and are not judged.
    judged_from: u64,
    /// By their end.
    answers: VecDeque<Answer>,
    /// End of the last answer that is not kept.
    forgotten: u64,
    suspects: Vec<Suspect>,
}

impl Counter {
    pub(super) fn begin(&mut self) -> Token {
        self.tick += 1;
        self.begun += 1;
        Token { begin: Begin { tick: self.tick, answered: self.answered }, known: self.known }
    }

    pub(super) fn end(&mut self, token: Token, reading: Reading) -> CountFindings {
        self.tick += 1;
        *match reading {
            Reading::Value(_) => &mut self.answered,
            Reading::NotApplied => &mut self.not_applied,
            Reading::Unknown => &mut self.unknown,
        } += 1;
        let mut violation = self.resolve(token.begin, reading);
        let mut reset = false;
        if let Reading::Value(value) = reading {
            let answer = Answer { begin: token.begin, ended: self.tick, value };
            if violation.is_none() && token.begin.tick >= self.judged_from {
                violation = self.judge(token, value);
                reset = violation.is_none() && self.is_reset(token, value);
                self.learn(answer, reset);
            }
            self.keep(answer);
        }
        if violation.is_some() {
            // What is known contradicts itself. Who begins now is judged by what comes now.
            (self.known, self.judged_from) = (None, self.tick);
            self.suspects.clear();
        }
        CountFindings { violation, reset }
    }

    fn judge(&mut self, token: Token, value: u64) -> Option<Violation> {
        let Token { begin, known } = token;
        if let Some(known) = known {
            let ceiling = known.least.saturating_add_unsigned(self.begun - self.not_applied - 1);
            if i64::try_from(value).unwrap_or(i64::MAX) > ceiling {
                let expected = format!(
                    "at most {ceiling}: no more counts were attempted here (several generators need --shard)"
                );
                return Some(violation(IntegrityKind::ExtraIncrements, expected, value));
            }
        }
        let above = known.map(|known| known.highest).filter(|highest| highest.value >= value);
        let lost_after = self.lost_after(begin, value).into_iter().chain(above.map(|above| above.begin));
        let since = lost_after.max_by_key(|begin| begin.tick)?;
        let expected = match above {
            Some(above) => {
                format!("more than {}: that was answered before, and no reset explains it", above.value)
            }
            None => "an answer of its own: another incr got the same, and no reset explains it".to_owned(),
        };
        self.low(value, since, violation(IntegrityKind::LostIncrements, expected, value))
    }

    /// The last begin of an answer that must be followed by a loss, for it overlaps and is the same, or was before and is
    /// not less. Of what was before, [`Known::highest`] has all but what overlaps the last
    /// reset, which soon does not matter any more.
    fn lost_after(&self, begin: Begin, value: u64) -> Option<Begin> {
        let recent =
            self.reset.map(|reset| reset.begin).filter(|reset| self.answered - reset.answered <= RECENT);
        let from = recent.map_or(begin.tick, |reset| reset.tick.min(begin.tick));
        let others = self.answers.iter().rev().take_while(|other| other.ended > from);
        let followed = others.filter_map(|other| {
            if other.ended < begin.tick {
                (other.value >= value).then_some(other.begin)
            } else {
                (other.value == value).then(|| earlier(other.begin, begin))
            }
        });
        followed.max_by_key(|begin| begin.tick)
    }

    /// The counter was lost after `since` and has been counted to `value`. By whom?
    fn low(&mut self, value: u64, since: Begin, violation: Violation) -> Option<Violation> {
        // All but the two that say that it was lost.
        let able = self.begun - self.not_applied - since.answered - 2;
        if value > able {
            return Some(violation);
        }
        if self.forgotten > since.tick {
            return None;
        }
        let mut missing: Vec<bool> = vec![true; value as usize];
        for answer in self.answers.iter().rev().take_while(|answer| answer.ended > since.tick) {
            if let Some(missing) = missing.get_mut(answer.value as usize) {
                *missing = false;
            }
        }
        let missing: Vec<u64> = (0..).zip(missing).filter_map(|(value, is)| is.then_some(value)).collect();
        let waiting = self.begun - self.answered - self.not_applied - self.unknown;
        let suspect = Suspect { at: self.tick, missing, waiting, unknown: self.unknown, violation };
        match suspect.judge() {
            Judged::Proven(violation) => return Some(violation),
            Judged::Open(suspect) if self.suspects.len() < SUSPECTS_MAX => self.suspects.push(suspect),
            Judged::Open(_) | Judged::Explained => {}
        }
        None
    }

    /// One of those that suspicions wait for may have ended.
    fn resolve(&mut self, begin: Begin, reading: Reading) -> Option<Violation> {
        if self.suspects.is_empty() {
            return None;
        }
        let mut proven = None;
        for mut suspect in std::mem::take(&mut self.suspects) {
            suspect.hear(begin, reading);
            match suspect.judge() {
                Judged::Proven(violation) => proven = Some(violation),
                Judged::Open(suspect) => self.suspects.push(suspect),
                Judged::Explained => {}
            }
        }
        proven
    }

    /// The first that is too low after the last reset began after it, so there is another one.
    fn is_reset(&self, token: Token, value: u64) -> bool {
        self.reset.is_none_or(|reset| token.begin.tick > reset.ended)
            && token.known.is_some_and(|known| value <= known.highest.value)
    }

    fn learn(&mut self, answer: Answer, reset: bool) {
        let Answer { begin, value, .. } = answer;
        let least = i64::try_from(value).unwrap_or(i64::MAX).saturating_sub_unsigned(begin.answered);
        let mut known = self.known.unwrap_or(Known { highest: answer, least });
        known.least = known.least.min(least);
        if reset {
            (known.highest, self.reset) = (answer, Some(answer));
        } else if value > known.highest.value && self.reset.is_none_or(|reset| begin.tick > reset.ended) {
            // Those that began before the reset may be answers from before it.
            known.highest = answer;
        }
        self.known = Some(known);
    }

    fn keep(&mut self, answer: Answer) {
        if self.answers.len() >= ANSWERS_MAX
            && let Some(oldest) = self.answers.pop_front()
        {
            self.forgotten = oldest.ended;
        }
        self.answers.push_back(answer);
    }
}

/// What is to be said of a suspect.
enum Judged {
    Proven(Violation),
    Open(Suspect),
    Explained,
}

impl Suspect {
    /// An incr has ended.
    fn hear(&mut self, begin: Begin, reading: Reading) {
        if begin.tick > self.at {
            return;
        }
        self.waiting -= 1;
        match reading {
            Reading::Value(value) => self.missing.retain(|missing| *missing != value),
            Reading::Unknown => self.unknown += 1,
            Reading::NotApplied => {}
        }
    }

    fn judge(self) -> Judged {
        if self.missing.len() as u64 > self.waiting + self.unknown {
            Judged::Proven(self.violation)
        } else if self.waiting == 0 || self.missing.is_empty() {
            Judged::Explained
        } else {
            Judged::Open(self)
        }
    }
}

fn earlier(a: Begin, b: Begin) -> Begin {
    if a.tick < b.tick { a } else { b }
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

    pub(super) fn end(&self, number: usize, token: Token, reading: Reading) -> CountFindings {
        self.with(number, |counter| counter.end(token, reading))
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
    }

    impl Bench {
        fn new() -> Self {
            Self { counter: Counter::default() }
        }

        fn end(&mut self, token: Token, reading: Reading) -> (Option<IntegrityKind>, bool) {
            let found = self.counter.end(token, reading);
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
    fn two_answers_with_the_same_value_are_found_at_once() {
        let mut bench = Bench::new();
        bench.reads(10);
        let (a, b) = (bench.counter.begin(), bench.counter.begin());
        assert_eq!((bench.end(b, Reading::Value(11)), bench.end(a, Reading::Value(11))), (FINE, LOST));
        assert_eq!((bench.reads(12), bench.reads(13)), (FINE, FINE));
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
        assert_eq!(bench.reads(1), RESET);
        assert_eq!(bench.end(creator, Reading::Value(0)), FINE);
        assert_eq!((bench.reads(2), bench.reads(3)), (FINE, FINE));
        // The creator turns out to be none.
        let slow = bench.counter.begin();
        assert_eq!(bench.reads(1), RESET);
        assert_eq!(bench.end(slow, Reading::Value(5)), LOST);
        assert_eq!(bench.reads(20), FINE);
        let unknown = bench.counter.begin();
        assert_eq!(bench.end(unknown, Reading::Unknown), FINE);
        // It may be the creator at any later time.
        assert_eq!((bench.reads(1), bench.reads(2)), (RESET, FINE));
        // Too high to be counted from 0 by so few.
        assert_eq!((bench.reads(200), bench.reads(201), bench.reads(199)), (EXTRA, FINE, LOST));
    }

    #[test]
    fn what_ended_before_the_answer_of_the_creator_counts_from_the_creation() {
        let mut bench = Bench::new();
        bench.reads(50);
        let creator = bench.counter.begin();
        // The counter is lost, created by an incr that is answered late, and counted.
        let tokens: Vec<_> = (0..3).map(|_| bench.counter.begin()).collect();
        for (token, value) in tokens.into_iter().zip(1..) {
            assert_eq!(bench.end(token, Reading::Value(value)).0, None);
        }
        // It is lost again; the first answers of its third life come before that 0.
        let second = bench.counter.begin();
        assert_eq!(bench.reads(1).0, None);
        assert_eq!(bench.end(creator, Reading::Value(0)).0, None);
        assert_eq!(bench.end(second, Reading::Value(0)).0, None);
        assert_eq!((bench.reads(2), bench.reads(3), bench.reads(3)), (FINE, FINE, LOST));
    }

    #[test]
    fn a_slow_incr_is_judged_as_long_as_the_answers_since_its_begin_are_kept() {
        for (others, found) in [(ANSWERS_MAX as u64, LOST), (ANSWERS_MAX as u64 + 1, FINE)] {
            let mut bench = Bench::new();
            bench.reads(1_000_000);
            let slow = bench.counter.begin();
            for value in 1..=others {
                assert_eq!(bench.reads(1_000_000 + value), FINE);
            }
            assert_eq!(bench.end(slow, Reading::Value(1_000_001)), found);
        }
    }

    /// A server of one counter that is honest but forgets, and clients whose answers are late or lost: never a violation.
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
            // From twice among a few answers to never.
            let often = 1 << (seed % 10);
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
                    97..100 if rng.random_range(0..often) == 0 => value = None,
                    _ => {}
                }
            }
        }
    }
}
