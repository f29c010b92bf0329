//! The records that pass between a load generator and the judge, and the two forms they travel in:
//! an NDJSON stream ([`hub`], [`ndjson`]) and an append-only journal file ([`journal`]).
//!
//! This crate is the only place where run records are serializable. A source of observations (any memcache
//! client, in any language) emits [`Hello`], [`Tick`] and [`Event`]; the scenario runner adds [`Run`],
//! [`Phase`], [`Fault`], [`Canary`], [`Dose`], [`Note`], [`Gap`] and [`End`].
//!
//! Rules: unknown fields and unknown record types are ignored by readers; times are microseconds of a
//! monotonic clock with an arbitrary origin (`at_us`); durations carry their unit in the name.

mod client;
pub mod clock;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
pub mod journal;
pub mod ndjson;
mod outcome;
mod run;

pub use client::{
    Arrivals, BreakerSettings, BreakerState, ClientInfo, Event, EventKind, Hello, Histogram, IntegrityKind,
    LoadKind, LoadSettings, OnOpen, PoolTick, RatioRule, RoutingSettings, Server, ServerTick, Settings, Tick,
};
pub use outcome::{Counts, Outcome};
pub use run::{Canary, Dose, End, EndStatus, Fault, FaultState, Gap, Note, Phase, PhaseKind, Run, RunPhases};

use serde::{Deserialize, Serialize};

/// Version of the record schema, carried by [`Hello`] and [`Run`].
pub const SCHEMA_VERSION: u32 = 1;

/// One record of the stream or the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First line of a stream: who is speaking, and every setting that an expectation depends on.
    Hello(Box<Hello>),
    /// What happened in the last 100 ms, per server.
    Tick(Tick),
    /// Something that has a moment of its own.
    Event(Event),
    /// First line of a journal written by the scenario runner.
    Run(Box<Run>),
    /// A phase began.
    Phase(Phase),
    /// A fault changed its state.
    Fault(Box<Fault>),
    /// The runner's own probe of one server, past no client code.
    Canary(Canary),
    /// What the proxy says that a fault touched, per bucket.
    Dose(Dose),
    /// Something a reader of the report should know.
    Note(Note),
    /// Observations are missing for an interval.
    Gap(Gap),
    /// Last line of a complete journal.
    End(End),
    /// A type that this version does not know; kept so that a reader can count it.
    #[serde(other)]
    Unknown,
}
