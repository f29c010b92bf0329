//! Delays the end of its direction by `delay` ms. Data passes undelayed.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::toxic::{Behaviour, Build, Chunk, Param, Pop, ToxicKind, any, millis};
use crate::wire::Attributes;

pub(super) const KIND: ToxicKind = ToxicKind {
    name: "slow_close",
    params: &[Param::number("delay")],
    extension: false,
    check: any,
    build: Build::Link(|attributes: &Attributes, _: ChaCha8Rng| {
        Box::new(SlowClose { delay: millis(attributes, "delay"), passing: VecDeque::new(), ends: None })
    }),
};

struct SlowClose {
    delay: Duration,
    passing: VecDeque<Chunk>,
    ends: Option<Instant>,
}

impl Behaviour for SlowClose {
    fn push(&mut self, chunk: Chunk, _: Instant) -> bool {
        self.passing.push_back(chunk);
        false
    }

    fn pop(&mut self, now: Instant) -> Pop {
        match (self.passing.pop_front(), self.ends) {
            (Some(chunk), _) => Pop::Chunk(chunk),
            (None, Some(at)) if at <= now => Pop::End,
            (None, at) => Pop::Wait(at),
        }
    }

    fn has_room(&self) -> bool {
        self.passing.is_empty()
    }

    fn end(&mut self, now: Instant) {
        self.ends = Some(now + self.delay);
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        self.delay = millis(attributes, "delay");
        // The wait starts anew.
        if self.ends.is_some() {
            self.end(now);
        }
    }

    fn release(&mut self) -> VecDeque<Chunk> {
        std::mem::take(&mut self.passing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attributes, build, chunk};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_end_is_delayed() {
        let mut toxic = build(&KIND, &attributes(&[("delay", 300)]));
        let now = Instant::now();
        assert!(!toxic.push(chunk(b"x"), now));
        toxic.end(now);
        assert!(matches!(toxic.pop(now), Pop::Chunk(_)));
        let end = now + Duration::from_millis(300);
        assert_eq!(toxic.pop(end - Duration::from_millis(1)), Pop::Wait(Some(end)));
        assert_eq!(toxic.pop(end), Pop::End);
    }
}
