//! One planned op, run through the client and verified.

use observation::Outcome;
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::mix::OpKind;
use crate::oracles::Token;
use crate::target::{Answer, AnyTarget, Attempts, Key, KeyEnd, Op, Target};
use crate::values::{self, Violation};

/// What is asked of the client.
#[derive(Debug)]
pub enum PlannedOp {
    /// One op on one key.
    One(Op),
    /// Read several and verify each.
    MultiGet(Vec<Key>),
}

/// An op, and what the oracles know of its begin.
#[derive(Debug)]
pub struct Planned {
    /// What to do.
    pub op: PlannedOp,
    /// Numbers of its keys; of its counter for an incr.
    pub numbers: SmallVec<[usize; 1]>,
    /// When it was planned, on the oracles' clock; the version of what is written.
    pub tick: u64,
    /// For an incr.
    pub(crate) token: Option<Token>,
}

/// An op that has ended.
#[derive(Debug)]
pub struct Finished {
    /// What it did.
    pub kind: OpKind,
    /// When it should have started.
    pub intended: Instant,
    /// When it did.
    pub started: Instant,
    /// When its end was known.
    pub ended: Instant,
    /// What was tried; empty if the client does not say.
    pub attempts: Attempts,
    /// One entry, or one a key of a multi-get.
    pub results: SmallVec<[KeyResult; 1]>,
    /// Numbers of the keys of `results`; of its counter for an incr.
    pub numbers: SmallVec<[usize; 1]>,
    /// When it was planned, on the oracles' clock; the version of what was written.
    pub tick: u64,
    /// For an incr.
    pub(crate) token: Option<Token>,
}

/// The end of one key's op.
#[derive(Debug)]
pub struct KeyResult {
    /// Which key.
    pub key: Key,
    /// Index of its home server.
    pub home: usize,
    /// How it ended, as the client says.
    pub outcome: Outcome,
    /// What is wrong with the value that came.
    pub violation: Option<Box<Violation>>,
    /// The version of a right value that came.
    pub version: Option<u64>,
    /// The counter's new value.
    pub counter: Option<u64>,
}

impl Planned {
    /// An op on the key of this number; `tick`: when it was planned, on the oracles' clock.
    pub(crate) fn one(op: Op, number: usize, tick: u64) -> Self {
        Self { op: PlannedOp::One(op), numbers: smallvec![number], tick, token: None }
    }

    /// Runs it now.
    pub async fn run(self, target: &AnyTarget, intended: Instant) -> Finished {
        let Planned { op, numbers, tick, token } = self;
        let started = Instant::now();
        let (kind, attempts, results) = match op {
            PlannedOp::One(op) => {
                let (kind, key) = (op.kind(), op.key().clone());
                let done = target.execute(op).await;
                (kind, done.attempts, SmallVec::from_iter([KeyResult::verified(key, done.end)]))
            }
            PlannedOp::MultiGet(keys) => {
                let done = target.multi_get(&keys).await;
                let ends = keys.into_iter().zip(done.ends);
                let results = ends.map(|(key, end)| KeyResult::verified(key, end)).collect();
                (OpKind::MultiGet, done.attempts, results)
            }
        };
        let ended = Instant::now();
        Finished { kind, intended, started, ended, attempts, results, numbers, tick, token }
    }
}

impl KeyResult {
    fn verified(key: Key, end: KeyEnd) -> Self {
        let KeyEnd { home, outcome, answer } = end;
        let (mut violation, mut version, mut counter) = (None, None, None);
        match answer {
            Answer::Nothing => {}
            Answer::Counter(value) => counter = Some(value),
            Answer::Value(value) => match values::verify(key.as_bytes(), &value) {
                Ok(verified) => version = Some(verified.version),
                Err(wrong) => violation = Some(Box::new(wrong)),
            },
        }
        Self { key, home, outcome, violation, version, counter }
    }
}
