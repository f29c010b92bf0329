//! Load through a memcache client: which ops on which keys, when they start, whether their replies are right, and what
//! became of them.
//!
//! [`Load::start`] puts a client under test ([`target`]) under load. Each driver runs the same loop (`driver`); `arrivals`
//! say when an op starts, `planner` which one, by `mix`, `keys`, `sizes`, `ttl` and `values`; `recording` says what becomes
//! of it; [`recorder`] counts; every 100 ms the counts go into the observation stream and the metrics.

pub mod arrivals;
mod check;
mod control;
mod deaths;
mod driver;
mod events;
#[cfg(test)]
mod fixture;
mod flight;
mod host;
mod intervals;
pub mod keys;
mod limit;
mod load;
pub mod look_aside;
pub mod metrics;
pub mod mix;
mod op;
pub mod op_log;
mod open_loop;
pub mod oracles;
mod planner;
mod prefill;
pub mod recorder;
mod recording;
mod shard;
mod shared;
pub mod sizes;
mod summary;
pub mod target;
pub mod trace;
pub mod ttl;
pub mod values;

pub use alarm::Alarm;
pub use arrivals::{ArrivalKind, Arrivals, Profile, Rate, RateError};
pub use check::{GeneratorCheck, check_generator};
pub use control::{ControlError, LoadControl};
pub use deaths::Died;
pub use keys::{KeyDist, KeySize};
pub use load::{Load, LoadConfig, LoadError, Prepared, hello};
pub use mix::Mix;
pub use open_loop::OpenLoop;
pub use prefill::Prefilled;
pub use shard::Shard;
pub use sizes::ValueSize;
pub use summary::Summary;
pub use target::{AnyTarget, Ours, Target};
pub use ttl::Jitter;
