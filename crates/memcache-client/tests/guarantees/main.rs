//! What the client promises, one named test a failure of the catalogue (the ids are those of
//! `docs/client-guarantees.md`), against servers that fail on purpose. Each test prints its figures.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod breaker;
mod gray;
mod integrity;
mod pool;
mod real;
mod reliability;
mod rig;
mod routing;
mod wires;
