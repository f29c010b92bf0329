//! How much load something stands: which steps to make ([`Gradual`], [`Search`]), what they say ([`knee`], [`usl`]), and the
//! texts that tell it ([`csv`], [`summary`]). Pure: no I/O, no clock. Who makes the load asks a [`Plan`] for the next
//! [`Order`], makes it, and tells it what was [`Measured`].

mod compare;
pub mod csv;
mod explain;
mod gradual;
mod isotonic;
pub mod knee;
mod search;
mod step;
pub mod summary;
pub mod usl;

pub use compare::disagreement;
pub use explain::explain;
pub use gradual::{Critical, Effect, Gradual, GradualParams, GradualReport};
pub use search::{Hysteresis, Overload, Search, SearchParams, SearchReport, Statistic};
pub use step::{Done, Measured, Order, Peak, Phase, Plan, Second, Transition};
