//! Small worlds for the oracles: every order in which a few ops on one key can begin, take effect and end, and every
//! answer that they can get. A search over all orders of effects decides which answers a correct server can give.

/// What is seen of an op from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Begin(usize),
    End(usize),
}

/// What happens in a world, seen or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Begin(usize),
    Effect(usize),
    End(usize),
    /// The server loses the key: flushed, evicted, expired or restarted.
    Loss,
}

/// How an op goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It takes effect before it ends, and its answer comes.
    Answered,
    /// The same, and it takes effect once more at any later time: an attempt of it was repeated.
    Repeated,
    /// Its end is unknown; it takes effect at any time after its begin.
    Late,
    /// Its end is unknown, and it takes no effect.
    Vanished,
    /// It ends, certainly without an effect.
    Refused,
}

/// All lists of `len` of these.
pub(super) fn lists<T: Copy>(of: &[T], len: usize) -> Vec<Vec<T>> {
    (0..len).fold(vec![Vec::new()], |lists, _| {
        lists.iter().flat_map(|list| of.iter().map(move |one| [&list[..], &[*one]].concat())).collect()
    })
}

/// All orders in which `ops` ops can begin and end. They are numbered by their begin.
pub(super) fn orders(ops: usize) -> Vec<Vec<Seen>> {
    let ways = vec![Way::Refused; ops];
    let mut orders = Vec::new();
    every_run(&ways, 0, &mut |steps| {
        let seen = steps.iter().map(|step| match step {
            Step::Begin(op) => Seen::Begin(*op),
            Step::End(op) => Seen::End(*op),
            Step::Effect(_) | Step::Loss => unreachable!("refused ops have no effect, and nothing is lost"),
        });
        orders.push(seen.collect());
    });
    orders
}

/// Visits every order of the steps of these ops and of up to `losses` losses of the key.
pub(super) fn every_run(ways: &[Way], losses: usize, visit: &mut impl FnMut(&[Step])) {
    let run = Run { ways, begun: 0, effects: 0, repeated: 0, ended: 0, losses };
    run.extend(&mut Vec::new(), visit);
}

/// A run that may go on; sets of ops are bits.
#[derive(Clone, Copy)]
struct Run<'w> {
    ways: &'w [Way],
    begun: usize,
    effects: u32,
    repeated: u32,
    ended: u32,
    /// How many more there may be.
    losses: usize,
}

impl Run<'_> {
    fn extend(self, steps: &mut Vec<Step>, visit: &mut impl FnMut(&[Step])) {
        let all = self.ways.len();
        let owes_effect = |op: usize| {
            matches!(self.ways[op], Way::Answered | Way::Repeated | Way::Late)
                && self.effects & (1 << op) == 0
        };
        let owes_repeat = |op: usize| self.ways[op] == Way::Repeated && self.repeated & (1 << op) == 0;
        if self.ended.count_ones() as usize == all && !(0..all).any(|op| owes_effect(op) || owes_repeat(op)) {
            visit(steps);
            return;
        }
        let mut go = |step, next: Self| {
            steps.push(step);
            next.extend(steps, visit);
            steps.pop();
        };
        if self.begun < all {
            go(Step::Begin(self.begun), Self { begun: self.begun + 1, ..self });
        }
        for op in 0..self.begun {
            if owes_effect(op) {
                go(Step::Effect(op), Self { effects: self.effects | 1 << op, ..self });
            } else if owes_repeat(op) {
                go(Step::Effect(op), Self { repeated: self.repeated | 1 << op, ..self });
            }
            let may_end = self.ways[op] == Way::Late || !owes_effect(op);
            if may_end && self.ended & (1 << op) == 0 {
                go(Step::End(op), Self { ended: self.ended | 1 << op, ..self });
            }
        }
        if self.losses > 0 {
            go(Step::Loss, Self { losses: self.losses - 1, ..self });
        }
    }
}

/// When an op ran, as places in an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) began: usize,
    pub(super) ended: usize,
    pub(super) way: Way,
}

/// The spans of an order whose ops go these ways.
pub(super) fn spans(order: &[Seen], ways: &[Way]) -> Vec<Span> {
    let place = |seen| order.iter().position(|other| *other == seen).unwrap();
    let span = |(op, way): (usize, &Way)| Span {
        began: place(Seen::Begin(op)),
        ended: place(Seen::End(op)),
        way: *way,
    };
    ways.iter().enumerate().map(span).collect()
}

/// Is there an order of effects, with losses of the key anywhere, that gives the answers? `effect`: the state after the op
/// took effect, `None` if its answer is another one in this state. `lost`: the state without the key. No op is
/// [`Way::Repeated`].
pub(super) fn explained<S: Copy>(
    spans: &[Span],
    state: S,
    lost: S,
    effect: &impl Fn(S, usize) -> Option<S>,
) -> bool {
    search(spans, 0, state, lost, effect)
}

fn search<S: Copy>(
    spans: &[Span],
    done: u32,
    state: S,
    lost: S,
    effect: &impl Fn(S, usize) -> Option<S>,
) -> bool {
    let owed = |op: usize| spans[op].way == Way::Answered && done & (1 << op) == 0;
    let ops = 0..spans.len();
    if !ops.clone().any(owed) {
        return true;
    }
    let may = |op: &usize| {
        done & (1 << op) == 0
            && matches!(spans[*op].way, Way::Answered | Way::Late)
            && !ops.clone().any(|other| owed(other) && spans[other].ended < spans[*op].began)
    };
    ops.clone().filter(may).any(|op| {
        [state, lost].into_iter().any(|before| {
            effect(before, op).is_some_and(|after| search(spans, done | 1 << op, after, lost, effect))
        })
    })
}

#[test]
fn there_are_as_many_orders_as_combinatorics_says() {
    assert_eq!([1, 2, 3, 4].map(|ops| orders(ops).len()), [1, 3, 15, 105]);
    let runs = |ways: &[Way], losses| {
        let mut runs = 0;
        every_run(ways, losses, &mut |_| runs += 1);
        runs
    };
    // 6! / (3! 3!) / 2 orders of two ops; a loss comes before any of the 6 steps, or never.
    assert_eq!(runs(&[Way::Answered; 2], 0), 10);
    assert_eq!(runs(&[Way::Answered; 2], 1), 10 + 60);
    assert_eq!(runs(&[Way::Late], 0), 2);
}
