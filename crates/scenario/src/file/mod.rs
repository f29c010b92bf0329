//! Scenario files: what is written in them, what it means, and those that come with the tool.

pub mod catalogue;
mod model;
pub(crate) mod written;

pub use model::{FILE_MAX, Fault, ModelError, Phases, Scenario, Target};
