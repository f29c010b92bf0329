//! Locks, counts, waits and tasks whose order decides something: std's and tokio's. Under `--cfg shuttle` they are
//! shuttle's, so that `tests/shuttle.rs` can run them in random orders. Counters that are only read by people stay std's.

#[cfg(shuttle)]
mod shuttled;

#[cfg(shuttle)]
pub(crate) use shuttled::*;
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use tokio::{
    spawn,
    sync::{Semaphore, SemaphorePermit},
    task::AbortHandle,
    time::{sleep_until, timeout, timeout_at},
};
