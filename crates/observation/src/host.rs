//! The machine under the load generator, once a second: was it the limit?

use serde::{Deserialize, Serialize};

/// What the machine did since the record before. What it does not tell is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Host {
    /// End of the interval.
    pub at_us: u64,
    /// Its length, about 1 000 000.
    pub period_us: u64,
    /// Waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Stall>,
    /// Waiting for a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Stall>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Stall>,
    /// Processor time of the generator itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_cpu_us: Option<u64>,
    /// Processor time of all programs, over all processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_us: Option<u64>,
    /// Processors that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Processor time that a hypervisor took from this machine, over all processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal_us: Option<u64>,
    /// Time in which this machine was suspended; no other time of the stream counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_us: Option<u64>,
    /// TCP segments that this machine sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_retransmits: Option<u64>,
    /// Connections that a full backlog of this machine refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_overflows: Option<u64>,
}

/// Time in which work of the machine was held up by one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Stall {
    /// At least one task waited.
    pub some_us: u64,
    /// All waited.
    pub full_us: u64,
}
