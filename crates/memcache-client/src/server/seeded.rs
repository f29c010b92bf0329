//! What a [`crate::bugs::Bug`] does on the way of one attempt.

use super::*;
use crate::bugs::Bug;

impl Server {
    /// What the breaker hears in place of `verdict`.
    pub(super) fn misjudge(&self, verdict: Verdict, outcome: Outcome, probe: bool) -> Verdict {
        let seeded = &self.site.config.seeded;
        match verdict {
            Verdict::Timeout if seeded.is(Bug::DeafToTimeouts) => Verdict::Nothing,
            Verdict::Success if outcome == Outcome::Miss && seeded.is(Bug::MissIsFailure) => Verdict::Failure,
            Verdict::Success if probe && seeded.not_yet(self.site.index, &self.site.config) => {
                Verdict::Failure
            }
            verdict => verdict,
        }
    }

    /// What becomes of a slot whose op has timed out; `true`: its connection is not closed.
    pub(super) fn misuse(&self, slot: &mut Option<Slot<'_>>) -> bool {
        let seeded = &self.site.config.seeded;
        seeded.lost(self.site.index);
        if seeded.is(Bug::LeaksSlot)
            && let Some(slot) = slot.take()
        {
            slot.leak();
            self.site.observer.closed(self.site.index, CloseReason::Timeout);
        }
        if seeded.is(Bug::DirtyConnection) {
            slot.take().map(|slot| slot.finish_dirty(Instant::now())).is_some()
        } else if seeded.is(Bug::LeaksConnection) {
            slot.take().and_then(Slot::into_connection).map(|kept| seeded.keep(kept)).is_some()
        } else {
            false
        }
    }

    /// The breaker has closed.
    pub(super) fn misgreet(self: &Arc<Self>) {
        let seeded = &self.site.config.seeded;
        seeded.closed(self.site.index);
        if seeded.is(Bug::DialsAtOnce) {
            for _ in 0..self.site.config.pool.max {
                let server = Arc::clone(self);
                spawn(async move { server.dial_for_nobody().await });
            }
        }
    }

    async fn dial_for_nobody(&self) {
        let Link::Pool(pool) = &self.link else { return };
        let Some(mut slot) = pool.try_acquire() else { return };
        let Site { index, addr, config, observer, traffic } = &*self.site;
        let began = Instant::now();
        let dialled = connect::connect(config, &addr.addr).await;
        observer.dial(*index, dialled.as_ref().err().map(ToString::to_string), began.elapsed());
        let connection = dialled
            .and_then(|stream| Connection::new(config.driver, stream, config.value_max, Arc::clone(traffic)));
        if let Ok(connection) = connection {
            slot.put_new(connection, self.draw());
            slot.finish(Instant::now());
        }
    }
}
