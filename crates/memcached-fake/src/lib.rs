//! A small memcached for labs and tests without the real one, and a launcher for the real one.
//!
//! Spoken: the text commands `get gets set add replace append prepend delete incr decr touch flush_all version verbosity
//! quit`, and the meta commands `mg ms md ma mn`. Not kept: eviction (the byte limit refuses instead), statistics, CAS
//! of the text commands. It can also [lie](lies).

mod command;
pub mod lies;
mod meta;
pub mod real;
mod server;
mod store;
mod text;

pub use server::{Engine, FakeMemcached};
