//! At most `rate` KB/s (1 KB = 1000 bytes), per link. Rate 0: nothing passes and nothing is lost, the connection stays open.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, number};
use crate::wire::Attributes;

/// A large chunk is cut into what passes in this time.
const STEP: Duration = Duration::from_millis(100);

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "bandwidth",
    params: &[Param::number("rate")],
    extension: false,
    check: any,
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| Box::new(Bandwidth::new(attributes))),
};

struct Bandwidth {
    /// Bytes a millisecond = KB/s.
    rate: u64,
    /// One chunk; more only when a toxic before this one was removed and gave back what it held.
    held: VecDeque<Chunk>,
    /// When the next piece of the first chunk leaves; drawn when it is first looked at.
    piece_leaves: Option<Instant>,
    /// How late the last piece left: it is made good by the next.
    late: Duration,
    /// The chunk in hand at an update is written whole, at once.
    whole: bool,
    ended: bool,
}

impl Bandwidth {
    fn new(attributes: &Attributes) -> Self {
        let rate = number(attributes, "rate");
        Self {
            rate,
            held: VecDeque::new(),
            piece_leaves: None,
            late: Duration::ZERO,
            whole: false,
            ended: false,
        }
    }

    /// Bytes of the next piece of a chunk of `length`.
    fn piece(&self, length: usize) -> usize {
        let step = self.rate.saturating_mul(STEP.as_millis() as u64);
        length.min(usize::try_from(step).unwrap_or(usize::MAX))
    }

    fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_micros((bytes as u64).saturating_mul(1000) / self.rate.max(1))
    }
}

impl Behaviour for Bandwidth {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        self.held.push_back(chunk);
        true
    }

    fn pop(&mut self, now: Instant) -> Pop {
        let Some(first) = self.held.front_mut() else {
            return if self.ended { Pop::End } else { Pop::Wait(None) };
        };
        let length = first.bytes.len();
        if std::mem::take(&mut self.whole) {
            self.piece_leaves = None;
            return self.held.pop_front().map_or(Pop::Wait(None), Pop::Chunk);
        }
        if self.rate == 0 {
            return Pop::Wait(None);
        }
        let piece = self.piece(length);
        let leaves = match self.piece_leaves {
            Some(leaves) => leaves,
            None => now + self.time_for(piece).saturating_sub(std::mem::take(&mut self.late)),
        };
        self.piece_leaves = Some(leaves);
        if leaves > now {
            return Pop::Wait(Some(leaves));
        }
        let Some(mut chunk) = self.held.pop_front() else { return Pop::Wait(None) };
        let bytes = chunk.bytes.split_to(piece);
        self.piece_leaves = None;
        self.late = (now - leaves).min(STEP);
        let stamp = chunk.stamp;
        if !chunk.bytes.is_empty() {
            self.held.push_front(chunk);
        }
        Pop::Chunk(Chunk { bytes, stamp })
    }

    fn has_room(&self) -> bool {
        self.held.is_empty()
    }

    fn end(&mut self, _: Instant) {
        self.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, _: Instant) {
        self.rate = number(attributes, "rate");
        self.whole = !self.held.is_empty();
        self.piece_leaves = None;
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        self.piece_leaves = None;
        self.whole = false;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, chunk};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_of_data_takes_a_second() {
        let mut toxic = Bandwidth::new(&attributes(&[("rate", 100)]));
        let begin = Instant::now();
        let mut now = begin;
        toxic.push(chunk(&[0; 100_000]), now);
        let mut bytes = 0;
        while bytes < 100_000 {
            match toxic.pop(now) {
                Pop::Chunk(chunk) => bytes += chunk.bytes.len(),
                Pop::Wait(Some(until)) => now = until,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(now - begin, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn rate_zero_holds_for_ever_and_takes_no_more() {
        let mut toxic = Bandwidth::new(&attributes(&[]));
        let now = Instant::now();
        assert!(toxic.push(chunk(b"x"), now));
        assert_eq!(toxic.pop(now + Duration::from_secs(1_000_000)), Pop::Wait(None));
        assert!(!toxic.has_room());
        assert_eq!(toxic.release().len(), 1);
        assert!(toxic.has_room());
    }
}
