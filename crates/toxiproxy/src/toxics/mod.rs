//! The built-in toxics: one file each, one list.

mod bandwidth;
mod blackhole_size;
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

use crate::toxic::{Chunk, Pop, ToxicKind};
use crate::wire::Attributes;

/// All built-in kinds.
pub fn kinds() -> &'static [ToxicKind] {
    const KINDS: &[ToxicKind] = &[
        bandwidth::KIND,
        blackhole_size::KIND,
        latency::KIND,
        limit_data::KIND,
        loss::KIND,
        noop::KIND,
        reset_peer::KIND,
        slicer::KIND,
        slow_close::KIND,
        timeout::KIND,
    ];
    KINDS
}

/// The built-in kind of that name.
pub(crate) fn kind(name: &str) -> Option<&'static ToxicKind> {
    kinds().iter().find(|kind| kind.name == name)
}

/// Refuses what would kill a stock server or do nothing that was meant; a kind that is not built in is for its server to judge.
pub fn check_attributes(kind: &str, attributes: &Attributes) -> Result<(), String> {
    self::kind(kind).map_or(Ok(()), |kind| kind.check_all(attributes))
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
    use bytes::Bytes;
    use rand_chacha::ChaCha8Rng;
    use tokio::time::Instant;

    use super::*;
    use crate::toxic::{Behaviour, Build};

    /// Attributes from pairs.
    pub(super) fn attributes(pairs: &[(&str, i64)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
    }

    /// A chunk of these bytes, stamped now.
    pub(super) fn chunk(bytes: &[u8]) -> Chunk {
        Chunk { bytes: Bytes::copy_from_slice(bytes), stamp: Instant::now() }
    }

    pub(super) fn rng() -> ChaCha8Rng {
        rand::SeedableRng::seed_from_u64(7)
    }

    pub(super) fn build(kind: &ToxicKind, attributes: &Attributes) -> Box<dyn Behaviour> {
        match kind.build {
            Build::Link(build) => build(attributes, rng()),
            Build::Connection(_) => unreachable!("no built-in kind"),
        }
    }

    #[tokio::test]
    async fn no_attributes_whatever_make_a_toxic_panic_or_spin() {
        let values = [i64::MIN, -1, 0, 1, 100, i64::from(u32::MAX), i64::MAX];
        for kind in kinds() {
            for value in values {
                for other in values {
                    let mut given = Attributes::new();
                    for (index, param) in kind.params.iter().enumerate() {
                        let value = if index == 0 { value } else { other };
                        given.insert(param.name.to_owned(), value.into());
                    }
                    let mut toxic = build(kind, &given);
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
            let mut toxic = build(kind, &kind.complete(&given));
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

    #[tokio::test]
    async fn every_toxic_stops_its_source_at_a_bound() {
        const BYTES_MAX: usize = 33 * 1024 * 1024;
        for kind in kinds().iter().filter(|kind| !["timeout", "reset_peer"].contains(&kind.name)) {
            // What holds, and what passes everything: a receiver that does not read is as good as a hold.
            for value in [0, 1, 1_000_000] {
                let given = kind.params.iter().map(|param| (param.name.to_owned(), value.into())).collect();
                let mut toxic = build(kind, &given);
                let (mut bytes, now) = (0, Instant::now());
                while toxic.has_room() && bytes <= BYTES_MAX {
                    toxic.push(chunk(&[7; 32 * 1024]), now);
                    bytes += 32 * 1024;
                }
                assert!(bytes <= BYTES_MAX, "{} with {value}", kind.name);
            }
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
        ] {
            assert_eq!(check_attributes(kind, &attributes(pairs)), Err(wanted.to_owned()));
        }
        let text = [("latency".to_owned(), "100".into())].into();
        let refused = check_attributes("latency", &text);
        assert_eq!(refused, Err("latency latency is \"100\"; it must be a whole number".to_owned()));
        assert_eq!(check_attributes("somebody_elses", &text), Ok(()));
    }
}
