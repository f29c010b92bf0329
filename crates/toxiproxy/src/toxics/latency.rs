//! Every chunk leaves `latency` ± `jitter` ms after it arrived. Order is kept, so a chunk waits for a slower one before it;
//! chunks that arrive together leave together: the delay does not limit throughput.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::Queue;
use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, millis};
use crate::wire::Attributes;

/// Chunks held at most; then the source is not read, as with the stock server.
const CHUNKS_MAX: usize = 1024;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "latency",
    params: &[Param::number("latency"), Param::number("jitter")],
    extension: false,
    check: any,
    build: Build::Link(|attributes, rng| Box::new(Latency::new(attributes, rng))),
};

struct Latency {
    latency: Duration,
    jitter: Duration,
    rng: ChaCha8Rng,
    queue: Queue,
    /// When the first chunk of the queue leaves; drawn when it comes to the front.
    front_leaves: Option<Instant>,
}

impl Latency {
    fn new(attributes: &Attributes, rng: ChaCha8Rng) -> Self {
        let (latency, jitter) = (millis(attributes, "latency"), millis(attributes, "jitter"));
        Self { latency, jitter, rng, queue: Queue::default(), front_leaves: None }
    }

    /// Whole milliseconds, uniform in [-jitter, jitter); a negative sum is no delay.
    fn draw(&mut self) -> Duration {
        let jitter = self.jitter.as_millis() as i64;
        let drawn = if jitter == 0 { 0 } else { self.rng.random_range(-jitter..jitter) };
        Duration::from_millis((self.latency.as_millis() as i64 + drawn).max(0) as u64)
    }
}

impl Behaviour for Latency {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        self.queue.chunks.push_back(chunk);
        !self.latency.is_zero() || !self.jitter.is_zero()
    }

    fn pop(&mut self, now: Instant) -> Pop {
        let Some(stamp) = self.queue.chunks.front().map(|chunk| chunk.stamp) else {
            return self.queue.empty();
        };
        let leaves = match self.front_leaves {
            Some(leaves) => leaves,
            None => stamp + self.draw(),
        };
        if leaves > now {
            self.front_leaves = Some(leaves);
            return Pop::Wait(Some(leaves));
        }
        self.front_leaves = None;
        match self.queue.chunks.pop_front() {
            // A second latency toxic behind this one counts from here: they add up.
            Some(chunk) => Pop::Chunk(Chunk { stamp: leaves.max(stamp), ..chunk }),
            None => self.queue.empty(),
        }
    }

    fn has_room(&self) -> bool {
        self.queue.chunks.len() < CHUNKS_MAX
    }

    fn end(&mut self, _: Instant) {
        self.queue.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        (self.latency, self.jitter) = (millis(attributes, "latency"), millis(attributes, "jitter"));
        // The chunk in hand leaves at once; the others get the new delay, counted from their arrival.
        self.front_leaves = self.queue.chunks.front().map(|_| now);
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        self.front_leaves = None;
        std::mem::take(&mut self.queue.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, chunk, rng};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn chunks_leave_in_the_rhythm_in_which_they_came() {
        let mut toxic = Latency::new(&attributes(&[("latency", 200)]), rng());
        let begin = Instant::now();
        for n in 0..5u8 {
            assert!(toxic.push(chunk(&[n]), Instant::now()));
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        for n in 0..5u64 {
            let due = begin + Duration::from_millis(200 + 20 * n);
            assert_eq!(toxic.pop(due - Duration::from_millis(1)), Pop::Wait(Some(due)));
            assert!(
                matches!(toxic.pop(due), Pop::Chunk(chunk) if chunk.bytes[0] == n as u8 && chunk.stamp == due)
            );
        }
        toxic.end(begin);
        assert_eq!(toxic.pop(begin), Pop::End);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_uniform_around_the_latency_and_never_negative() {
        let mut toxic = Latency::new(&attributes(&[("latency", 20), ("jitter", 100)]), rng());
        let drawn: Vec<u64> = (0..20_000).map(|_| toxic.draw().as_millis() as u64).collect();
        assert!(drawn.iter().all(|ms| *ms < 120));
        // P(20 + U <= 0) for U uniform over [-100, 100): 81 of 200.
        let zero = drawn.iter().filter(|ms| **ms == 0).count() as f64 / drawn.len() as f64;
        assert!((zero - 0.405).abs() < 0.02, "{zero}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_frees_the_chunk_in_hand_and_gives_the_others_the_new_delay() {
        let mut toxic = Latency::new(&attributes(&[("latency", 1_000)]), rng());
        let now = Instant::now();
        toxic.push(chunk(b"a"), now);
        toxic.push(chunk(b"b"), now);
        assert!(matches!(toxic.pop(now), Pop::Wait(Some(_))));
        toxic.update(&attributes(&[("latency", 300)]), now);
        assert!(matches!(toxic.pop(now), Pop::Chunk(_)));
        assert_eq!(toxic.pop(now), Pop::Wait(Some(now + Duration::from_millis(300))));
    }
}
