//! One contestant's window: its workers, what they have done, and the CPU time that this took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cpu;
use crate::keyspace::Mix;

/// What a contestant is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where memcached listens.
    pub addr: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// Ops in flight on each connection, or keys of one batch.
    pub depth: usize,
    /// Which ops.
    pub mix: Mix,
    /// Number of keys.
    pub keys: usize,
    /// Length of a value in bytes.
    pub value_size: usize,
    /// Time before the window.
    pub warmup: Duration,
    /// Time that is measured.
    pub window: Duration,
}

/// What a contestant did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// Ops that ended well in the window; a key of a batch is one op.
    pub ops: u64,
    /// Ops that failed, from the first to the last; such a sample says little.
    pub failed: u64,
    /// Length of the window.
    pub seconds: f64,
    /// CPU time in its own code in the window, µs.
    pub user_us: f64,
    /// CPU time in the kernel in the window, µs.
    pub system_us: f64,
    /// Ops since its beginning, the warm-up included.
    pub ops_overall: u64,
    /// Median and 99th percentile of its latency, µs, if it records any; the warm-up is included.
    pub latency_us: Option<(u64, u64)>,
}

impl Sample {
    /// Ops a second.
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.seconds
    }

    /// User CPU, µs an op.
    pub fn user(&self) -> f64 {
        self.user_us / self.ops.max(1) as f64
    }

    /// System CPU, µs an op.
    pub fn system(&self) -> f64 {
        self.system_us / self.ops.max(1) as f64
    }

    /// All CPU, µs an op.
    pub fn total(&self) -> f64 {
        self.user() + self.system()
    }
}

/// A worker's own counters. Only it writes, so an addition needs no locked instruction.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
}

/// A worker's place: it counts here and hears when to stop.
#[derive(Debug, Clone)]
pub struct Seat {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

impl Seat {
    /// Is there more to do?
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// `n` ops ended well.
    pub fn done(&self, n: usize) {
        add(&self.tally.done, n);
    }

    /// `n` ops failed.
    pub fn failed(&self, n: usize) {
        add(&self.tally.failed, n);
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.store(counter.load(Ordering::Relaxed) + n as u64, Ordering::Relaxed);
}

/// All workers of one contestant.
#[derive(Debug, Default)]
pub struct Crew {
    workers: JoinSet<Result<()>>,
    tallies: Vec<Arc<Tally>>,
    stop: Arc<AtomicBool>,
}

impl Crew {
    /// A place for one more worker.
    pub fn seat(&mut self) -> Seat {
        let tally = Arc::new(Tally::default());
        self.tallies.push(Arc::clone(&tally));
        Seat { tally, stop: Arc::clone(&self.stop) }
    }

    /// Starts a worker.
    pub fn spawn(&mut self, worker: impl Future<Output = Result<()>> + Send + 'static) {
        self.workers.spawn(worker);
    }

    /// Starts a worker on a thread of its own.
    pub fn spawn_thread(&mut self, worker: impl FnOnce() -> Result<()> + Send + 'static) {
        self.workers.spawn_blocking(worker);
    }

    /// Lets everybody work through warm-up and window, then stops them.
    pub async fn measure(mut self, plan: &Plan) -> Result<Sample> {
        self.pass(plan.warmup).await?;
        let (began, before, ops_before) = (Instant::now(), cpu::used()?, self.ops());
        self.pass(plan.window).await?;
        let (seconds, after, ops_after) = (began.elapsed().as_secs_f64(), cpu::used()?, self.ops());
        self.stop.store(true, Ordering::Relaxed);
        Ok(Sample {
            ops: ops_after - ops_before,
            failed: self.tallies.iter().map(|tally| tally.failed.load(Ordering::Relaxed)).sum(),
            seconds,
            user_us: after.user_us - before.user_us,
            system_us: after.system_us - before.system_us,
            ops_overall: ops_after,
            latency_us: None,
        })
    }

    fn ops(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.done.load(Ordering::Relaxed)).sum()
    }

    /// Waits; a worker that ends meanwhile has failed.
    async fn pass(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            ended = self.workers.join_next() => match ended {
                None => bail!("there are no workers"),
                Some(ended) => {
                    ended.context("a worker panicked")??;
                    bail!("a worker ended before its time")
                }
            },
        }
    }
}
