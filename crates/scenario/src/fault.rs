//! What a fault means, and the toxics that give it.

use std::collections::BTreeMap;
use std::time::Duration;

use toxiproxy::wire::{Attributes, Stream};

/// What a scenario means. Shares are 0-1.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Replies are late by `latency` ± `jitter`.
    Latency {
        /// Added to each reply.
        latency: Duration,
        /// Uniform around it.
        jitter: Duration,
    },
    /// The delay that packet loss causes on a reliable stream, both ways.
    Loss {
        /// Share of lost packets per direction.
        share: f64,
        /// Mean run of lost packets; 1: independent.
        burst: u32,
    },
    /// Packets are really lost, both ways, by the kernel's packet filter.
    LossKernel {
        /// Share of lost packets per direction.
        share: f64,
        /// Network namespace in which client and proxy are; `None`: this process's.
        netns: Option<String>,
    },
    /// A share of connections hangs, the others are well.
    Stall {
        /// Share of connections.
        share: f64,
    },
    /// Nobody listens.
    Down,
    /// Connections are reset at their first request.
    Reset,
    /// Replies pass at a rate, per connection.
    Bandwidth {
        /// KB/s, 1 KB = 1000 bytes.
        kb_per_s: u64,
    },
    /// Replies come in small pieces.
    Slicer {
        /// Bytes of a piece.
        average_size: u64,
        /// Spread around it.
        size_variation: u64,
        /// After each piece.
        delay: Duration,
    },
    /// Connections end after so many reply bytes.
    LimitData {
        /// Bytes.
        bytes: u64,
    },
    /// A toxic of the proxy, by its own name: those that have no meaning of their own here, `mc_*` above all.
    Toxic {
        /// Kind, for example `mc_stall`.
        kind: String,
        /// Direction.
        stream: Stream,
        /// Share of connections that it acts on.
        toxicity: f64,
        /// As the proxy's API takes them.
        attributes: Attributes,
    },
    /// The end of a connection is late.
    SlowClose {
        /// By how much.
        delay: Duration,
    },
}

/// One toxic to add.
#[derive(Debug, Clone, PartialEq)]
pub struct ToxicPlan {
    /// Kind, for example `latency`.
    pub kind: String,
    /// Direction.
    pub stream: Stream,
    /// Share of links.
    pub toxicity: f64,
    /// Its numbers.
    pub attributes: Attributes,
    /// The same toxic without effect, to be set before it is deleted: deleting a latency that holds data can hang a stock
    /// server. `None`: it is deleted at once. Above all `bandwidth`: a stock server that holds a chunk and finds a larger rate
    /// slices beyond the chunk's end, and the whole process dies.
    pub harmless: Option<Attributes>,
}

/// One act that applies a part of a fault to one proxy.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A toxic is added.
    Toxic(ToxicPlan),
    /// The proxy is switched off.
    Disable,
    /// The kernel loses a share (0-1) of the packets from and to its port.
    Lose(f64),
}

/// A size that cuts nothing.
const WHOLE: i64 = 1 << 30;

/// Attributes under which a toxic of `kind` has no effect, to be set before it is deleted; see [`ToxicPlan::harmless`].
pub(crate) fn harmless(kind: &str) -> Option<Attributes> {
    let pairs: &[(&str, i64)] = match kind {
        "latency" => &[("latency", 0), ("jitter", 0)],
        "loss" => &[("loss_ppm", 0), ("burst", 1)],
        "slicer" => &[("average_size", WHOLE), ("size_variation", 0), ("delay", 0)],
        "limit_data" => &[("bytes", WHOLE)],
        "slow_close" => &[("delay", 0)],
        _ => return None,
    };
    Some(attributes(pairs))
}

