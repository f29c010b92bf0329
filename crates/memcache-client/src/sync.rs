//! Locks, counts, waits and tasks whose order decides something: std's and tokio's. With the feature `shuttle` they are
//! shuttle's, so that `tests/shuttle.rs` can run them in random orders. Counters that are only read by people stay std's.

#[cfg(feature = "shuttle")]
mod shuttled;

#[cfg(feature = "shuttle")]
pub(crate) use shuttled::*;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(feature = "shuttle"))]
pub(crate) use tokio::{
    spawn,
    sync::{Semaphore, SemaphorePermit},
    task::AbortHandle,
    time::{sleep_until, timeout, timeout_at},
};
