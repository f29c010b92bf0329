//! Toxics: one file each, one list. A toxic is a small state machine for the data of one link; it never does I/O and never
//! waits, it says until when it wants to be left alone.
//!
//! ```text
//!   push(chunk) ──▶ [ held chunks, clock, counters ] ──▶ pop() = chunk | wait until | end | close
//! ```
//!
//! Whether it acts at all (toxicity) is decided outside; what it holds is given back by [`Behaviour::release`].

mod bandwidth;
mod latency;
mod limit_data;
mod loss;
mod noop;
mod reset_peer;
mod slicer;
mod slow_close;
mod timeout;

pub(crate) use reset_peer::NAME as RESET_PEER;

use std::collections::VecDeque;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::wire::Attributes;

/// Bytes as they were read, with the moment from which delays count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) stamp: Instant,
}

/// What a stage has to give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// Data for the next stage.
    Chunk(Chunk),
    /// Nothing before that moment; `None`: nothing before more comes in.
    Wait(Option<Instant>),
    /// Everything has passed, and the input has ended.
    End,
    /// The connection ends here and now.
    Close,
}

/// One toxic on one link.
pub(crate) trait Behaviour: Send {
    /// Takes a chunk; says whether it will touch it (delay, hold, drop, cut).
    fn push(&mut self, chunk: Chunk, now: Instant) -> bool;

    /// What comes out now.
    fn pop(&mut self, now: Instant) -> Pop;

    /// May more be pushed? Until then the source is not read.
    fn has_room(&self) -> bool {
        true
    }

    /// The input has ended.
    fn end(&mut self, now: Instant);

    /// New attributes, on an open link.
    fn update(&mut self, attributes: &Attributes, now: Instant);

    /// Gives back everything held, in order: the toxic is being removed, or its dice have spared the link.
    fn release(&mut self) -> VecDeque<Chunk>;

    /// Removing it closes the link.
    fn closes_on_removal(&self) -> bool {
        false
    }

    /// It has begun to end the connection and cannot be stopped: when it will.
    fn doomed_at(&self) -> Option<Instant> {
        None
    }
}

/// A kind of toxic.
#[derive(Debug)]
pub struct ToxicKind {
    /// Value of `type`.
    pub name: &'static str,
    /// Its attributes, in the order in which they are shown.
    pub attributes: &'static [&'static str],
    /// Not known to the stock server.
    pub extension: bool,
    check: fn(&Attributes) -> Result<(), String>,
    build: fn(&Attributes, ChaCha8Rng) -> Box<dyn Behaviour>,
}

/// All kinds.
pub fn kinds() -> &'static [ToxicKind] {
    &[
        bandwidth::KIND,
        latency::KIND,
        limit_data::KIND,
        loss::KIND,
        noop::KIND,
        reset_peer::KIND,
        slicer::KIND,
        slow_close::KIND,
        timeout::KIND,
    ]
}

/// The kind of that name.
pub(crate) fn kind(name: &str) -> Option<&'static ToxicKind> {
    kinds().iter().find(|kind| kind.name == name)
}

/// Largest attribute that makes sense: clients decode 32 bits, and a stock server dies of sums above 63.
const ATTRIBUTE_MAX: i64 = u32::MAX as i64;

/// Refuses what would kill a stock server or do nothing that was meant: unknown attributes, negative or huge numbers, and
/// combinations that the kind itself refuses.
pub fn check_attributes(kind: &str, attributes: &Attributes) -> Result<(), String> {
    let Some(kind) = self::kind(kind) else { return Err(format!("there is no toxic {kind:?}")) };
    for (name, value) in attributes {
        if !kind.attributes.contains(&name.as_str()) {
            return Err(format!(
                "{} has no attribute {name:?}; it has: {}",
                kind.name,
                kind.attributes.join(", ")
            ));
        }
        if !(0..=ATTRIBUTE_MAX).contains(value) {
            return Err(format!(
                "{} {name} is {value}; it must lie between 0 and {ATTRIBUTE_MAX}",
                kind.name
            ));
        }
    }
    (kind.check)(attributes)
}

impl ToxicKind {
    /// Only this kind's attributes, all of them.
    pub(crate) fn complete(&self, given: &Attributes) -> Attributes {
        self.attributes.iter().map(|name| ((*name).to_owned(), read(given, name))).collect()
    }

