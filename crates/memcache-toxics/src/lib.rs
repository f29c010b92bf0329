//! Faults that know memcache, as toxics for the embedded server of `toxiproxy`: give [`KINDS`] to its configuration.
//!
//! ```text
//!   client ──▶ [requests: parse, choose, hold or answer] ──▶ server
//!                        │ what replies are due, in order
//!   client ◀── [replies: match, hold, forge or inject]   ◀── server
//! ```
//!
//! A toxic follows both directions of a connection (`parse`, `connection`); which ops it acts on is said by attributes that
//! all faults share (`selector`), and what it does to them is data (`act`, [`faults`](FAULTS)). What it does not understand,
//! such as the binary protocol or TLS, passes untouched, for good. The table of the faults is `docs/memcache-toxics.md`.

mod act;
mod command;
mod connection;
mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod parse;
mod selector;
mod table;

pub use faults::{FAULTS, Fault, Harm, KINDS};
pub use table::table;
