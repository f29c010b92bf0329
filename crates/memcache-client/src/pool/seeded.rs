//! What a [`crate::bugs::Bug`] does to a pool.

use super::*;

impl Slot<'_> {
    /// Closes the connection, and never gives the place back.
    pub(crate) fn leak(mut self) {
        if self.connection.take().is_some() {
            self.pool.discarded(CloseReason::Timeout);
        }
        std::mem::forget(self);
    }

    /// Parks a connection whose reply has not come.
    pub(crate) fn finish_dirty(mut self, now: Instant) {
        if let (Some(mut connection), Some(life)) = (self.connection.take(), self.life) {
            connection.soil();
            self.pool.idle().push(Parked { connection, timer: Timer::default(), since: now, life });
        }
    }

    /// The connection, out of the pool's sight.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        self.connection.take()
    }
}
