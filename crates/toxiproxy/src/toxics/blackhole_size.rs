//! Extension: a path that loses everything larger than `bytes`, as one whose segments exceed an MTU that nobody announces:
//! small chunks pass, the first larger one is held, and everything behind it waits. Removing it releases all, unharmed.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::Queue;
use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, number};
use crate::wire::Attributes;

/// Chunks held at most; then the source is not read.
const CHUNKS_MAX: usize = 32;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "blackhole_size",
    params: &[Param::number("bytes")],
    extension: true,
    check: |attributes| match number(attributes, "bytes") {
        0 => Err("blackhole_size bytes must be at least 1".to_owned()),
        _ => Ok(()),
    },
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| {
        Box::new(BlackholeSize { limit: limit(attributes), queue: Queue::default() })
    }),
};

fn limit(attributes: &Attributes) -> usize {
    usize::try_from(number(attributes, "bytes")).unwrap_or(usize::MAX)
}

struct BlackholeSize {
    limit: usize,
    queue: Queue,
}

impl BlackholeSize {
    fn is_held(&self, chunk: &Chunk) -> bool {
        chunk.bytes.len() > self.limit
    }
}

impl Behaviour for BlackholeSize {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        self.queue.chunks.push_back(chunk);
        self.queue.chunks.iter().any(|chunk| self.is_held(chunk))
    }

    fn pop(&mut self, _: Instant) -> Pop {
        if self.queue.chunks.front().is_some_and(|chunk| self.is_held(chunk)) {
            return Pop::Wait(None);
        }
        self.queue.chunks.pop_front().map_or_else(|| self.queue.empty(), Pop::Chunk)
    }

    fn has_room(&self) -> bool {
        self.queue.chunks.len() < CHUNKS_MAX
    }

    fn end(&mut self, _: Instant) {
        self.queue.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, _: Instant) {
        self.limit = limit(attributes);
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        std::mem::take(&mut self.queue.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, build, chunk};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_chunks_pass_until_a_large_one_blocks_the_way() {
        let mut toxic = build(&KIND, &attributes(&[("bytes", 100)]));
        let now = Instant::now();
        assert!(!toxic.push(chunk(&[1; 100]), now));
        assert!(matches!(toxic.pop(now), Pop::Chunk(_)));
        assert!(toxic.push(chunk(&[2; 101]), now));
        assert!(toxic.push(chunk(&[3; 1]), now));
        assert_eq!(toxic.pop(now), Pop::Wait(None));
        let held: Vec<usize> = toxic.release().iter().map(|chunk| chunk.bytes.len()).collect();
        assert_eq!(held, [101, 1]);
    }
}
