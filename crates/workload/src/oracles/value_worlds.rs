//! The oracles of stale and of resurrected reads in small worlds: silent under every order of effects, and never silent about
//! a read that no order allows.

use std::collections::VecDeque;

use observation::Outcome;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::worlds::{Seen, Step, Way, every_run, explained, lists, orders, spans};
use super::{Fate, Oracles, ReadFindings};

/// What an op does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Write,
    Delete,
    Read,
}

/// An op, and how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Op {
    does: Does,
    way: Way,
}

/// What a read finds: the value of this op, or none.
type Found = Option<usize>;

const KEY: usize = 0;

/// The oracles as one world tells them of its ops.
struct Watch<'o> {
    oracles: Oracles,
    ops: &'o [Op],
    ticks: Vec<u64>,
}

impl<'o> Watch<'o> {
    fn new(ops: &'o [Op]) -> Self {
        Self { oracles: Oracles::new(1_000, 1, 1, true), ops, ticks: Vec::new() }
    }

    fn begin(&mut self, op: usize) {
        let oracles = &self.oracles;
        self.ticks.push(match self.ops[op].does {
            Does::Write => oracles.plan_write(KEY),
            Does::Delete => oracles.plan_delete(KEY),
            Does::Read => oracles.plan_read(),
        });
    }

    /// `found`: by a read. Is it reported?
    fn end(&mut self, op: usize, found: Found) -> bool {
        let Op { does, way } = self.ops[op];
        if does != Does::Read {
            let (outcome, attempts) = match way {
                Way::Answered => (Outcome::Stored, &[Outcome::Stored][..]),
                Way::Repeated => (Outcome::Stored, &[Outcome::Timeout, Outcome::Stored][..]),
                Way::Late | Way::Vanished => (Outcome::Timeout, &[Outcome::Timeout][..]),
                Way::Refused => (Outcome::Connect, &[Outcome::Connect][..]),
            };
            let fate = Fate::new(outcome, attempts.iter().copied(), true);
            self.oracles.changed(KEY, self.ticks[op], fate, false, 0);
        }
        let read = found.map(|write| self.oracles.read(KEY, self.ticks[write], self.ticks[op]));
        read.is_some_and(|findings| findings != ReadFindings::default())
    }
}

/// A correct server in one run.
fn served(ops: &[Op], steps: &[Step]) {
    let mut watch = Watch::new(ops);
    let mut state: Found = None;
    let mut found: Vec<Found> = vec![None; ops.len()];
    for step in steps {
        match step {
            Step::Begin(op) => watch.begin(*op),
            Step::Effect(op) => match ops[*op].does {
                Does::Write => state = Some(*op),
                Does::Delete => state = None,
                Does::Read => found[*op] = state,
            },
            Step::End(op) => assert!(!watch.end(*op, found[*op]), "{ops:?} {steps:?}"),
            Step::Loss => state = None,
        }
    }
}

fn ops(ways: &[Way]) -> Vec<Op> {
    let change = |does| ways.iter().map(move |way| Op { does, way: *way });
    let read = Op { does: Does::Read, way: Way::Answered };
    change(Does::Write).chain(change(Does::Delete)).chain([read]).collect()
}

#[test]
fn no_order_of_effects_losses_and_late_answers_of_a_correct_server_is_a_finding() {
    let mut runs = 0;
    let mut all = |ops: &[Op], losses| {
        let ways: Vec<Way> = ops.iter().map(|op| op.way).collect();
        every_run(&ways, losses, &mut |steps| {
            served(ops, steps);
            runs += 1;
        });
    };
    for ops in lists(&ops(&[Way::Answered, Way::Repeated, Way::Late, Way::Vanished, Way::Refused]), 3) {
        all(&ops, 0);
    }
    for ops in lists(&ops(&[Way::Answered]), 3) {
        all(&ops, 2);
    }
    for ops in lists(&ops(&[Way::Answered]), 4) {
        all(&ops, 0);
    }
    assert!(runs > 3_000_000, "{runs}");
}