fn attributes(pairs: &[(&str, i64)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Meaning {
    /// Its name in scenario files.
    pub fn name(&self) -> &'static str {
        match self {
            Meaning::Latency { .. } => "latency",
            Meaning::Loss { .. } => "loss",
            Meaning::LossKernel { .. } => "loss_kernel",
            Meaning::Stall { .. } => "stall",
            Meaning::Down => "down",
            Meaning::Reset => "reset",
            Meaning::Bandwidth { .. } => "bandwidth",
            Meaning::Slicer { .. } => "slicer",
            Meaning::LimitData { .. } => "limit_data",
            Meaning::SlowClose { .. } => "slow_close",
            Meaning::Toxic { .. } => "toxic",
        }
    }

    /// In honest words.
    pub fn describe(&self) -> String {
        let percent = |share: f64| format!("{} %", (share * 1000.0).round() / 10.0);
        match self {
            Meaning::Latency { latency, jitter } if jitter.is_zero() => format!("replies {latency:?} late"),
            Meaning::Latency { latency, jitter } => format!("replies {latency:?} ± {jitter:?} late"),
            Meaning::Loss { share, .. } if *share >= 1.0 => {
                "loss-like delay at 100 % loss: everything is held, nothing is refused".to_owned()
            }
            Meaning::Loss { share, burst } => {
                let runs = if *burst > 1 { format!(" in runs of {burst}") } else { String::new() };
                format!(
                    "loss-like delay of {} of packets each way{runs}; no byte is dropped",
                    percent(*share)
                )
            }
            Meaning::LossKernel { share, netns } => {
                let place = netns.as_ref().map(|netns| format!(", in the network namespace {netns}"));
                let place = place.unwrap_or_default();
                format!("real loss of {} of packets each way, by nftables{place}", percent(*share))
            }
            Meaning::Stall { share } => {
                format!("connection stall, share {}: these connections hang", percent(*share))
            }
            Meaning::Down => "refused: nobody listens".to_owned(),
            Meaning::Reset => "new connections are reset at their first request".to_owned(),
            Meaning::Bandwidth { kb_per_s } => format!("replies at {kb_per_s} KB/s per connection"),
            Meaning::Slicer { average_size, .. } => {
                format!("replies in pieces of about {average_size} bytes")
            }
            Meaning::LimitData { bytes } => format!("connections end after {bytes} reply bytes"),
            Meaning::SlowClose { delay } => format!("connections end {delay:?} late"),
            Meaning::Toxic { kind, stream, toxicity, attributes } => {
                let given = attributes.iter().map(|(name, value)| format!(", {name} {value}"));
                let given: String = given.collect();
                format!(
                    "the toxic {kind}, {}, on {} of connections{given}",
                    stream.name(),
                    percent(*toxicity)
                )
            }
        }
    }

    /// Its numbers, as the journal and the judge know them.
    pub fn params(&self) -> BTreeMap<String, f64> {
        let seconds = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        let pairs: Vec<(&str, f64)> = match self {
            Meaning::Latency { latency, jitter } => {
                vec![("latency_ms", seconds(latency)), ("jitter_ms", seconds(jitter))]
            }
            Meaning::Loss { share, burst } => vec![("loss", *share), ("burst", f64::from(*burst))],
            Meaning::LossKernel { share, .. } => vec![("loss", *share)],
            Meaning::Stall { share } => vec![("share", *share)],
            Meaning::Down | Meaning::Reset => vec![],
            Meaning::Bandwidth { kb_per_s } => vec![("rate_kb_per_s", *kb_per_s as f64)],
            Meaning::Slicer { average_size, delay, .. } => {
                vec![("average_size_bytes", *average_size as f64), ("delay_ms", seconds(delay))]
            }
            Meaning::LimitData { bytes } => vec![("bytes", *bytes as f64)],
            Meaning::SlowClose { delay } => vec![("delay_ms", seconds(delay))],
            // Under names that the judge cannot take for those of a meaning that it knows.
            Meaning::Toxic { toxicity, attributes, .. } => {
                let numbers = attributes
                    .iter()
                    .filter_map(|(name, value)| Some((format!("attribute.{name}"), value.number()? as f64)));
                return numbers.chain([("toxicity".to_owned(), *toxicity)]).collect();
            }
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Everything that is to be done for it.
    pub fn acts(&self) -> Vec<Act> {
        match self {
            Meaning::Down => vec![Act::Disable],
            Meaning::LossKernel { share, .. } => vec![Act::Lose(*share)],
            toxic => toxic.toxics().into_iter().map(Act::Toxic).collect(),
        }
    }

    /// The toxics that give it; none for `down`, which is a switched-off proxy, and for `loss_kernel`, which is no proxy's.
    pub fn toxics(&self) -> Vec<ToxicPlan> {
        let one = |kind: &str, stream, toxicity, given: &[(&str, i64)]| ToxicPlan {
            kind: String::from(kind),
            stream,
            toxicity,
            attributes: attributes(given),
            harmless: harmless(kind),
        };
        let down = Stream::Downstream;
        match self {
            Meaning::Latency { latency, jitter } => {
                let given = [("latency", millis(*latency)), ("jitter", millis(*jitter))];
                vec![one("latency", down, 1.0, &given)]
            }
            Meaning::Loss { share, burst } => {
                let given = [("loss_ppm", (share * 1e6).round() as i64), ("burst", i64::from(*burst))];
                Stream::ALL.map(|stream| one("loss", stream, 1.0, &given)).into()
            }
            Meaning::Stall { share } => {
                vec![one("bandwidth", down, *share, &[("rate", 0)])]
            }
            Meaning::Down | Meaning::LossKernel { .. } => vec![],
            Meaning::Reset => vec![one("reset_peer", down, 1.0, &[("timeout", 0)])],
            Meaning::Bandwidth { kb_per_s } => {
                vec![one("bandwidth", down, 1.0, &[("rate", whole(*kb_per_s))])]
            }
            Meaning::Slicer { average_size, size_variation, delay } => {
                let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
                let (size, spread) = (whole(*average_size), whole(*size_variation));
                let given = [("average_size", size), ("size_variation", spread), ("delay", micros)];
                vec![one("slicer", down, 1.0, &given)]
            }
            Meaning::LimitData { bytes } => {
                vec![one("limit_data", down, 1.0, &[("bytes", whole(*bytes))])]
            }
            Meaning::Toxic { kind, stream, toxicity, attributes } => vec![ToxicPlan {
                kind: kind.clone(),
                stream: *stream,
                toxicity: *toxicity,
                attributes: attributes.clone(),
                harmless: harmless(kind),
            }],
            Meaning::SlowClose { delay } => {
                vec![one("slow_close", down, 1.0, &[("delay", millis(*delay))])]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_toxic_of_every_meaning_is_one_that_the_server_takes() {
        let ms = Duration::from_millis;
        for meaning in [
            Meaning::Latency { latency: ms(200), jitter: ms(20) },
            Meaning::Loss { share: 1.0, burst: 1 },
            Meaning::Stall { share: 0.1 },
            Meaning::Reset,
            Meaning::Bandwidth { kb_per_s: 64 },
            Meaning::Slicer { average_size: 10, size_variation: 2, delay: ms(1) },
            Meaning::LimitData { bytes: 1000 },
            Meaning::SlowClose { delay: ms(100) },
            Meaning::Toxic {
                kind: "latency".to_owned(),
                stream: Stream::Upstream,
                toxicity: 1.0,
                attributes: attributes(&[("latency", 100)]),
            },
        ] {
            for plan in meaning.toxics() {
                toxiproxy::check_attributes(&plan.kind, &plan.attributes).unwrap();
                if let Some(harmless) = &plan.harmless {
                    toxiproxy::check_attributes(&plan.kind, harmless).unwrap();
                }
                let held = ["latency", "loss", "slicer", "limit_data", "slow_close"].contains(&&*plan.kind);
                assert_eq!(plan.harmless.is_some(), held, "{plan:?}");
                // The one update that ends a stock server's process.
                assert!(plan.kind != "bandwidth" || plan.harmless.is_none());
            }
        }
    }
}
