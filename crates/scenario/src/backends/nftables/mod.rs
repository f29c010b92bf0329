//! Packets that are really lost, by the kernel's packet filter (nftables).
//!
//! A random share of the packets between the client and a proxy's listening port is dropped as they arrive, each direction by
//! itself: the client's own connections are hit, their first packets (SYN) and bare acknowledgements included. Both ends must be
//! in one network namespace, because a packet counts as lost only when it is dropped at its receiver (see `table::ruleset`).
//!
//! Each faulted proxy has a table of its own; nothing else of the rule set is touched. A janitor knows of it before it is made.

mod dose;
mod faults;
pub(crate) mod namespace;
mod permission;
pub(crate) mod table;
mod tables;

pub(crate) use faults::{Nftables, sweep_here};
pub use namespace::{CallError, Namespace, Refused};
pub use permission::{arrives_here, permitted};
pub use table::{Counted, Maker, TableName};
pub use tables::{Since, TableError, Tables};
