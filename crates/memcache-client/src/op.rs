//! Typed ops and their replies.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::Error;
use crate::key::Key;
use crate::outcome::Outcome;

/// One op on one key. `ttl`: `None` is for ever.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// Read.
    Get(Key),
    /// Read, and take the right to load the value if there is none or it grows old. One caller of all clients wins it.
    Lease {
        /// Which key.
        key: Key,
        /// How long the right lasts.
        lease: Duration,
        /// With less than this left to live, one caller wins the right while the others still get the value.
        refresh: Option<Duration>,
    },
    /// Write if nobody has written since the token was given.
    Cas {
        /// Which key.
        key: Key,
        /// What.
        value: Bytes,
        /// How long it lives.
        ttl: Option<Duration>,
        /// From [`LeaseReply::token`].
        token: u64,
    },
    /// Mark stale: the next [`Op::Lease`] wins the right to load, later ones get the old value for so long.
    Invalidate {
        /// Which key.
        key: Key,
        /// How long the stale value may still be given out.
        stale_for: Duration,
    },
    /// Write.
    Set {
        /// Which key.
        key: Key,
        /// What.
        value: Bytes,
        /// How long it lives.
        ttl: Option<Duration>,
    },
    /// Write unless the key exists.
    Add {
        /// Which key.
        key: Key,
        /// What.
        value: Bytes,
        /// How long it lives.
        ttl: Option<Duration>,
    },
    /// Remove.
    Delete(Key),
    /// Count up.
    Incr {
        /// Which key.
        key: Key,
        /// By how much.
        delta: u64,
        /// The value of a new counter and its time to live; `None`: a missing key is not found.
        initial: Option<(u64, Option<Duration>)>,
    },
    /// Renew the time to live.
    Touch(Key, Option<Duration>),
}

impl Op {
    /// Its key.
    pub fn key(&self) -> &Key {
        match self {
            Op::Get(key) | Op::Delete(key) | Op::Touch(key, _) => key,
            Op::Set { key, .. } | Op::Add { key, .. } | Op::Incr { key, .. } => key,
            Op::Lease { key, .. } | Op::Cas { key, .. } | Op::Invalidate { key, .. } => key,
        }
    }

    /// Its name in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Get(_) => "get",
            Op::Lease { .. } => "lease",
            Op::Cas { .. } => "cas",
            Op::Invalidate { .. } => "invalidate",
            Op::Set { .. } => "set",
            Op::Add { .. } => "add",
            Op::Delete(_) => "delete",
            Op::Incr { .. } => "incr",
            Op::Touch(..) => "touch",
        }
    }

    /// May it be sent again although an earlier attempt may have been applied? Reads and touches may. A repeated
    /// set or delete could undo a newer write that came between, so they are not repeated on their own.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Op::Get(_) | Op::Touch(..))
    }

    /// May another than the home server take it? A counter may not: it would begin anew there and report the
    /// result as if it were the sum. Tokens and leases are the business of the server that gave them.
    pub fn may_fail_over(&self) -> bool {
        !matches!(self, Op::Incr { .. } | Op::Lease { .. } | Op::Cas { .. } | Op::Invalidate { .. })
    }

    /// The same op for a server that is not the key's home: what it writes lives `ttl_max` at most.
    pub(crate) fn with_ttl_max(&self, ttl_max: Duration) -> Op {
        let capped = |ttl: &Option<Duration>| Some(ttl.map_or(ttl_max, |ttl| ttl.min(ttl_max)));
        match self {
            Op::Set { key, value, ttl } => {
                Op::Set { key: key.clone(), value: value.clone(), ttl: capped(ttl) }
            }
            Op::Add { key, value, ttl } => {
                Op::Add { key: key.clone(), value: value.clone(), ttl: capped(ttl) }
            }
            Op::Touch(key, ttl) => Op::Touch(key.clone(), capped(ttl)),
            other => other.clone(),
        }
    }
}

/// What a server answered to an [`Op::Lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseReply {
    /// The value, if there is one.
    pub value: Option<Bytes>,
    /// This caller has the right, and the duty, to load the value and write it with [`Op::Cas`].
    pub won: bool,
    /// The value was invalidated; somebody loads a newer one.
    pub stale: bool,
    /// For [`Op::Cas`].
    pub token: u64,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The value.
    Value(Bytes),
    /// The value or the right to load it, or neither: somebody else loads.
    Lease(LeaseReply),
    /// There is none.
    Miss,
    /// Written.
    Stored,
    /// Not written, by its condition.
    NotStored,
    /// Removed.
    Deleted,
    /// There was nothing to remove, count or touch.
    NotFound,
    /// The counter's new value.
    Counter(u64),
    /// The time to live was renewed.
    Touched,
}

impl Reply {
    /// Its class.
    pub fn outcome(&self) -> Outcome {
        match self {
            Reply::Value(_) | Reply::Lease(LeaseReply { value: Some(_), .. }) => Outcome::Hit,
            Reply::Miss | Reply::Lease(_) => Outcome::Miss,
            Reply::Stored | Reply::Counter(_) | Reply::Touched => Outcome::Stored,
            Reply::NotStored => Outcome::NotStored,
            Reply::Deleted => Outcome::Deleted,
            Reply::NotFound => Outcome::NotFound,
        }
    }
}

/// One try at one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the server.
    pub server: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// The attempts of one op, in order; two fit without an allocation.
pub type Attempts = SmallVec<[Attempt; 2]>;

/// The end of one op.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Index of the key's home server, whoever served it.
    pub home: usize,
    /// What was tried.
    pub attempts: Attempts,
    /// The reply, or why there is none.
    pub result: Result<Reply, Error>,
}

impl Completion {
    /// Its class.
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(reply) => reply.outcome(),
            Err(error) => error.outcome(),
        }
    }
}
