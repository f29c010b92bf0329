//! What a bug remembers. Servers are told apart by their index.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The whole memory of one client's bug.
#[derive(Default)]
pub(super) struct Memory {
    servers: Mutex<Vec<ServerMemory>>,
    values: AtomicU64,
    last_value: Mutex<Bytes>,
    kept: Mutex<Vec<Box<dyn Send>>>,
    shared_places: Mutex<Option<Arc<Semaphore>>>,
}

/// What is remembered of one server.
#[derive(Default, Clone)]
pub(super) struct ServerMemory {
    pub(super) lost_a_connection: bool,
    /// When its breaker closed.
    pub(super) closed_at: Option<Instant>,
    /// When its first probe succeeded since then.
    pub(super) back_at: Option<Instant>,
}

impl Memory {
    pub(super) fn server<T>(&self, index: usize, with: impl FnOnce(&mut ServerMemory) -> T) -> T {
        let mut servers = lock(&self.servers);
        if servers.len() <= index {
            servers.resize(index + 1, ServerMemory::default());
        }
        with(&mut servers[index])
    }

    /// Remembers a value that was read: its number from 1, and the one before it.
    pub(super) fn value(&self, value: &Bytes) -> (u64, Bytes) {
        let n = self.values.fetch_add(1, Ordering::Relaxed) + 1;
        (n, std::mem::replace(&mut *lock(&self.last_value), value.clone()))
    }

    /// Keeps something that nobody will use.
    pub(super) fn keep(&self, thing: impl Send + 'static) {
        lock(&self.kept).push(Box::new(thing));
    }

    /// The `max` places that all servers share.
    pub(super) fn shared_places(&self, max: usize) -> Arc<Semaphore> {
        Arc::clone(lock(&self.shared_places).get_or_insert_with(|| Arc::new(Semaphore::new(max))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
