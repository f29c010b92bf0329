//! Passes `bytes` bytes per link, cutting inside a chunk, then closes. The count outlives updates.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, number};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "limit_data",
    params: &[Param::number("bytes")],
    extension: false,
    check: any,
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| {
        Box::new(LimitData {
            limit: number(attributes, "bytes"),
            taken: 0,
            passing: VecDeque::new(),
            state: LimitState::Open,
        })
    }),
};

struct LimitData {
    limit: u64,
    taken: u64,
    passing: VecDeque<Chunk>,
    state: LimitState,
}

#[derive(PartialEq)]
enum LimitState {
    Open,
    Ended,
    /// The limit is reached: closes when what is before it has passed.
    Full,
}

impl Behaviour for LimitData {
    fn push(&mut self, mut chunk: Chunk, _: Instant) -> bool {
        if self.state == LimitState::Full {
            // Behind the cut, even if the limit was raised since.
            return true;
        }
        let left = self.limit.saturating_sub(self.taken);
        let length = chunk.bytes.len() as u64;
        if length >= left {
            self.state = LimitState::Full;
            chunk.bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.taken += chunk.bytes.len() as u64;
        if !chunk.bytes.is_empty() {
            self.passing.push_back(chunk);
        }
        self.state == LimitState::Full
    }

    fn pop(&mut self, _: Instant) -> Pop {
        match (self.passing.pop_front(), &self.state) {
            (Some(chunk), _) => Pop::Chunk(chunk),
            (None, LimitState::Open) => Pop::Wait(None),
            (None, LimitState::Ended | LimitState::Full) => Pop::End,
        }
    }

    fn has_room(&self) -> bool {
        self.state == LimitState::Open && self.passing.is_empty()
    }

    fn end(&mut self, _: Instant) {
        if self.state == LimitState::Open {
            self.state = LimitState::Ended;
        }
    }

    fn update(&mut self, attributes: &Attributes, _: Instant) {
        self.limit = number(attributes, "bytes");
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        std::mem::take(&mut self.passing)
    }

    fn drained(&self) -> bool {
        self.state != LimitState::Full
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, build, chunk};
    use super::*;

    fn passed(limit: i64, chunks: &[usize]) -> (usize, bool) {
        let mut toxic = build(&KIND, &attributes(&[("bytes", limit)]));
        let now = Instant::now();
        let mut bytes = 0;
        for length in chunks {
            if toxic.has_room() {
                toxic.push(chunk(&vec![1; *length]), now);
            }
            while let Pop::Chunk(chunk) = toxic.pop(now) {
                bytes += chunk.bytes.len();
            }
        }
        (bytes, toxic.pop(now) == Pop::End)
    }

    #[tokio::test]
    async fn closes_at_the_limit_and_not_before() {
        assert_eq!(passed(10, &[9]), (9, false));
        assert_eq!(passed(10, &[10]), (10, true));
        assert_eq!(passed(10, &[8, 8]), (10, true));
        assert_eq!(passed(0, &[1]), (0, true));
        assert_eq!(passed(0, &[]), (0, false));
    }

    #[tokio::test]
    async fn a_raised_limit_lets_the_difference_pass() {
        let mut toxic = build(&KIND, &attributes(&[("bytes", 10)]));
        let now = Instant::now();
        toxic.push(chunk(&[1; 8]), now);
        toxic.update(&attributes(&[("bytes", 12)]), now);
        toxic.push(chunk(&[1; 8]), now);
        let mut bytes = 0;
        while let Pop::Chunk(chunk) = toxic.pop(now) {
            bytes += chunk.bytes.len();
        }
        assert_eq!(bytes, 12);
    }
}
