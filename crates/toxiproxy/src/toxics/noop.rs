//! Passes everything.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::Queue;
use crate::toxic::{Behaviour, Build, Chunk, Pop, ToxicKind, any};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "noop",
    params: &[],
    extension: false,
    check: any,
    build: Build::Link(|_: &Attributes, _: ChaCha8Rng| Box::new(Noop::default())),
};

#[derive(Default)]
struct Noop(Queue);

impl Behaviour for Noop {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        self.0.chunks.push_back(chunk);
        false
    }

    fn pop(&mut self, _: Instant) -> Pop {
        self.0.chunks.pop_front().map_or_else(|| self.0.empty(), Pop::Chunk)
    }

    fn has_room(&self) -> bool {
        self.0.chunks.is_empty()
    }

    fn end(&mut self, _: Instant) {
        self.0.ended = true;
    }

    fn update(&mut self, _: &Attributes, _: Instant) {}

    fn release(&mut self) -> VecDeque<Chunk> {
        std::mem::take(&mut self.0.chunks)
    }
}
