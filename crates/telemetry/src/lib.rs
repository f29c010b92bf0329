//! How a binary of this project speaks to its surroundings: arguments, logs, results, signals, and a read-only HTTP server for metrics and
//! streams. Declares no metric of the product.

pub mod arguments;
pub mod http;
mod listen;
pub mod logging;
pub mod metrics;
pub mod output;
pub mod shutdown;
pub mod terminal;

pub use listen::{BadListenAddr, ListenAddr};
