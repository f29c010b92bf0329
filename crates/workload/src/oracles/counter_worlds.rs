//! The counter oracle in small worlds: silent wherever some order of effects explains the answers, and how often it speaks
//! where none does.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::counters::{Counter, Reading};
use super::worlds::{Seen, Span, Step, Way, every_run, explained, lists, orders, spans};

/// A counter on the server.
#[derive(Debug, Clone, Copy)]
enum State {
    /// As it was before the first op: anything.
    Any,
    Absent,
    Value(u64),
}

/// A client sends no incr again.
const WAYS: [Way; 4] = [Way::Answered, Way::Late, Way::Vanished, Way::Refused];

impl State {
    /// After one more count. Of a counter that could be anything the answer says what it was.
    fn count(self, answer: Option<u64>) -> State {
        match self {
            State::Any => answer.map_or(State::Any, State::Value),
            State::Absent => State::Value(0),
            State::Value(value) => State::Value(value + 1),
        }
    }
}

fn way(reading: Reading) -> Way {
    match reading {
        Reading::Value(_) => Way::Answered,
        Reading::Unknown => Way::Late,
        Reading::NotApplied => Way::Refused,
    }
}

fn legal(spans: &[Span], readings: &[Reading]) -> bool {
    explained(spans, State::Any, State::Absent, &|state: State, op| {
        let answer = match readings[op] {
            Reading::Value(value) => Some(value),
            _ => None,
        };
        let after = state.count(answer);
        match (answer, after) {
            (Some(answer), State::Value(value)) if answer != value => None,
            _ => Some(after),
        }
    })
}

/// How many violations it reports.
fn reports(order: &[Seen], readings: &[Reading]) -> usize {
    let mut counter = Counter::default();
    let mut tokens = Vec::new();
    let mut reports = 0;
    for seen in order {
        match seen {
            Seen::Begin(_) => tokens.push(counter.begin()),
            Seen::End(op) => {
                reports += usize::from(counter.end(tokens[*op], readings[*op]).violation.is_some());
            }
        }
    }
    reports
}

/// A correct server, whose counter begins with this value, in one run.
fn served(ways: &[Way], steps: &[Step], mut state: State) {
    let mut counter = Counter::default();
    let (mut tokens, mut answers) = (Vec::new(), vec![Reading::Unknown; ways.len()]);
    let (mut losses, mut resets) = (0, 0);
    for step in steps {
        match step {
            Step::Begin(_) => tokens.push(counter.begin()),
            Step::Effect(op) => {
                state = state.count(None);
                if let State::Value(value) = state {
                    answers[*op] = Reading::Value(value);
                }
            }
            Step::End(op) => {
                let reading = match ways[*op] {
                    Way::Answered | Way::Repeated => answers[*op],
                    Way::Late | Way::Vanished => Reading::Unknown,
                    Way::Refused => Reading::NotApplied,
                };
                let found = counter.end(tokens[*op], reading);
                assert_eq!(found.violation, None, "{ways:?} {steps:?}");
                resets += usize::from(found.reset);
            }
            Step::Loss => {
                state = State::Absent;
                losses += 1;
            }
        }
    }
    assert!(resets <= losses, "{resets} resets: {ways:?} {steps:?}");
}

#[test]
fn no_order_of_effects_losses_and_late_answers_of_a_correct_server_is_a_violation() {
    let mut runs = 0;
    let mut all = |ways: &[Way], losses| {
        every_run(ways, losses, &mut |steps| {
            for state in [State::Absent, State::Value(4)] {
                served(ways, steps, state);
                runs += 1;
            }
        });
    };
    for ways in (1..=3).flat_map(|ops| lists(&WAYS, ops)) {
        all(&ways, 2);
    }
    all(&[Way::Answered; 4], 2);
    assert!(runs > 3_000_000, "{runs}");
}

/// Answers that no order of effects explains, and how many of them are reported.
#[derive(Debug, Default)]
struct Lies {
    /// The counter was read before the others began, as in every load after its first moment.
    known: (usize, usize),
    /// The first incrs overlap, so that the counter may have been anything.
    first: (usize, usize),
}

/// Gives `ops` incrs all of these answers, and unknown and refused ends, in every order of their begins and ends.
fn lies(ops: usize, answers: &[u64]) -> Lies {
    let values = answers.iter().map(|value| Reading::Value(*value));
    let readings: Vec<Reading> = values.chain([Reading::Unknown, Reading::NotApplied]).collect();
    let orders = orders(ops);
    let mut lies = Lies::default();
    for readings in lists(&readings, ops) {
        let ways: Vec<Way> = readings.iter().map(|reading| way(*reading)).collect();
        for order in &orders {
            let reports = reports(order, &readings);
            if legal(&spans(order, &ways), &readings) {
                assert_eq!(reports, 0, "{order:?} {readings:?}");
                continue;
            }
            let known = order[1] == Seen::End(0) && ways[0] == Way::Answered;
            let (all, found) = if known { &mut lies.known } else { &mut lies.first };
            *all += 1;
            *found += usize::from(reports > 0);
        }
    }
    lies
}

#[test]
fn answers_that_an_order_of_effects_explains_are_never_reported_and_few_others_pass() {
    for (ops, least_known, least_first) in [(2, 1.0, 0.26), (3, 0.98, 0.61), (4, 0.96, 0.74)] {
        let lies = lies(ops, &[0, 1, 2, 3, 7, 8]);
        let share = |(all, found): (usize, usize)| found as f64 / all as f64;
        assert!(share(lies.known) >= least_known && share(lies.first) >= least_first, "{ops} ops: {lies:?}");
        assert!(lies.known.0 >= 26, "{ops} ops: {lies:?}");
    }
}

/// A server that counts each incr at some moment between its begin and its end, and loses a counter from time to time; clients
/// of whose answers some are late and some are lost. Does the last answer, which is falsified, get reported within 100
/// more?
fn is_noticed(seed: u64, falsify: impl Fn(u64) -> u64) -> bool {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut counter, mut state) = (Counter::default(), State::Value(1_000_000));
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    let mut told: Option<u64> = None;
    for at in 0..1_000 {
        while sent.len() + answered.len() < 16 {
            sent.push(counter.begin());
        }
        if !sent.is_empty() && rng.random_range(0..2) == 0 {
            state = state.count(None);
            let State::Value(value) = state else { unreachable!("it is never anything") };
            answered.push((sent.swap_remove(rng.random_range(0..sent.len())), value));
        } else if !answered.is_empty() {
            let (token, value) = answered.swap_remove(rng.random_range(0..answered.len()));
            let lie = at > 500 && told.is_none();
            told = told.or(lie.then_some(at));
            let reading = Reading::Value(if lie { falsify(value) } else { value });
            match (counter.end(token, reading).violation, told) {
                (Some(_), Some(_)) => return true,
                (Some(violation), None) => panic!("seed {seed}: {violation:?}"),
                (None, _) => {}
            }
        }
    }
    false
}

#[test]
fn an_answer_that_is_a_little_too_low_or_too_high_is_noticed_under_16_incrs_at_once() {
    let noticed = |falsify: fn(u64) -> u64| (0..200).filter(|seed| is_noticed(*seed, falsify)).count();
    assert_eq!(noticed(|value| value), 0);
    for falsify in [|value| value - 1, |value| value + 1, |value| value - 100, |value| value + 100, |_| 2_000]
    {
        assert!(noticed(falsify) >= 190, "{}", noticed(falsify));
    }
}
