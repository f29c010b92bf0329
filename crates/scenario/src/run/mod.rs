//! One run of one scenario: its phases, its faults, what watches it, and what it leaves on disk.

mod canary;
mod dose;
mod environment;
mod faults;
mod folder;
mod follow;
mod hold;
pub mod observe;
mod onlooker;
mod plan;
mod proxies;
mod recorder;
mod rungs;
mod runner;
mod stable;
pub mod status;

pub use environment::{Ahead, Endings, Environment, Forecast, RunError, RunOutcome};
pub use folder::{folder, is_folder};
pub use onlooker::Onlooker;
pub use plan::preflight;
pub use runner::run;
pub use stable::{Stability, UntilStable};
pub use status::Status;
