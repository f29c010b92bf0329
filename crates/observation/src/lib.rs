//! The records that pass between a load generator and the judge, and the two forms they travel in:
//! an NDJSON stream ([`hub`], [`ndjson`]) and an append-only journal file ([`journal`]).
//!
//! This crate is the only place where run records are serializable. A source of observations (any memcache
//! client, in any language) emits [`Hello`], [`Tick`], [`Event`] and, if it can, [`Host`] and [`LookAside`]; the scenario runner adds [`Run`],
//! [`Phase`], [`Fault`], [`Canary`], [`Dose`], [`Memory`], [`Note`], [`Gap`] and [`End`].
//!
//! Rules: unknown fields and unknown record types are ignored by readers (`docs/observation-stream.md`); times are microseconds of a
//! monotonic clock with an arbitrary origin (`at_us`); durations carry their unit in the name.

mod belief;
mod client;
pub mod clock;
pub mod continuity;
pub mod effect;
mod event;
mod fault_kind;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gap;
mod host;
pub mod hub;
pub mod journal;
pub mod json;
mod known_text;
mod look_aside;
pub mod metastable;
pub mod ndjson;
mod note;
mod ops;
mod outcome;
mod run;
#[cfg(feature = "schema")]
pub mod schema;
mod wire_driver;

pub use client::{
    Arrivals, BreakerSettings, BreakerState, ClientInfo, DataSettings, Hello, Histogram, LoadKind,
    LoadSettings, OnOpen, PoolTick, RatioRule, RoutingSettings, Server, ServerTick, Settings, ShardSettings,
    SlowRule, Tick,
};
pub use event::{Event, EventKind, IntegrityKind};
pub use fault_kind::FaultKind;
pub use gap::{Gap, GapReason};
pub use host::{Host, Stall};
pub use look_aside::{DatabaseTick, LookAside, Memory};
pub use note::{Note, NoteCode};
pub use ops::{FlightHead, OpLine, OpLogHead};
pub use outcome::{Counts, Outcome};
pub use run::{Canary, Dose, End, EndStatus, Fault, FaultState, Phase, PhaseKind, Run, RunPhases};
pub use wire_driver::WireDriver;

use serde::{Deserialize, Serialize};

/// Version of the record schema, carried by [`Hello`] and [`Run`].
pub const SCHEMA_VERSION: u32 = 1;

/// One record of the stream or the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First line of a stream: who is speaking, and every setting that an expectation depends on.
    Hello(Box<Hello>),
    /// What happened in the last 100 ms, per server.
    Tick(Tick),
    /// Something that has a moment of its own.
    Event(Event),
    /// The machine under the load generator, once a second.
    Host(Host),
    /// Requests through a cache to a database, with each tick of such a load.
    LookAside(LookAside),
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
    /// Memory of a process or a container that is watched.
    Memory(Memory),
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

impl Record {
    /// The version that it claims, if that is later than [`SCHEMA_VERSION`].
    pub fn later_version(&self) -> Option<u32> {
        let claimed = match self {
            Record::Hello(hello) => hello.v,
            Record::Run(run) => run.v,
            _ => return None,
        };
        (claimed > SCHEMA_VERSION).then_some(claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_version_is_unknown_and_a_host_with_gaps_is_one() {
        let read = |text: &str| serde_json::from_str::<Record>(text).unwrap();
        assert_eq!(read(r#"{"type":"of_tomorrow","at_us":1}"#), Record::Unknown);
        let stall = Some(Stall { some_us: 3, full_us: 0 });
        let host = Host { at_us: 7, io: stall, ..Host::default() };
        assert_eq!(
            read(r#"{"type":"host","at_us":7,"io":{"some_us":3},"of_tomorrow":1}"#),
            Record::Host(host.clone())
        );
        let text = serde_json::to_string(&Record::Host(host)).unwrap();
        assert!(!text.contains("null") && !text.contains("steal"), "{text}");
    }
}
