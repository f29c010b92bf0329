//! The same names over shuttle. Time does not pass there: a wait ends, or a limit strikes, at a random moment.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) use shuttle::future::{AbortHandle, spawn};
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};

use shuttle::future::batch_semaphore::{AcquireError, BatchSemaphore, Fairness, TryAcquireError};
use shuttle::rand::{Rng, thread_rng};
use tokio::time::Instant;

/// Of so many looks at something that is not ready, one is too late.
const PATIENCE: u32 = 16;

/// A limit has struck.
#[derive(Debug)]
pub(crate) struct Elapsed;

pub(crate) async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if thread_rng().gen_ratio(1, PATIENCE) => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

pub(crate) async fn timeout_at<F: Future>(_: Instant, future: F) -> Result<F::Output, Elapsed> {
    timeout(Duration::ZERO, future).await
}

pub(crate) async fn sleep_until(_: Instant) {
    // Never ready: the limit strikes.
    let _ = timeout(Duration::ZERO, std::future::pending::<()>()).await;
}

/// tokio's semaphore, as far as it is used: fair, safe to cancel.
pub(crate) struct Semaphore(BatchSemaphore);

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Semaphore(..)")
    }
}

#[derive(Debug)]
pub(crate) struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(BatchSemaphore::new(permits, Fairness::StrictlyFair))
    }

    pub(crate) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.0.try_acquire(1)?;
        Ok(SemaphorePermit { semaphore: self, count: 1 })
    }

    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1).await
    }

    pub(crate) async fn acquire_many(&self, count: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        let count = count as usize;
        self.0.acquire(count).await?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    pub(crate) fn available_permits(&self) -> usize {
        self.0.available_permits()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.semaphore.0.release(self.count);
    }
}
