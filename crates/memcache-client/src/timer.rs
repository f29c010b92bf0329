//! Deadlines of many ops, one after the other, with one timer: most ops end long before theirs, so the timer of an
//! earlier op is kept, and moved only when it rings.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::sync::sleep_until;

/// Rings at no time before it is polled.
#[derive(Default)]
pub(crate) struct Timer {
    /// When it will ring, and what rings.
    armed: Option<(Instant, Sleep)>,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Timer {
    /// Ready once `deadline` is over. It may wake a task that polled it before, in vain.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let (at, sleep) = match &mut self.armed {
                Some((at, sleep)) if *at <= deadline => (*at, sleep),
                armed => {
                    let (at, sleep) = armed.insert((deadline, Box::pin(sleep_until(deadline))));
                    (*at, sleep)
                }
            };
            ready!(sleep.as_mut().poll(cx));
            self.armed = None;
            if at == deadline {
                return Poll::Ready(());
            }
        }
    }

    /// The output of `future`; `None`: it has none at `deadline`.
    pub(crate) async fn limit<F: Future>(
        &mut self,
        deadline: Instant,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(cx, deadline).map(|()| None),
        })
        .await
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_deadline_is_kept_to_the_millisecond_whatever_was_armed_before() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        for ms in [50, 60, 40, 40, 1_000, 0, 7] {
            let begin = Instant::now();
            assert_eq!(timer.limit(begin + Duration::from_millis(3_000), pin!(ready(ms))).await, Some(ms));
            // Armed, and left for later or for never.
            let never = pin!(pending::<()>());
            let soon = timer.limit(begin + Duration::from_millis(30), never);
            assert!(tokio::time::timeout(Duration::from_millis(5), soon).await.is_err());
            let deadline = Instant::now() + Duration::from_millis(ms);
            assert_eq!(timer.limit(deadline, pin!(pending::<()>())).await, None);
            assert_eq!(Instant::now(), deadline, "{ms} ms");
        }
        assert_eq!(began.elapsed(), Duration::from_millis(1_197 + 7 * 5));
    }
}
