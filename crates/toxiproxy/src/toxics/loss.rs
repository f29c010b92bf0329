//! Extension: the *delay* that packet loss causes on a reliable stream. Nothing is ever dropped.
//!
//! Per chunk a number of lost sends K is drawn, P(K=k) = (1-p) p^k; the chunk and everything behind it is held for
//! S(K): S(0) = 0, S(k) = `rto_ms` * 2^(k-1), measured on Linux as 206, 413, 840, ... ms (the tail-loss probe takes the first
//! slot without backing off). A chunk of more than three segments is mostly repaired by fast retransmit and pays the timeout
//! only with probability 0.15. p = 1 holds for ever, until the toxic is removed. With `burst` above 1 losses come in runs of that
//! mean length (a two-state chain).

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::Queue;
use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, number};
use crate::wire::Attributes;

/// First retransmission on an idle Linux connection, ms.
const RTO_MS: u64 = 206;
/// Payload of one segment on Ethernet, bytes.
const SEGMENT: usize = 1448;
/// Chunks of more segments than this are repaired by their own later segments.
const FAST_SEGMENTS: usize = 3;
/// Share of losses in such chunks that still cost a timeout.
const SLOW_SHARE: f64 = 0.15;
/// Lost sends at most: TCP gives up after about 15 retransmissions.
const SENDS_MAX: u32 = 15;
/// Chunks and bytes held at most; then the source is not read: a sender's TCP has a window too.
const CHUNKS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// 100 %.
const PPM: u64 = 1_000_000;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "loss",
    params: &[Param::number("loss_ppm"), Param::number("rto_ms"), Param::number("burst")],
    extension: true,
    check: |attributes| match number(attributes, "loss_ppm") {
        0..=PPM => Ok(()),
        _ => Err("loss loss_ppm is a share in parts per million: at most 1000000".to_owned()),
    },
    build: Build::Link(|attributes, rng| Box::new(Loss::new(attributes, rng))),
};

struct Loss {
    share: f64,
    rto: Duration,
    burst: f64,
    in_burst: bool,
    rng: ChaCha8Rng,
    queue: Queue,
    /// In it.
    bytes: usize,
    /// When each chunk of the queue may leave; `None`: never.
    leaves: VecDeque<Option<Instant>>,
    /// Nothing leaves before this, because something before it is held.
    line_free: Option<Instant>,
}

impl Loss {
    fn new(attributes: &Attributes, rng: ChaCha8Rng) -> Self {
        let mut loss = Self {
            share: 0.0,
            rto: Duration::ZERO,
            burst: 1.0,
            in_burst: false,
            rng,
            queue: Queue::default(),
            bytes: 0,
            leaves: VecDeque::new(),
            line_free: None,
        };
        loss.set(attributes);
        loss
    }

    fn set(&mut self, attributes: &Attributes) {
        self.share = number(attributes, "loss_ppm").min(PPM) as f64 / PPM as f64;
        let rto = match number(attributes, "rto_ms") {
            0 => RTO_MS,
            ms => ms.min(60_000),
        };
        self.rto = Duration::from_millis(rto);
        self.burst = number(attributes, "burst").clamp(1, 1_000_000) as f64;
    }

    /// Is this send lost?
    fn lost(&mut self) -> bool {
        if self.burst <= 1.0 || self.share >= 1.0 {
            return self.rng.random_bool(self.share);
        }
        let flip =
            if self.in_burst { 1.0 / self.burst } else { self.share / (self.burst * (1.0 - self.share)) };
        if self.rng.random_bool(flip.clamp(0.0, 1.0)) {
            self.in_burst = !self.in_burst;
        }
        self.in_burst
    }

    /// For how long a chunk of `length` bytes is held; `None`: for ever.
    fn draw(&mut self, length: usize) -> Option<Duration> {
        if self.share >= 1.0 {
            return None;
        }
        let mut sends = 0;
        while sends < SENDS_MAX && self.lost() {
            sends += 1;
        }
        let fast = length.div_ceil(SEGMENT) > FAST_SEGMENTS;
        if sends == 0 || (fast && !self.rng.random_bool(SLOW_SHARE)) {
            return Some(Duration::ZERO);
        }
        Some(self.rto * 2u32.pow(sends - 1))
    }
}

