//! Load through the memcache client: which ops on which keys, when they start, whether their replies are right, and
//! what became of them.
//!
//! [`Load::start`] runs the drivers (`driver`), all of the same loop; `arrivals`, `mix`, `keys`, `sizes`,
//! `ttl` and `values` say what they do; [`recorder`] counts; every 100 ms the counts go into the observation stream and the metrics.

pub mod arrivals;
mod check;
mod control;
mod convert;
mod driver;
mod events;
mod flight;
mod host;
pub mod keys;
mod load;
pub mod look_aside;
pub mod metrics;
pub mod mix;
mod op;
pub mod op_log;
mod open_loop;
pub mod oracles;
mod prefill;
mod ready;
pub mod recorder;
mod recording;
mod shard;
pub mod sizes;
mod summary;
pub mod trace;
pub mod ttl;
pub mod values;

pub use alarm::Alarm;
pub use arrivals::{ArrivalKind, Arrivals, Profile, Rate, RateError};
pub use check::{GeneratorCheck, check_generator};
pub use control::{ControlError, LoadControl};
pub use convert::hello;
pub use keys::{KeyDist, KeySize};
pub use load::{Load, LoadConfig, LoadError, Prepared};
pub use mix::Mix;
pub use open_loop::OpenLoop;
pub use prefill::Prefilled;
pub use ready::{NoServer, wait_for_servers};
pub use shard::Shard;
pub use sizes::ValueSize;
pub use summary::Summary;
pub use ttl::Jitter;
