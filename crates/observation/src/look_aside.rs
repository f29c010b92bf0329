//! What a load says that reads a cache before a database: its requests, and the database behind them.

use serde::{Deserialize, Serialize};

use crate::Histogram;

/// Requests of a look-aside load that ended since the previous record, and the database at its end; sent with each tick.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LookAside {
    /// End of the interval.
    pub at_us: u64,
    /// Length of the interval.
    pub period_us: u64,
    /// Requests that the schedule asked for.
    pub offered: u64,
    /// Requests that the cache answered.
    pub hits: u64,
    /// Requests that the database answered in time.
    pub loaded: u64,
    /// Requests that failed because the database did not answer in time.
    pub timed_out: u64,
    /// Requests that failed because the database refused.
    pub refused: u64,
    /// Requests that failed because a limit or a breaker before the database refused.
    pub shed: u64,
    /// Latency of the requests that ended, from the intended start, failed ones too.
    pub latency: Histogram,
    /// The database.
    pub database: DatabaseTick,
}

impl LookAside {
    /// Requests that got what they asked for.
    pub fn good(&self) -> u64 {
        self.hits + self.loaded
    }

    /// All that ended.
    pub fn ended(&self) -> u64 {
        self.good() + self.timed_out + self.refused + self.shed
    }
}

/// A database since the previous record, and as it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DatabaseTick {
    /// Queries that it was asked, the refused ones included.
    pub demanded: u64,
    /// Queries that it refused because its queue was full.
    pub refused: u64,
    /// Queries that it served.
    pub served: u64,
    /// Of `served`: nobody waited any more.
    pub in_vain: u64,
    /// Queries that it threw away because nobody waited any more.
    pub expired: u64,
    /// Queries that are queued now.
    pub queued: u64,
    /// Queries that are being served now.
    pub in_service: u64,
    /// How long the oldest queued query has waited.
    pub oldest_us: u64,
    /// Its capacity now, as a share (0-1) of its normal one.
    pub capacity: f64,
}

/// Memory of a process or a container that is watched, several times a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// When.
    pub at_us: u64,
    /// Which.
    pub name: String,
    /// Bytes that are resident, or charged to the container.
    pub bytes: u64,
}