impl Behaviour for Loss {
    fn push(&mut self, chunk: Chunk, now: Instant) -> bool {
        let blocked = self.leaves.back().is_some_and(Option::is_none);
        let leaves = match self.draw(chunk.bytes.len()) {
            Some(hold) if !blocked => {
                let free = self.line_free.map_or(now, |free| free.max(now));
                Some((now + hold).max(free))
            }
            _ => None,
        };
        self.line_free = leaves;
        self.bytes += chunk.bytes.len();
        self.queue.chunks.push_back(chunk);
        self.leaves.push_back(leaves);
        leaves.is_none_or(|at| at > now)
    }

    fn pop(&mut self, now: Instant) -> Pop {
        match self.leaves.front() {
            None => self.queue.empty(),
            Some(Some(at)) if *at <= now => {
                self.leaves.pop_front();
                let Some(chunk) = self.queue.chunks.pop_front() else { return self.queue.empty() };
                self.bytes -= chunk.bytes.len();
                Pop::Chunk(Chunk { stamp: now, ..chunk })
            }
            Some(at) => Pop::Wait(*at),
        }
    }

    fn has_room(&self) -> bool {
        self.queue.chunks.len() < CHUNKS_MAX && self.bytes < BYTES_MAX
    }

    fn end(&mut self, _: Instant) {
        self.queue.ended = true;
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        // What is held leaves at once; later chunks meet the new loss.
        self.set(attributes);
        self.leaves.iter_mut().for_each(|leaves| *leaves = Some(now));
        self.line_free = None;
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        self.leaves.clear();
        self.bytes = 0;
        self.line_free = None;
        std::mem::take(&mut self.queue.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, chunk, rng};
    use super::*;

    #[tokio::test]
    async fn holds_follow_the_law() {
        for ppm in [20_000, 50_000, 100_000, 200_000, 500_000] {
            let p = ppm as f64 / 1e6;
            let mut toxic = Loss::new(&attributes(&[("loss_ppm", ppm)]), rng());
            let n = 50_000;
            let drawn: Vec<Duration> = (0..n).map(|_| toxic.draw(100).unwrap()).collect();
            for (k, hold) in [(1, 206), (2, 412), (3, 824)] {
                let seen = drawn.iter().filter(|d| d.as_millis() == hold).count() as f64;
                let expected = (1.0 - p) * p.powi(k) * f64::from(n);
                assert!(
                    (seen - expected).abs() <= 4.0 * expected.sqrt() + 1.0,
                    "p {p}, k {k}: {seen} not {expected}"
                );
            }
        }
    }

    #[tokio::test]
    async fn bursts_keep_the_share_and_have_their_length() {
        let mut toxic = Loss::new(&attributes(&[("loss_ppm", 50_000), ("burst", 20)]), rng());
        let n = 2_000_000;
        let (mut lost, mut runs, mut before) = (0, 0, false);
        for _ in 0..n {
            let now = toxic.lost();
            lost += u32::from(now);
            runs += u32::from(now && !before);
            before = now;
        }
        assert!((f64::from(lost) / f64::from(n) - 0.05).abs() < 0.003);
        assert!((f64::from(lost) / f64::from(runs) - 20.0).abs() < 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_behind_a_held_chunk_waits_too_and_all_loss_holds_until_release() {
        let mut toxic = Loss::new(&attributes(&[("loss_ppm", 0)]), rng());
        let now = Instant::now();
        toxic.line_free = Some(now + Duration::from_millis(206));
        assert!(toxic.push(chunk(b"behind"), now));
        assert_eq!(toxic.pop(now), Pop::Wait(Some(now + Duration::from_millis(206))));

        let mut toxic = Loss::new(&attributes(&[("loss_ppm", 1_000_000)]), rng());
        assert!(toxic.push(chunk(b"x"), now));
        assert_eq!(toxic.pop(now + Duration::from_secs(10_000)), Pop::Wait(None));
        assert_eq!(toxic.release().len(), 1);
    }
}
