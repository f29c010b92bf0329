//! The live page: what a run or a load does now, in a browser, from the process itself. Records go in, a stream of server-sent
//! events comes out. It shows; it never judges: a verdict that forms is handed in by who composes it.
//!
//! Memory is bounded by the named limits of `ring` and `feed`, whoever watches. A reader that is slow gets less often more at once,
//! never slows who makes the records, and holds no queue of its own.

mod feed;
mod page;
mod point;
mod reader;
mod ring;
mod routes;
mod state;

pub use feed::{Feed, Origin};
pub use page::Page;
pub use reader::Reader;
pub use routes::routes;

/// Length of a point of the last minutes, µs.
pub const FINE_US: u64 = 200_000;
/// So many of them: two minutes.
pub const FINE_POINTS: usize = 600;
/// Length of a point of the last hour, µs.
pub const COARSE_US: u64 = 1_000_000;
/// So many of them: an hour.
pub const COARSE_POINTS: usize = 3_600;
/// Servers that are shown; of more the rest is counted.
pub const SERVERS_MAX: usize = 12;
