//! At the first chunk (or end) drops it, waits `timeout` ms, and closes: by RST on connections that were opened while the
//! toxic existed (the proxy sets their linger), by FIN on others. Once it waits it cannot be stopped.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, millis};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: NAME,
    params: &[Param::number("timeout")],
    extension: false,
    check: any,
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| {
        Box::new(ResetPeer { timeout: millis(attributes, "timeout"), closes: None })
    }),
};

/// The proxy looks for this kind when it opens a connection.
pub(crate) const NAME: &str = "reset_peer";

struct ResetPeer {
    timeout: Duration,
    closes: Option<Instant>,
}

impl ResetPeer {
    fn begin(&mut self, now: Instant) {
        self.closes.get_or_insert(now + self.timeout);
    }
}

impl Behaviour for ResetPeer {
    fn push(&mut self, _: Chunk, now: Instant) -> bool {
        self.begin(now);
        true
    }

    fn pop(&mut self, now: Instant) -> Pop {
        match self.closes {
            Some(at) if at <= now => Pop::Close,
            at => Pop::Wait(at),
        }
    }

    // It keeps nothing.
    fn has_room(&self) -> bool {
        true
    }

    fn end(&mut self, now: Instant) {
        self.begin(now);
    }

    fn update(&mut self, attributes: &Attributes, _: Instant) {
        self.timeout = millis(attributes, "timeout");
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        VecDeque::new()
    }

    fn drained(&self) -> bool {
        self.closes.is_none()
    }
}
