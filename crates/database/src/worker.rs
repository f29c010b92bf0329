//! One worker. It reckons with the instants that are meant, not with those at which it is woken: tokio's timers
//! count whole milliseconds, and half of one a query would be several per cent of a capacity.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Shared;

/// A worker that was woken later than this has lost the time: a machine that stood still must not be followed by
/// a database of unbounded speed.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Until the database is gone.
pub(crate) async fn work(shared: Arc<Shared>, mut speed: watch::Receiver<f64>) {
    let mut free_at = Instant::now();
    loop {
        match shared.arrived.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        if *speed.borrow_and_update() <= 0.0 {
            if !running(&mut speed).await {
                return;
            }
            free_at = Instant::now();
        }
        free_at = free_at.max(Instant::now().checked_sub(LATE_MAX).unwrap_or(free_at));
        let taken = shared.jobs().take(free_at);
        let Some((job, work)) = taken else { continue };
        match serve(work, free_at.max(job.asked), &mut speed).await {
            Some(end) => free_at = end,
            None => return,
        }
        shared.jobs().finish(job, free_at);
    }
}

/// Works off `work` from `begin` on, at the speeds of then; gives the end. `None`: the database is gone.
async fn serve(mut work: Duration, begin: Instant, speed: &mut watch::Receiver<f64>) -> Option<Instant> {
    let mut at = begin;
    loop {
        let factor = *speed.borrow_and_update();
        if factor <= 0.0 {
            if !running(speed).await {
                return None;
            }
            at = Instant::now();
            continue;
        }
        let end = at + work.div_f64(factor);
        tokio::select! {
            biased;
            changed = speed.changed() => {
                changed.ok()?;
                let now = Instant::now().max(at);
                work = work.saturating_sub((now - at).mul_f64(factor));
                at = now;
            }
            () = tokio::time::sleep_until(end) => return Some(end),
        }
    }
}

/// Waits until the speed is not 0. False: the database is gone.
async fn running(speed: &mut watch::Receiver<f64>) -> bool {
    speed.wait_for(|factor| *factor > 0.0).await.is_ok()
}
