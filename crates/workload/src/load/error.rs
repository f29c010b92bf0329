//! Why a load cannot start.

use std::path::PathBuf;

use crate::mix::{NothingLeft, PRESETS};
use crate::target::KeyError;

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
    /// A shard would have no key.
    #[error("{keys} keys are too few for {shards} shards")]
    TooFewKeys {
        /// Keys of the whole load.
        keys: usize,
        /// How many shards there are.
        shards: u32,
    },
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
