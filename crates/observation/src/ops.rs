//! Single ops, where they are kept: the flight record of the last ones before a violation, and the head of an op log.

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// First line of a flight record: why it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlightHead {
    /// The process start that it belongs to, as in [`crate::Hello::instance`].
    pub instance: String,
    /// Moment of the finding on the stream's clock.
    pub at_us: u64,
    /// Unix time of the finding.
    pub wall_ms: u64,
    /// What was found: a kind of wrong value, `stale_read` or `resurrected`.
    pub found: String,
    /// The key.
    pub key: String,
    /// What a right reply would have carried.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// One op; times are those of the stream's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpLine {
    /// What it did.
    pub op: String,
    /// Number of its key, or of its counter.
    pub key: u64,
    /// Name of the key's home server.
    pub home: String,
    /// Name of the server that was asked last; absent: not known, or none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The version that was written or read; an incr's answer. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When it should have begun.
    pub intended_us: u64,
    /// When it did.
    pub started_us: u64,
    /// When its end was known.
    pub ended_us: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// First line of an op log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpLogHead {
    /// Always [`OpLogHead::FORMAT`].
    pub format: String,
    /// Version of what follows, [`OpLogHead::VERSION`].
    pub v: u32,
    /// The process start that it belongs to, as in [`crate::Hello::instance`].
    pub instance: String,
    /// Unix time at 0 of the clock.
    pub wall_ms: u64,
    /// Seed of the load.
    pub seed: u64,
    /// Names of the servers; ops carry their positions.
    pub servers: Vec<String>,
    /// Names of the kinds of ops; ops carry their positions.
    pub ops: Vec<String>,
    /// The classes of ends; ops carry their positions.
    pub outcomes: Vec<Outcome>,
}

impl OpLogHead {
    /// Name of the format.
    pub const FORMAT: &str = "loadgen-op-log";
    /// Version that this crate describes.
    pub const VERSION: u32 = 1;
}
