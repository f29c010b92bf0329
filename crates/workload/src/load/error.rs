//! Why a load cannot start.

use std::path::PathBuf;

use crate::load::config::{IN_FLIGHT_MEMORY_MAX, KEYS_MEMORY_MAX};
use crate::mix::{NothingLeft, PRESETS};
use crate::target::KeyError;
use crate::ttl::TtlError;

/// Why a load cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such mix.
    #[error("there is no workload {0:?}; there are: {names}", names = preset_names())]
    UnknownWorkload(String),
    /// The client has none of the mix's ops.
    #[error("the mix is {what}; add another op or take another driver than {driver}")]
    NothingLeft {
        /// The mix, and what is missing.
        what: NothingLeft,
        /// The driver.
        driver: String,
    },
    /// There is no key.
    #[error("a load needs at least one key")]
    NoKeys,
    /// A shard would have no key.
    #[error("{keys} keys are too few for {shards} shards")]
    TooFewKeys {
        /// Keys of the whole load.
        keys: usize,
        /// How many shards there are.
        shards: u32,
    },
    /// The keys would take too much memory.
    #[error(
        "{keys} keys would take {mib} MiB of memory (their names, and what was last written to each), and {limit} MiB is \
         the limit: {most} keys at most; --shard parts them between several processes",
        limit = KEYS_MEMORY_MAX >> 20
    )]
    TooManyKeys {
        /// Keys of this process.
        keys: usize,
        /// Memory, MiB.
        mib: u64,
        /// As many as may be.
        most: u64,
    },
    /// Nothing can be in flight, or not in every shard.
    #[error(
        "{ops} ops in flight (--concurrency, --max-in-flight) are too few: a load needs one, and one in each of {shards} shards"
    )]
    NothingInFlight {
        /// How many were asked for.
        ops: usize,
        /// How many shards there are.
        shards: u32,
    },
    /// The ops in flight would take too much memory.
    #[error(
        "{ops} ops in flight (--concurrency, --max-in-flight), of {op} bytes each with their values, would take too much \
         memory; {limit} MiB is the limit: {most} at most",
        limit = IN_FLIGHT_MEMORY_MAX >> 20
    )]
    TooManyInFlight {
        /// How many, in this process.
        ops: usize,
        /// Bytes of one.
        op: u64,
        /// As many as may be.
        most: u64,
    },
    /// A time to live that memcached would take for something else.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// The op log cannot be written.
    #[error("op log {path}: {error}")]
    OpLog {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The simulated database refused its configuration.
    #[error(transparent)]
    Database(#[from] database::ConfigError),
    /// Its callers' policy makes no sense.
    #[error(transparent)]
    Policy(#[from] ::look_aside::PolicyError),
    /// A key that the client refuses; a bug of this crate.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A metric of that name exists already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn preset_names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}
