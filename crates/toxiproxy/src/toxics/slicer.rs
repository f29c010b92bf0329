//! Cuts chunks into pieces of `average_size` ± `size_variation` bytes, each followed by a `delay` of µs. An average of 0
//! (which ends a stock server) passes chunks whole.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, number};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "slicer",
    params: &[Param::number("average_size"), Param::number("size_variation"), Param::number("delay")],
    extension: false,
    check: |attributes| {
        let (average, variation) = (number(attributes, "average_size"), number(attributes, "size_variation"));
        if average == 0 {
            Err("slicer average_size must be at least 1".to_owned())
        } else if variation >= average && variation > 0 {
            Err("slicer size_variation must be less than average_size".to_owned())
        } else {
            Ok(())
        }
    },
    build: Build::Link(|attributes, rng| Box::new(Slicer::new(attributes, rng))),
};

struct Slicer {
    average: usize,
    variation: usize,
    delay: Duration,
    rng: ChaCha8Rng,
    /// Whole chunks; more than one only when a toxic before this one gave back what it held.
    waiting: VecDeque<Chunk>,
    /// Of the chunk in hand.
    pieces: VecDeque<Chunk>,
    next_leaves: Option<Instant>,
    ended: bool,
}

/// Longest delay, so that it can be added to any instant.
const DELAY_MAX_US: u64 = 3_600_000_000;

impl Slicer {
    fn new(attributes: &Attributes, rng: ChaCha8Rng) -> Self {
        let mut slicer = Self {
            average: 0,
            variation: 0,
            delay: Duration::ZERO,
            rng,
            waiting: VecDeque::new(),
            pieces: VecDeque::new(),
            next_leaves: None,
            ended: false,
        };
        slicer.set(attributes);
        slicer
    }

    fn set(&mut self, attributes: &Attributes) {
        let size = |name| usize::try_from(number(attributes, name)).unwrap_or(usize::MAX);
        self.average = size("average_size");
        self.variation = size("size_variation").min(self.average.saturating_sub(1));
        self.delay = Duration::from_micros(number(attributes, "delay").min(DELAY_MAX_US));
    }

    /// Halves, off-centre by up to the variation, until each piece is small enough; in order.
    fn cut(&mut self, chunk: Chunk) {
        let mut todo = vec![chunk];
        let limit = self.average.saturating_add(self.variation);
        while let Some(mut chunk) = todo.pop() {
            let length = chunk.bytes.len();
            if self.average == 0 || length <= limit {
                self.pieces.push_back(chunk);
                continue;
            }
            let variation = self.variation as i64;
            let off = if variation == 0 { 0 } else { self.rng.random_range(-variation..variation) };
            let middle = ((length / 2) as i64 + off).clamp(1, length as i64 - 1) as usize;
            let second = Chunk { bytes: chunk.bytes.split_off(middle), stamp: chunk.stamp };
            todo.push(second);
            todo.push(chunk);
        }
    }
}

impl Behaviour for Slicer {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        let cuts = self.average > 0 && chunk.bytes.len() > self.average.saturating_add(self.variation);
        self.waiting.push_back(chunk);
        cuts || !self.delay.is_zero()
    }

    fn pop(&mut self, now: Instant) -> Pop {
        if let Some(at) = self.next_leaves.filter(|at| *at > now) {
            return Pop::Wait(Some(at));
        }
        self.next_leaves = None;
        if self.pieces.is_empty()
            && let Some(chunk) = self.waiting.pop_front()
        {
            self.cut(chunk);
        }
        match self.pieces.pop_front() {
            Some(piece) => {
                // The delay follows each piece, the last too.
                self.next_leaves = (!self.delay.is_zero()).then_some(now + self.delay);
                Pop::Chunk(piece)
            }
            None if self.ended => Pop::End,
            None => Pop::Wait(None),
        }
    }

    fn has_room(&self) -> bool {
        self.pieces.is_empty() && self.waiting.is_empty()
    }

    fn end(&mut self, _: Instant) {
        self.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, _: Instant) {
        self.set(attributes);
        self.next_leaves = None;
        // The rest goes in one piece.
        let rest: Vec<u8> = self.pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
        if let Some(first) = self.pieces.front().map(|piece| piece.stamp) {
            self.pieces = VecDeque::from([Chunk { bytes: rest.into(), stamp: first }]);
        }
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        self.next_leaves = None;
        let mut held = std::mem::take(&mut self.pieces);
        held.append(&mut self.waiting);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, chunk, rng};
    use super::*;

    #[tokio::test]
    async fn pieces_are_small_enough_and_add_up() {
        for (average, variation) in [(1, 0), (10, 0), (10, 5), (64, 63)] {
            let mut toxic =
                Slicer::new(&attributes(&[("average_size", average), ("size_variation", variation)]), rng());
            let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
            assert!(toxic.push(chunk(&data), Instant::now()));
            let Pop::Chunk(first) = toxic.pop(Instant::now()) else { panic!("nothing came out") };
            toxic.pieces.push_front(first);
            assert!(toxic.pieces.iter().all(|piece| piece.bytes.len() as i64 <= average + variation));
            let joined: Vec<u8> = toxic.release().iter().flat_map(|piece| piece.bytes.to_vec()).collect();
            assert_eq!(joined, data);
        }
    }
}
