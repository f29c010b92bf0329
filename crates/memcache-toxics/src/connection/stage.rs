//! The two stages of a connection, which share its state.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use toxiproxy::toxic::{Behaviour, Chunk, Joined, Pop};
use toxiproxy::wire::{Attributes, Stream};

use super::Connection;
use crate::faults::Declared;

struct Stage {
    stream: Stream,
    /// Never contended: the server runs both stages under one lock.
    connection: Arc<Mutex<Connection>>,
}

impl Stage {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fault on one connection: upstream's stage, then downstream's.
pub(crate) fn stages(
    declared: Declared,
    attributes: &Attributes,
    rng: ChaCha8Rng,
    joined: &Joined,
) -> [Box<dyn Behaviour>; 2] {
    stages_of(&Arc::new(Mutex::new(Connection::new(declared, attributes, rng, joined))))
}

pub(super) fn stages_of(connection: &Arc<Mutex<Connection>>) -> [Box<dyn Behaviour>; 2] {
    let stage = |stream| Box::new(Stage { stream, connection: Arc::clone(connection) }) as Box<dyn Behaviour>;
    Stream::ALL.map(stage)
}

impl Behaviour for Stage {
    fn push(&mut self, chunk: Chunk, now: Instant) -> bool {
        self.connection().push(self.stream, chunk, now)
    }

    fn pop(&mut self, now: Instant) -> Pop {
        self.connection().pop(self.stream, now)
    }

    fn has_room(&self) -> bool {
        self.connection().has_room(self.stream)
    }

    fn end(&mut self, now: Instant) {
        self.connection().end(self.stream, now);
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        self.connection().update(attributes, now);
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        self.connection().release(self.stream)
    }

    fn drained(&self) -> bool {
        self.connection().drained(self.stream)
    }
}
