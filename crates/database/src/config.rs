//! What a database is like.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Most workers.
const WORKERS_MAX: usize = 1024;
/// Longest mean service time.
const SERVICE_MAX: Duration = Duration::from_secs(60);

/// What a database is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Queries that are served at once, 1 to 1024.
    pub workers: usize,
    /// How long each takes.
    pub service: Service,
    /// Where the others wait.
    pub queue: Queue,
    /// The same seed draws the same service times.
    pub seed: u64,
}

impl Default for Config {
    /// 5 workers of 20 ms: 250 queries a second.
    fn default() -> Self {
        let service = Service::Exponential(Duration::from_millis(20));
        Self { workers: 5, service, queue: Queue::default(), seed: 1 }
    }
}

impl Config {
    /// Queries per second that it can serve.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 / self.service.mean().as_secs_f64()
    }

    /// Checks what a user may have mistyped.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return Err(ConfigError::Workers(self.workers));
        }
        let mean = self.service.mean();
        if mean.is_zero() || mean > SERVICE_MAX {
            return Err(ConfigError::Service(mean));
        }
        Ok(())
    }
}

/// How long a query takes a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Always the same.
    Constant(Duration),
    /// Exponentially distributed with this mean.
    Exponential(Duration),
}

impl Service {
    /// The mean.
    pub fn mean(self) -> Duration {
        match self {
            Service::Constant(mean) | Service::Exponential(mean) => mean,
        }
    }

    pub(crate) fn draw(self, rng: &mut ChaCha8Rng) -> Duration {
        match self {
            Service::Constant(time) => time,
            // 1 - u lies in (0, 1]: its logarithm is finite.
            Service::Exponential(mean) => mean.mul_f64(-(1.0 - rng.random::<f64>()).ln()),
        }
    }
}

/// Where queries wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Queries that may wait; what comes beyond is refused. `None`: as many as [`crate::QUEUE_MAX`].
    pub limit: Option<usize>,
    /// Whose turn it is.
    pub order: Order,
    /// Queries whose caller has given up are thrown away when their turn comes, instead of being served.
    pub drop_expired: bool,
}

/// Which query is served next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The one that has waited longest.
    #[default]
    Fifo,
    /// The one that came last. When the queue is full the oldest is refused.
    Lifo,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Too few or too many.
    #[error("a database has 1 to {WORKERS_MAX} workers, not {0}")]
    Workers(usize),
    /// Nothing or too long.
    #[error("a database's service time is above 0 and at most {SERVICE_MAX:?}, not {0:?}")]
    Service(Duration),
    /// Not a share.
    #[error("a database's capacity is 0, or a share of its normal one from 0.000001 to 1, not {0}")]
    Capacity(f64),
}
