//! Why a load cannot start.

use std::path::PathBuf;

use crate::mix::PRESETS;

/// Why a load cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such mix.
    #[error("there is no workload {0:?}; there are: {names}", names = preset_names())]
    UnknownWorkload(String),
    /// All ops of the mix are of a kind that the client's driver does not have.
    #[error(
        "the mix is {mix}, and the client's driver {driver} has no touch; add another op or take another driver"
    )]
    OnlyTouch {
        /// The mix.
        mix: String,
        /// The driver.
        driver: &'static str,
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
    /// The client refused its configuration.
    #[error(transparent)]
    Client(#[from] memcache_client::ConfigError),
    /// A key that the client refuses; a bug of this crate.
    #[error(transparent)]
    Key(#[from] memcache_client::KeyError),
    /// A metric of that name exists already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn preset_names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}
