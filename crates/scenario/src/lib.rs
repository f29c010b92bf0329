//! Scenarios: what they are, how their faults are applied and always taken away, and how a run is recorded.

pub mod backend;
mod canary;
pub mod catalogue;
pub mod claim;
mod dose;
mod fault;
mod follow;
pub mod janitor;
pub mod kernel;
pub mod ladder;
mod lease;
pub mod metrics;
pub mod model;
pub mod observe;
mod onlooker;
pub mod owner;
mod plan;
mod process;
pub mod reap;
mod recorder;
pub mod runner;
mod stable;
pub mod status;
pub mod stop;

pub use fault::{Act, Meaning, ToxicPlan};
pub use model::{ModelError, Phases, Scenario, Target};
pub use onlooker::Onlooker;
pub use plan::preflight;
pub use runner::{Ahead, Endings, Environment, Forecast, RunError, RunOutcome, folder, is_folder, run};
pub use stable::{Stability, UntilStable};
pub use status::Status;
pub use stop::{StopRule, StopRuleError};
