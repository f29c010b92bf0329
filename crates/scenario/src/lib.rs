//! Scenarios: what they are, how their faults are applied and always taken away, and how a run is recorded.

pub mod backend;
mod canary;
pub mod catalogue;
pub mod claim;
mod dose;
mod fault;
pub mod janitor;
pub mod kernel;
pub mod ladder;
mod lease;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod owner;
mod plan;
mod process;
pub mod reap;
mod recorder;
pub mod runner;
pub mod status;

pub use fault::{Act, Meaning, ToxicPlan};
pub use model::{ModelError, Phases, Scenario, Target};
pub use plan::preflight;
pub use runner::{Environment, RunError, RunOutcome, run};
pub use status::Status;
