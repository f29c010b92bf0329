//! What the scenario runner adds: the run, its phases, faults, witnesses and end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::FaultKind;

/// First record of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Run {
    /// Schema version, [`crate::SCHEMA_VERSION`].
    pub v: u32,
    /// Name of the run folder, unique on its machine.
    pub run: String,
    /// Scenario name.
    pub scenario: String,
    /// Scenario suite.
    pub suite: String,
    /// One sentence.
    pub description: String,
    /// The scenario as it was read, so that the journal alone can be judged again.
    pub scenario_toml: String,
    /// SHA-256 of `scenario_toml`, written before the first fault.
    pub rules_sha256: String,
    /// Planned phase lengths.
    pub phases: RunPhases,
    /// Wall clock at `at_us` = 0 of the journal, Unix milliseconds.
    pub wall_ms: u64,
    /// Version of the tool that wrote the journal.
    pub tool_version: String,
    /// What applied the faults, for example `toxiproxy 2.12.0 (embedded)`.
    pub backend: String,
    /// No fault is applied, and none is missed: the run shows what the judge says when nothing happens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
}

/// Planned lengths of the three phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunPhases {
    /// Before the fault.
    pub stabilization_ms: u64,
    /// With the fault.
    pub testing_ms: u64,
    /// After the fault.
    pub recovery_ms: u64,
}

/// A phase began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Phase {
    /// When.
    pub at_us: u64,
    /// Which.
    pub phase: PhaseKind,
}

/// Phases; the numbers are those of the gauge `scenario_phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// 0: nothing runs.
    Idle,
    /// 1: baseline, no fault.
    Stabilization,
    /// 2: the fault is on.
    Testing,
    /// 3: the fault is gone.
    Recovery,
}

impl PhaseKind {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Stabilization, Self::Testing, Self::Recovery];

    /// Value of the gauge.
    pub fn gauge(self) -> i64 {
        self as i64
    }

    /// `idle`, `stabilization`, `testing` or `recovery`.
    pub fn name(self) -> &'static str {
        match self {
            PhaseKind::Idle => "idle",
            PhaseKind::Stabilization => "stabilization",
            PhaseKind::Testing => "testing",
            PhaseKind::Recovery => "recovery",
        }
    }
}

/// One state of one fault on one server. A fault begins somewhere between `sent` and `acknowledged` and ends
/// somewhere between `removing` and `lifted`: the intervals are the measurement error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fault {
    /// When this state was entered.
    pub at_us: u64,
    /// The name under which the backend knows it (owner and deadline readable in it).
    pub id: String,
    /// Which state.
    pub state: FaultState,
    /// The proxy or process that it acts on.
    pub target: String,
    /// The faulted server's name in the client's stream; absent when none matches.
    pub server: Option<String>,
    /// What the scenario means: `latency`, `loss`, `stall`, `down`, ...
    #[serde(rename = "meaning")]
    pub kind: FaultKind,
    /// What the backend really gives, in honest words.
    pub given: String,
    /// Numbers of the fault: `latency_ms`, `jitter_ms`, `loss` (0-1), `share` (0-1), `rate_kb_per_s`, ...
    pub params: BTreeMap<String, f64>,
    /// Moment on the run's clock at which the lease ends by itself.
    pub lease_until_us: u64,
    /// Why it failed, for [`FaultState::Failed`].
    pub error: Option<String>,
}

/// Life of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// The call that applies it was sent.
    Sent,
    /// The backend has acknowledged it.
    Acknowledged,
    /// The first call that takes it away was sent.
    Removing,
    /// The backend has acknowledged that it has no effect any more.
    Lifted,
    /// Read back: it is gone.
    Removed,
    /// The backend refused or could not take it away.
    Failed,
}

/// One probe of the runner's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Canary {
    /// When it was sent.
    pub at_us: u64,
    /// Proxy name.
    pub target: String,
    /// Name in the client's stream.
    pub server: Option<String>,
    /// Time to the whole reply; absent when none came in time.
    pub took_us: Option<u64>,
    /// Why there is none.
    pub error: Option<String>,
}

/// What a fault touched within one bucket, as its proxy or the kernel counted it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dose {
    /// End of the bucket.
    pub at_us: u64,
    /// Length of the bucket.
    pub period_us: u64,
    /// Proxy name; where the kernel counts, the fault's id, and its packets are the chunks.
    pub target: String,
    /// Links open at the end.
    pub links: u64,
    /// Links that a toxic touched within the bucket.
    pub links_touched: u64,
    /// Chunks that passed or were held.
    pub chunks: u64,
    /// Chunks that a toxic touched.
    pub chunks_touched: u64,
    /// Bytes that came in.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes that a toxic touched.
    #[serde(default)]
    pub bytes_touched: u64,
}

/// Last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct End {
    /// When.
    pub at_us: u64,
    /// How.
    pub status: EndStatus,
    /// Why, when not completed.
    pub reason: Option<String>,
    /// Were all faults read back as gone?
    pub clean: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    /// All phases ran to their end.
    Completed,
    /// Ended early by a signal or a stop rule.
    Stopped,
    /// Ended early by the infrastructure: proxy or stream lost.
    Failed,
}
