//! One op as the flight ring and the op log keep it.

use observation::{OpLine, Outcome};

use crate::mix::OpKind;

/// One op that has ended (of a multi-get: one key). Times are those of the stream's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpTrace {
    /// What it did.
    pub kind: OpKind,
    /// How it ended.
    pub outcome: Outcome,
    /// Number of its key, or of its counter.
    pub key: u64,
    /// Index of the key's home server.
    pub home: u32,
    /// Index of the server that was asked last. Not in the op log.
    pub server: Option<u32>,
    /// The version that was written or read; an incr's answer.
    pub version: Option<u64>,
    /// When it should have begun.
    pub intended_us: u64,
    /// How much later it did.
    pub lag_us: u64,
    /// From the intended start to the end.
    pub latency_us: u64,
}

impl OpTrace {
    /// For people and programs.
    pub fn line(&self, servers: &[String]) -> OpLine {
        let name = |index: u32| servers.get(index as usize).cloned();
        OpLine {
            op: self.kind.name().to_owned(),
            key: self.key,
            home: name(self.home).unwrap_or_else(|| self.home.to_string()),
            server: self.server.and_then(name),
            version: self.version,
            intended_us: self.intended_us,
            started_us: self.intended_us + self.lag_us,
            ended_us: self.intended_us + self.latency_us,
            outcome: self.outcome,
        }
    }
}