    pub(crate) fn build(&self, attributes: &Attributes, rng: ChaCha8Rng) -> Box<dyn Behaviour> {
        (self.build)(attributes, rng)
    }
}

fn read(attributes: &Attributes, name: &str) -> i64 {
    attributes.get(name).copied().unwrap_or(0)
}

/// A non-negative attribute; negative ones act as 0.
fn positive(attributes: &Attributes, name: &str) -> u64 {
    u64::try_from(read(attributes, name)).unwrap_or(0)
}

/// A time attribute in milliseconds, bounded so that it can be added to any instant.
fn millis(attributes: &Attributes, name: &str) -> std::time::Duration {
    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
    std::time::Duration::from_millis(positive(attributes, name).min(YEAR_MS))
}

fn any(_: &Attributes) -> Result<(), String> {
    Ok(())
}

/// The queue that most toxics need: chunks in order, and whether the input has ended.
#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    ended: bool,
}

impl Queue {
    /// End, or idle.
    fn empty(&self) -> Pop {
        if self.ended { Pop::End } else { Pop::Wait(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes from pairs.
    pub(super) fn attributes(pairs: &[(&str, i64)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// A chunk of these bytes, stamped now.
    pub(super) fn chunk(bytes: &[u8]) -> Chunk {
        Chunk { bytes: Bytes::copy_from_slice(bytes), stamp: Instant::now() }
    }

    pub(super) fn rng() -> ChaCha8Rng {
        rand::SeedableRng::seed_from_u64(7)
    }

    #[tokio::test]
    async fn no_attributes_whatever_make_a_toxic_panic_or_spin() {
        let values = [i64::MIN, -1, 0, 1, 100, i64::from(u32::MAX), i64::MAX];
        for kind in kinds() {
            for value in values {
                for other in values {
                    let mut given = Attributes::new();
                    for (index, name) in kind.attributes.iter().enumerate() {
                        given.insert((*name).to_owned(), if index == 0 { value } else { other });
                    }
                    let mut toxic = kind.build(&given, rng());
                    let now = Instant::now();
                    toxic.push(chunk(&[7; 3000]), now);
                    toxic.end(now);
                    for _ in 0..10_000 {
                        if !matches!(toxic.pop(now), Pop::Chunk(_)) {
                            break;
                        }
                    }
                    toxic.update(&given, now);
                    toxic.release();
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_released_is_what_was_held_in_order() {
        for kind in kinds().iter().filter(|kind| !["timeout", "reset_peer"].contains(&kind.name)) {
            let given = attributes(&[
                ("latency", 1000),
                ("rate", 1),
                ("delay", 1000),
                ("average_size", 10),
                ("bytes", 1_000_000),
                ("loss_ppm", 1_000_000),
            ]);
            let mut toxic = kind.build(&kind.complete(&given), rng());
            let now = Instant::now();
            let mut sent = Vec::new();
            let mut got = Vec::new();
            for n in 0..20u8 {
                if toxic.has_room() {
                    sent.extend([n; 30]);
                    toxic.push(chunk(&[n; 30]), now);
                }
                if let Pop::Chunk(chunk) = toxic.pop(now) {
                    got.extend_from_slice(&chunk.bytes);
                }
            }
            got.extend(toxic.release().into_iter().flat_map(|chunk| chunk.bytes.to_vec()));
            assert_eq!(got, sent, "{}", kind.name);
        }
    }

    #[test]
    fn nonsense_is_refused_before_it_is_sent() {
        for (kind, pairs, wanted) in [
            (
                "latency",
                &[("latncy", 100)][..],
                "latency has no attribute \"latncy\"; it has: latency, jitter",
            ),
            ("latency", &[("latency", -1)], "latency latency is -1; it must lie between 0 and 4294967295"),
            ("slicer", &[], "slicer average_size must be at least 1"),
            (
                "slicer",
                &[("average_size", 1), ("size_variation", 5)],
                "slicer size_variation must be less than average_size",
            ),
            (
                "loss",
                &[("loss_ppm", 1_000_001)],
                "loss loss_ppm is a share in parts per million: at most 1000000",
            ),
            ("nothing", &[], "there is no toxic \"nothing\""),
        ] {
            assert_eq!(check_attributes(kind, &attributes(pairs)), Err(wanted.to_owned()));
        }
    }
}