#[test]
fn a_correct_server_is_never_reported_however_much_more_is_written_than_is_kept() {
    let ways =
        [Way::Answered, Way::Answered, Way::Answered, Way::Repeated, Way::Late, Way::Vanished, Way::Refused];
    let kinds = ops(&ways);
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Half of the ops are reads, and up to 32 run at once.
        let read = kinds[kinds.len() - 1];
        let draw =
            |rng: &mut ChaCha8Rng| if rng.random() { read } else { kinds[rng.random_range(0..kinds.len())] };
        let ops: Vec<Op> = (0..600).map(|_| draw(&mut rng)).collect();
        let at_once = 1 << (seed % 6);
        let mut steps = Vec::new();
        let mut running: Vec<VecDeque<Step>> = Vec::new();
        let mut begun = 0..ops.len();
        loop {
            while running.len() < at_once
                && let Some(op) = begun.next()
            {
                steps.push(Step::Begin(op));
                running.push(match ops[op].way {
                    Way::Answered => [Step::Effect(op), Step::End(op)].into(),
                    Way::Repeated => [Step::Effect(op), Step::End(op), Step::Effect(op)].into(),
                    Way::Late => [Step::End(op), Step::Effect(op)].into(),
                    Way::Vanished | Way::Refused => [Step::End(op)].into(),
                });
            }
            if running.is_empty() {
                break;
            }
            let at = rng.random_range(0..running.len());
            steps.extend(running[at].pop_front());
            if running[at].is_empty() {
                running.swap_remove(at);
            }
        }
        served(&ops, &steps);
    }
}

/// What `count` ops can be, with what their reads find: any value of a write that may have been done.
fn worlds(count: usize) -> Vec<(Vec<Op>, Vec<Found>)> {
    let mut worlds = Vec::new();
    for ops in lists(&ops(&[Way::Answered, Way::Late, Way::Refused]), count) {
        let done = |op: &usize| ops[*op].does == Does::Write && ops[*op].way != Way::Refused;
        let values: Vec<Found> = (0..count).filter(done).map(Some).chain([None]).collect();
        let reads = ops.iter().filter(|op| op.does == Does::Read).count();
        for found in lists(&values, reads) {
            let mut found = found.into_iter();
            let find = |op: &Op| if op.does == Does::Read { found.next().flatten() } else { None };
            worlds.push((ops.clone(), ops.iter().map(find).collect()));
        }
    }
    worlds
}

/// Does an order of effects explain all reads that `asked` names?
fn legal(order: &[Seen], ops: &[Op], found: &[Found], asked: impl Fn(usize) -> bool) -> bool {
    let of = |(at, op): (usize, &Op)| if op.does == Does::Read && !asked(at) { Way::Refused } else { op.way };
    let ways: Vec<Way> = ops.iter().enumerate().map(of).collect();
    explained(&spans(order, &ways), None, None, &|state: Found, op| match ops[op].does {
        Does::Write => Some(Some(op)),
        Does::Delete => Some(None),
        Does::Read => (state == found[op]).then_some(state),
    })
}

/// Which reads are reported.
fn reported(order: &[Seen], ops: &[Op], found: &[Found]) -> Vec<usize> {
    let mut watch = Watch::new(ops);
    let mut reported = Vec::new();
    for seen in order {
        match seen {
            Seen::Begin(op) => watch.begin(*op),
            Seen::End(op) => reported.extend(watch.end(*op, found[*op]).then_some(*op)),
        }
    }
    reported
}

#[test]
fn a_read_is_reported_exactly_if_the_writes_and_deletes_leave_no_order_of_effects_for_it() {
    for (count, least) in [(2, 0), (3, 2), (4, 450)] {
        let (orders, mut lies) = (orders(count), 0);
        for (ops, found) in worlds(count) {
            let reads = || (0..count).filter(|op| ops[*op].does == Does::Read);
            for order in &orders {
                let place = |seen| order.iter().position(|other| *other == seen);
                // A value that is read before it is written is somebody else's, or a bug of this crate.
                let early = |read, write| place(Seen::End(read)) < place(Seen::Begin(write));
                if reads().any(|read| found[read].is_some_and(|write| early(read, write))) {
                    continue;
                }
                let wrong: Vec<usize> =
                    reads().filter(|read| !legal(order, &ops, &found, |other| other == *read)).collect();
                let mut reported = reported(order, &ops, &found);
                reported.sort_unstable();
                assert_eq!(reported, wrong, "{order:?} {ops:?} {found:?}");
                lies += usize::from(!wrong.is_empty());
            }
        }
        assert!(lies >= least, "{count} ops: {lies}");
    }
}
