//! The client under test as the load sees it: a [`Target`]. One implementation is one folder, and its arms in [`AnyTarget`].
//!
//! Every target knows keys, values and how its ops end. Attempts, pools and breakers are told by a target that has them.

mod ours;

pub use ours::{KEY_MAX, Key, KeyError, Ours};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use observation::{BreakerState, ClientInfo, LoadSettings, Outcome, PoolTick, Server, Settings};
use prometheus::Registry;
use smallvec::SmallVec;

use crate::mix::OpKind;

/// A client under test. Clones share everything.
pub trait Target: Clone + fmt::Debug + Send + Sync + 'static {
    /// What it says of itself.
    fn greeting(&self) -> Greeting;

    /// Its settings, beside those of the load that it is put under.
    fn settings(&self, load: LoadSettings) -> Settings;

    /// Tells `observer` from now on. Called once at most, before the first op.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// Exports metrics of its own, if it has any.
    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error>;

    /// Waits until every server answers, or until `patience` is over and at least one does.
    fn ready(&self, patience: Duration) -> impl Future<Output = Result<(), NoServer>> + Send;

    /// Runs one op. The future may be dropped.
    fn execute(&self, op: Op) -> impl Future<Output = Done> + Send;

    /// Reads several keys at once. The future may be dropped.
    fn multi_get(&self, keys: &[Key]) -> impl Future<Output = MultiDone> + Send;

    /// The servers as they are now, in the order of the greeting.
    fn stats(&self) -> Vec<ServerStats>;

    /// Lets running ops end, and takes no more.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What a target says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Greeting {
    /// Name and version.
    pub client: ClientInfo,
    /// Where keys live, at least one. A target that knows of no servers is a single one itself.
    pub servers: Vec<Server>,
    /// What it can do; other ops are left out of the mix.
    pub ops: Vec<OpKind>,
    /// Is a set or delete a success only when a server has answered so?
    pub acknowledges: bool,
}

/// One op on one key. `ttl`: `None` is for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read.
    Get(Key),
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
    /// Count up; a counter that does not exist is made, with the value 0.
    Incr {
        /// Which key.
        key: Key,
        /// By how much.
        by: u64,
    },
    /// Renew the time to live.
    Touch {
        /// Which key.
        key: Key,
        /// How long it lives from now on.
        ttl: Option<Duration>,
    },
}

/// How an op on one key ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its end.
    pub end: KeyEnd,
    /// What was tried for it.
    pub attempts: Attempts,
}

/// How a multi-get ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiDone {
    /// One end a key, in the order asked.
    pub ends: Vec<KeyEnd>,
    /// What was tried for all of them.
    pub attempts: Attempts,
}

/// How it ended for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEnd {
    /// Index of the key's home server, whoever served it; 0 for a target that knows of no servers.
    pub home: usize,
    /// Its class.
    pub outcome: Outcome,
    /// What came with it.
    pub answer: Answer,
}

/// What an op brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but its class.
    Nothing,
    /// The value that was read.
    Value(Bytes),
    /// The counter's new value.
    Counter(u64),
}

/// Attempts in their order; empty for a target that does not know them.
pub type Attempts = SmallVec<[Attempt; 2]>;

/// One try at one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the server.
    pub server: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// One server as the target sees it. What a target does not know it leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Bytes read since start.
    pub bytes_read: u64,
    /// Bytes written since start.
    pub bytes_written: u64,
    /// Attempts that run now.
    pub in_flight: u64,
    /// Its connections; `None` for a target without pools.
    pub pool: Option<PoolTick>,
    /// Its breaker; `None` for a target without breakers.
    pub breaker: Option<BreakerState>,
}

/// Hears what a target tells while it works. Servers are indices into the greeting.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A breaker changed its state.
    fn breaker(&self, server: usize, from: BreakerState, to: BreakerState, reason: String);

    /// A half-open probe ended.
    fn probe(&self, server: usize, outcome: Outcome, took: Duration);

    /// A dial ended; `error` says why it failed.
    fn dial(&self, server: usize, error: Option<String>, took: Duration);

    /// A connection was closed.
    fn closed(&self, server: usize, reason: &str);
}

/// No server answered in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "no server answered within {waited:?}: {reasons}; start them with `scenariod --lab` or `docker compose up -d`"
)]
pub struct NoServer {
    waited: Duration,
    reasons: String,
}

/// One of the implementations, chosen when a program starts. An op finds its own by one comparison.
#[derive(Debug, Clone)]
pub enum AnyTarget {
    /// Our own client.
    Ours(Ours),
}

impl From<Ours> for AnyTarget {
    fn from(ours: Ours) -> Self {
        AnyTarget::Ours(ours)
    }
}

impl Target for AnyTarget {
    fn greeting(&self) -> Greeting {
        match self {
            AnyTarget::Ours(target) => target.greeting(),
        }
    }

    fn settings(&self, load: LoadSettings) -> Settings {
        match self {
            AnyTarget::Ours(target) => target.settings(load),
        }
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        match self {
            AnyTarget::Ours(target) => target.observe(observer),
        }
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        match self {
            AnyTarget::Ours(target) => target.register(registry),
        }
    }

    async fn ready(&self, patience: Duration) -> Result<(), NoServer> {
        match self {
            AnyTarget::Ours(target) => target.ready(patience).await,
        }
    }

    // Not async: another future around the target's would hold the op once more. With a second target this is an
    // `Either` of both futures.
    fn execute(&self, op: Op) -> impl Future<Output = Done> + Send {
        match self {
            AnyTarget::Ours(target) => target.execute(op),
        }
    }

    fn multi_get(&self, keys: &[Key]) -> impl Future<Output = MultiDone> + Send {
        match self {
            AnyTarget::Ours(target) => target.multi_get(keys),
        }
    }

    fn stats(&self) -> Vec<ServerStats> {
        match self {
            AnyTarget::Ours(target) => target.stats(),
        }
    }

    async fn close(&self) {
        match self {
            AnyTarget::Ours(target) => target.close().await,
        }
    }
}

impl Op {
    /// Its key.
    pub fn key(&self) -> &Key {
        match self {
            Op::Get(key) | Op::Delete(key) => key,
            Op::Set { key, .. } | Op::Add { key, .. } | Op::Incr { key, .. } | Op::Touch { key, .. } => key,
        }
    }

    /// What it does.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Get(_) => OpKind::Get,
            Op::Set { .. } => OpKind::Set,
            Op::Add { .. } => OpKind::Add,
            Op::Delete(_) => OpKind::Delete,
            Op::Incr { .. } => OpKind::Incr,
            Op::Touch { .. } => OpKind::Touch,
        }
    }
}
