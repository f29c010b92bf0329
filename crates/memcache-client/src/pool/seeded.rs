//! What a [`crate::bugs::Bug`] does to a pool.

use super::*;

impl Pool {
    /// One place less, for ever.
    pub(crate) fn leak_slot(&self) {
        if let Some(permit) = self.gate.try_enter() {
            permit.forget();
        }
    }
}

impl Slot<'_> {
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
