//! Experiments on metastable failure: a load through a cache to a database, something that brings it down for a moment,
//! and the question whether it comes back. What a cell says is judged elsewhere, from its journal.

mod cell;
mod down;
mod memory;
mod plan;
mod sweep;

pub use cell::{CellError, Course, How, Ran, run};
pub use memory::Watched;
pub use plan::{Cell, Expect, Phases, Plan, PlanError, Trigger, all, select};
pub use sweep::sweep_takes;
