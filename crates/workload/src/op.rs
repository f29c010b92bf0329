//! One planned op, run through the client and verified.

use std::time::Duration;

use bytes::Bytes;
use memcache_client::{Client, Key, Op, Reply};
use observation::Outcome;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::convert;
use crate::mix::OpKind;
use crate::oracles::Token;
use crate::values::{self, Verified, Violation};

/// Start of a counter.
const COUNTER_START: u64 = 0;

/// An op with everything that it needs.
#[derive(Debug)]
pub enum PlannedOp {
    /// Read and verify.
    Get(Key),
    /// Write.
    Set(Key, Bytes, Option<Duration>),
    /// Write unless there.
    Add(Key, Bytes, Option<Duration>),
    /// Remove.
    Delete(Key),
    /// Count one up.
    Incr(Key),
    /// Renew.
    Touch(Key, Option<Duration>),
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
    /// What was tried.
    pub attempts: SmallVec<[Tried; 2]>,
    /// One entry, or one a key of a multi-get.
    pub results: SmallVec<[KeyResult; 1]>,
    /// Numbers of the keys of `results`; of its counter for an incr.
    pub numbers: SmallVec<[usize; 1]>,
    /// When it was planned, on the oracles' clock; the version of what was written.
    pub tick: u64,
    /// For an incr.
    pub(crate) token: Option<Token>,
}

/// One try at one server.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    /// Index of the server.
    pub server: usize,
    /// How it ended.
    pub outcome: Outcome,
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
    /// Runs it now.
    pub async fn run(self, client: &Client, intended: Instant) -> Finished {
        let Planned { op, numbers, tick, token } = self;
        let started = Instant::now();
        let kind = op.kind();
        let (attempts, results) = match op {
            PlannedOp::MultiGet(keys) => many(client, keys).await,
            one => single(client, one).await,
        };
        let ended = Instant::now();
        Finished { kind, intended, started, ended, attempts, results, numbers, tick, token }
    }
}

impl PlannedOp {
    fn kind(&self) -> OpKind {
        match self {
            PlannedOp::Get(_) => OpKind::Get,
            PlannedOp::Set(..) => OpKind::Set,
            PlannedOp::Add(..) => OpKind::Add,
            PlannedOp::Delete(_) => OpKind::Delete,
            PlannedOp::Incr(_) => OpKind::Incr,
            PlannedOp::Touch(..) => OpKind::Touch,
            PlannedOp::MultiGet(_) => OpKind::MultiGet,
        }
    }

    /// The client's op; `None` for a multi-get, which is not one op on one key.
    fn into_op(self) -> Option<Op> {
        Some(match self {
            PlannedOp::Get(key) => Op::Get(key),
            PlannedOp::Set(key, value, ttl) => Op::Set { key, value, ttl },
            PlannedOp::Add(key, value, ttl) => Op::Add { key, value, ttl },
            PlannedOp::Delete(key) => Op::Delete(key),
            PlannedOp::Incr(key) => Op::Incr { key, delta: 1, initial: Some((COUNTER_START, None)) },
            PlannedOp::Touch(key, ttl) => Op::Touch(key, ttl),
            PlannedOp::MultiGet(_) => return None,
        })
    }
}

impl KeyResult {
    fn read(key: Key, home: usize, outcome: Outcome, checked: Option<Result<Verified, Violation>>) -> Self {
        let (version, violation) = match checked {
            None => (None, None),
            Some(Ok(verified)) => (Some(verified.version), None),
            Some(Err(violation)) => (None, Some(Box::new(violation))),
        };
        Self { key, home, outcome, violation, version, counter: None }
    }
}

type Ends = (SmallVec<[Tried; 2]>, SmallVec<[KeyResult; 1]>);

async fn single(client: &Client, planned: PlannedOp) -> Ends {
    let Some(op) = planned.into_op() else { return Ends::default() };
    let key = op.key().clone();
    let done = client.execute(op).await;
    let counter = match &done.result {
        Ok(Reply::Counter(value)) => Some(*value),
        _ => None,
    };
    let checked = match &done.result {
        Ok(Reply::Value(value)) => Some(values::verify(key.as_bytes(), value)),
        _ => None,
    };
    let outcome = convert::outcome(done.outcome());
    let result = KeyResult { counter, ..KeyResult::read(key, done.home, outcome, checked) };
    (tried(&done.attempts), SmallVec::from_iter([result]))
}

async fn many(client: &Client, keys: Vec<Key>) -> Ends {
    let done = client.multi_get(&keys).await;
    let results = keys.into_iter().zip(done.keys).map(|(key, end)| {
        let checked = match &end.result {
            Ok(Some(value)) => Some(values::verify(key.as_bytes(), value)),
            _ => None,
        };
        KeyResult::read(key, end.home, convert::outcome(end.outcome()), checked)
    });
    (tried(&done.attempts), results.collect())
}

fn tried(attempts: &memcache_client::Attempts) -> SmallVec<[Tried; 2]> {
    attempts.iter().map(|a| Tried { server: a.server, outcome: convert::outcome(a.outcome) }).collect()
}
