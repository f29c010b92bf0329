//! Discards all data. `timeout` 0: for ever. More: closes after that many ms *without* a chunk, as the stock server does: a
//! sender that keeps sending is never closed. Removing it closes the link, always: what was discarded cannot be made good.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, millis};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "timeout",
    params: &[Param::number("timeout")],
    extension: false,
    check: any,
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| {
        Box::new(Timeout { timeout: millis(attributes, "timeout"), since: Instant::now(), ended: false })
    }),
};

struct Timeout {
    timeout: Duration,
    since: Instant,
    ended: bool,
}

impl Behaviour for Timeout {
    fn push(&mut self, _: Chunk, now: Instant) -> bool {
        self.since = now;
        true
    }

    fn pop(&mut self, now: Instant) -> Pop {
        let closes = (!self.timeout.is_zero()).then_some(self.since + self.timeout);
        match closes {
            _ if self.ended => Pop::Close,
            Some(at) if at <= now => Pop::Close,
            at => Pop::Wait(at),
        }
    }

    // It keeps nothing.
    fn has_room(&self) -> bool {
        true
    }

    fn end(&mut self, _: Instant) {
        self.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        self.timeout = millis(attributes, "timeout");
        self.since = now;
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        VecDeque::new()
    }

    fn closes_on_removal(&self) -> bool {
        true
    }
}
