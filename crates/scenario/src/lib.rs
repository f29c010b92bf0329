//! Scenarios: what they are, how their faults are applied and always taken away, and how a run is recorded.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`mod@file`] | scenario files, and those that come with the tool |
//! | [`faults`] | the kinds of faults, one file each |
//! | [`backends`] | what applies faults, one module each, behind one trait |
//! | [`removal`] | how faults are taken away, whatever happens to their owner |
//! | [`mod@run`] | one run: phases, faults, witnesses, journal |
//! | [`stop`] | the rules that end a run before its time |
//! | [`metrics`] | what is exported of all that |

pub mod backends;
pub mod faults;
pub mod file;
pub mod metrics;
pub mod removal;
pub mod run;
pub mod stop;

pub use faults::FaultSpec;
pub use file::{ModelError, Phases, Scenario, Target, catalogue};
pub use removal::{janitor, reap};
pub use run::{
    Ahead, Endings, Environment, Forecast, Onlooker, RunError, RunOutcome, Stability, Status, UntilStable,
    folder, is_folder, observe, preflight, run, status,
};
pub use stop::{StopRule, StopRuleError};
