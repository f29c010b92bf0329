//! Seeded simulation of the client, its router, breakers and pools, and of several fake servers, on one thread, with a
//! simulated network and clock. A seed draws the settings, the load and the faults; the same seed is the same run, to
//! the last byte of its trace.
//!
//! ```text
//! seed ─▶ plan ─▶ turmoil: clients ◀─ faults ─▶ servers
//!                     │ results, breakers' transitions
//!                     ▼
//!                  ledger: invariants, hash of the trace
//! ```
//!
//! Checked in every run, see [`Ledger`]:
//! - no value of another key, none that was never written, none of a lie;
//! - every op ends within the total timeout, and none is lost;
//! - counters count no more than was asked, and lose nothing that was acknowledged;
//! - a multi-get answers each key in its place;
//! - at most as many servers are ejected at a time as may be, and breakers take only the ways that they have;
//! - soon after the last fault all breakers are closed, and stay so;
//! - in the end all slots and permits are back;
//! - without faults no op fails, and what was written is read.

mod counters;
mod fault;
mod ledger;
mod network;
mod plan;
mod run;
mod server;
mod trace;
mod value;
mod workload;

pub use fault::{Event, Fault};
pub use ledger::Ledger;
pub use plan::Plan;
pub use run::{Options, Report, run};
