//! A simulated database of limited capacity: some workers, a service time, a queue. It holds no data; it only takes
//! time, and what a caller no longer waits for takes time too.
//!
//! It follows tokio's clock and a seed: under paused time the same calls see the same database.

mod config;
mod queue;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::{Config, ConfigError, Order, Queue, Service};
pub use queue::QUEUE_MAX;
pub use snapshot::{Snapshot, Waits};

use queue::{Job, Jobs};

/// Least capacity above none: a query must end within the longest time that there is.
const CAPACITY_MIN: f64 = 1e-6;

/// A running database; its workers end with the last clone of it.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
    speed: Arc<watch::Sender<f64>>,
    _workers: Arc<JoinSet<()>>,
}

/// What callers and workers share.
#[derive(Debug)]
struct Shared {
    jobs: Mutex<Jobs>,
    /// At least one permit a queued job: a worker takes one before it looks for a job.
    arrived: Semaphore,
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The queue was full, or was dropped while the query was in it.
    #[error("the database refused the query: its queue was full, or was dropped")]
    Refused,
    /// The caller's patience ended. The query stays where it is, and takes a worker when its turn comes.
    #[error("the database did not answer in time")]
    TimedOut,
}

impl Database {
    /// Starts the workers. Must be called within a tokio runtime.
    pub fn start(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        let jobs = Mutex::new(Jobs::new(config.queue, config.service, rng));
        let shared = Arc::new(Shared { jobs, arrived: Semaphore::new(0) });
        let speed = watch::Sender::new(1.0);
        let mut workers = JoinSet::new();
        for _ in 0..config.workers {
            workers.spawn(worker::work(Arc::clone(&shared), speed.subscribe()));
        }
        Ok(Self { shared, speed: Arc::new(speed), _workers: Arc::new(workers) })
    }

    /// Asks, and waits for the answer for at most `patience`.
    pub async fn query(&self, patience: Duration) -> Result<(), QueryError> {
        self.submit(patience)?.answer().await
    }

    /// Asks; the answer is waited for with the ticket.
    pub fn submit(&self, patience: Duration) -> Result<Ticket, QueryError> {
        let now = Instant::now();
        let deadline = now + patience;
        let (done, answer) = oneshot::channel();
        let accepted = self.shared.jobs().push(Job { asked: now, deadline, done });
        if !accepted {
            return Err(QueryError::Refused);
        }
        self.shared.arrived.add_permits(1);
        Ok(Ticket { deadline, answer })
    }

    /// Sets how fast the workers are, as a share of their normal speed: 1 is normal, 0 a database that is cut off.
    /// What is being served goes on at the new speed.
    pub fn set_capacity(&self, factor: f64) -> Result<(), ConfigError> {
        if factor != 0.0 && !(CAPACITY_MIN..=1.0).contains(&factor) {
            return Err(ConfigError::Capacity(factor));
        }
        self.speed.send_replace(factor);
        Ok(())
    }

    /// The factor that was set last.
    pub fn capacity(&self) -> f64 {
        *self.speed.borrow()
    }

    /// Throws away what is queued, and says how much it was; those who still wait are refused.
    pub fn drop_queue(&self) -> usize {
        self.shared.jobs().clear()
    }

    /// The counters, and how many queries are where.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.jobs().snapshot(Instant::now())
    }

    /// How long the queries waited whose service began since the last call, µs.
    pub fn take_waits(&self) -> Waits {
        self.shared.jobs().take_waits()
    }
}

/// A query that is queued or being served.
#[derive(Debug)]
pub struct Ticket {
    deadline: Instant,
    answer: oneshot::Receiver<()>,
}

impl Ticket {
    /// Waits for the answer until the caller's patience ends; may be called again for what [`Ticket::late`] says.
    pub async fn answer(&mut self) -> Result<(), QueryError> {
        match tokio::time::timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(QueryError::Refused),
            Err(_) => Err(QueryError::TimedOut),
        }
    }

    /// After [`QueryError::TimedOut`]: waits until the query is served after all. False: it was thrown away.
    pub async fn late(self) -> bool {
        self.answer.await.is_ok()
    }
}
