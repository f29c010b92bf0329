//! The queue and the counters.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::snapshot::{Snapshot, Waits, waits};
use crate::{Order, Queue, Service};

/// Queries that wait at most, when the queue has no limit of its own: some 150 MB.
pub const QUEUE_MAX: usize = 1 << 20;

/// One query.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) asked: Instant,
    /// The caller waits until then.
    pub(crate) deadline: Instant,
    pub(crate) done: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(crate) struct Jobs {
    config: Queue,
    service: Service,
    rng: ChaCha8Rng,
    queue: VecDeque<Job>,
    counts: Snapshot,
    waits: Waits,
}

impl Jobs {
    pub(crate) fn new(config: Queue, service: Service, rng: ChaCha8Rng) -> Self {
        let queue = VecDeque::new();
        Self { config, service, rng, queue, counts: Snapshot::default(), waits: waits() }
    }

    /// False: refused.
    pub(crate) fn push(&mut self, job: Job) -> bool {
        self.counts.demanded += 1;
        if self.queue.len() >= self.config.limit.unwrap_or(QUEUE_MAX).min(QUEUE_MAX) {
            self.counts.refused += 1;
            self.counts.overflowed += u64::from(self.config.limit.is_none());
            // Its sender is dropped: the one who waits hears it.
            if self.config.order == Order::Fifo || self.queue.pop_front().is_none() {
                return false;
            }
        }
        self.queue.push_back(job);
        self.counts.queued_max = self.counts.queued_max.max(self.queue.len());
        true
    }

    /// Whose turn it is, and how long it will take at full speed.
    pub(crate) fn take(&mut self, free_at: Instant) -> Option<(Job, Duration)> {
        loop {
            let job = match self.config.order {
                Order::Fifo => self.queue.pop_front()?,
                Order::Lifo => self.queue.pop_back()?,
            };
            let begin = free_at.max(job.asked);
            if self.config.drop_expired && job.deadline <= begin {
                self.counts.expired += 1;
                continue;
            }
            self.counts.in_service += 1;
            let wait = begin - job.asked;
            self.waits.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1));
            return Some((job, self.service.draw(&mut self.rng)));
        }
    }

    /// Served, at `at`.
    pub(crate) fn finish(&mut self, job: Job, at: Instant) {
        self.counts.in_service -= 1;
        self.counts.served += 1;
        self.counts.in_vain += u64::from(job.deadline < at);
        // An error: nobody waits any more.
        let _ = job.done.send(());
    }

    pub(crate) fn clear(&mut self) -> usize {
        let cleared = std::mem::take(&mut self.queue).len();
        self.counts.cleared += cleared as u64;
        cleared
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let oldest = self.queue.front().map_or(Duration::ZERO, |job| now - job.asked);
        Snapshot { queued: self.queue.len(), oldest, ..self.counts }
    }

    pub(crate) fn take_waits(&mut self) -> Waits {
        std::mem::replace(&mut self.waits, waits())
    }
}
