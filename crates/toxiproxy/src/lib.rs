//! Toxiproxy's HTTP API: its types, a client, and a compatible server with its toxics, embedded in a process.
//!
//! The server is a replacement for Shopify's: same statuses, texts, defaults and semantics, and existing clients drive
//! it. What differs on purpose is listed in `docs/toxiproxy-compatibility.md`. It knows nothing of memcache.

mod client;
pub mod server;
pub mod toxic;
mod toxics;
pub mod wire;

pub use client::{CallObserver, Client, ClientError, Version};
pub use toxics::{check_attributes, kinds};
