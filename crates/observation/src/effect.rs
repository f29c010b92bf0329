//! What each kind of fault does to a request that meets it: the same for the runner, who shows it, and for the judge. What they
//! ask about a kind is answered here and nowhere else.

use std::collections::BTreeMap;

use crate::{Fault, FaultKind};

/// A reply slower than this is delayed, unless the fault says otherwise, µs.
pub const SLOW_US: u64 = 100_000;

/// Numbers of a fault, as in [`Fault::params`].
pub type Params = BTreeMap<String, f64>;

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// What an attempt at the faulted server meets.
    pub meets: Meets,
    /// All connections of the server end in one instant.
    pub cuts_connections: bool,
    /// Who counts what it touches.
    pub counted: Counted,
}

/// What an attempt at a faulted server meets. Shares are 0-1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meets {
    /// The delay that lost packets cause, with this share of them lost each way; no byte is lost.
    LossDelay {
        /// Share of packets.
        loss: f64,
        /// Mean run of lost packets; 1: independent.
        burst: f64,
    },
    /// Packets are lost, those that open a connection too.
    LostPackets {
        /// Share of packets each way.
        loss: f64,
    },
    /// The reply is late.
    Late {
        /// By how much, ms.
        latency_ms: f64,
        /// Uniform around it, ms.
        jitter_ms: f64,
    },
    /// The connection hangs, if it is one of these.
    Hangs {
        /// Share of connections.
        share: f64,
    },
    /// No connection is accepted.
    Refused,
    /// It cannot be said.
    Unknown,
}

/// Who counts what a fault touches, and how much that proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The proxy, if it counts at all, under the proxy's name.
    ByProxy,
    /// The proxy; and as it is not known what the fault does to a canary or to an op, no other witness proves it.
    ByProxyAlone,
    /// The kernel, by packets, under the fault's own id.
    ByKernel,
    /// Nobody: what is refused passes no counter.
    ByNobody,
}

impl Effect {
    /// What a fault of this kind, with these numbers, does.
    pub fn of(kind: &FaultKind, params: &Params) -> Self {
        match kind {
            FaultKind::Latency => Self::seen_by_proxy(late(params)),
            // The kind is what is meant, the numbers are of what is given: a stock Toxiproxy gives a stall instead.
            FaultKind::Loss => Self::seen_by_proxy(loss_delay(params).or(hangs(params))),
            FaultKind::LossKernel => {
                let loss = params.get("loss").map(|loss| Meets::LostPackets { loss: *loss });
                Self { counted: Counted::ByKernel, ..Self::seen_by_proxy(loss) }
            }
            FaultKind::Stall => Self::seen_by_proxy(hangs(params)),
            FaultKind::Down => Self {
                cuts_connections: true,
                counted: Counted::ByNobody,
                ..Self::seen_by_proxy(Some(Meets::Refused))
            },
            FaultKind::Reset => Self { cuts_connections: true, ..Self::seen_by_proxy(None) },
            FaultKind::Bandwidth | FaultKind::Slicer | FaultKind::LimitData | FaultKind::SlowClose => {
                Self::seen_by_proxy(None)
            }
            FaultKind::Toxic => Self { counted: Counted::ByProxyAlone, ..Self::seen_by_proxy(None) },
            // Of a kind that is not known its numbers may tell.
            FaultKind::Other(_) => Self::seen_by_proxy(loss_delay(params).or(late(params)).or(hangs(params))),
        }
    }

    fn seen_by_proxy(meets: Option<Meets>) -> Self {
        let meets = meets.unwrap_or(Meets::Unknown);
        Self { meets, cuts_connections: false, counted: Counted::ByProxy }
    }

    /// Share (0-1) of requests on connections of their own that it should touch; `None`: it cannot be said.
    pub fn declared_share(&self) -> Option<f64> {
        match self.meets {
            // Request and reply.
            Meets::LossDelay { loss, .. } => Some(1.0 - (1.0 - loss).powi(2)),
            // As a connection of its own is opened by packets, really lost ones count twice.
            Meets::LostPackets { loss } => Some(1.0 - (1.0 - loss).powi(4)),
            Meets::Late { .. } | Meets::Refused => Some(1.0),
            Meets::Hangs { share } => Some(share),
            Meets::Unknown => None,
        }
    }

    /// A reply that takes this much longer than usual is one that the fault has delayed, µs.
    pub fn slow_us(&self) -> u64 {
        match self.meets {
            Meets::Late { latency_ms, .. } => (latency_ms * 500.0) as u64,
            Meets::LossDelay { .. }
            | Meets::LostPackets { .. }
            | Meets::Hangs { .. }
            | Meets::Refused
            | Meets::Unknown => SLOW_US,
        }
    }

    /// Does it leave some connections alone for good? A client that drops those that it hit has then escaped it.
    pub fn spares_connections(&self) -> bool {
        matches!(self.meets, Meets::Hangs { share } if share < 1.0)
    }
}

impl Fault {
    /// What it does.
    pub fn effect(&self) -> Effect {
        Effect::of(&self.kind, &self.params)
    }
}

fn late(params: &Params) -> Option<Meets> {
    let jitter_ms = params.get("jitter_ms").copied().unwrap_or(0.0);
    params.get("latency_ms").map(|latency| Meets::Late { latency_ms: *latency, jitter_ms })
}

fn loss_delay(params: &Params) -> Option<Meets> {
    let burst = params.get("burst").copied().unwrap_or(1.0);
    params.get("loss").map(|loss| Meets::LossDelay { loss: *loss, burst })
}

fn hangs(params: &Params) -> Option<Meets> {
    params.get("share").map(|share| Meets::Hangs { share: *share })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(kind: &str, pairs: &[(&str, f64)]) -> Effect {
        let params = pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Effect::of(&kind.into(), &params)
    }

    #[test]
    fn a_share_is_declared_where_it_can_be_said() {
        let loss = [("loss", 0.1), ("burst", 1.0)];
        let share = |kind, params: &[(&str, f64)]| effect(kind, params).declared_share();
        assert!((share("loss", &loss).unwrap() - 0.19).abs() < 1e-9);
        assert!((share("loss_kernel", &loss).unwrap() - 0.3439).abs() < 1e-9);
        assert_eq!(share("stall", &[("share", 0.25)]), Some(0.25));
        assert_eq!(share("latency", &[("latency_ms", 200.0)]), Some(1.0));
        assert_eq!(share("down", &[]), Some(1.0));
        assert_eq!(share("bandwidth", &[("rate_kb_per_s", 5.0)]), None);
        assert_eq!(share("toxic", &[("toxicity", 1.0), ("attribute.latency", 5.0)]), None);
    }

    #[test]
    fn half_of_a_latency_shows_it() {
        let slow_us = |params: &[(&str, f64)]| effect("latency", params).slow_us();
        assert_eq!(slow_us(&[("latency_ms", 200.0)]), 100_000);
        assert_eq!(slow_us(&[("latency_ms", 50.0)]), 25_000);
        assert_eq!(slow_us(&[]), SLOW_US);
    }

    #[test]
    fn a_stall_that_stands_in_for_a_loss_is_a_stall() {
        assert_eq!(effect("loss", &[("share", 0.25)]).meets, Meets::Hangs { share: 0.25 });
        assert!(effect("loss", &[("share", 0.25)]).spares_connections());
        assert!(!effect("loss", &[("share", 1.0)]).spares_connections());
    }

    #[test]
    fn the_numbers_of_an_unknown_kind_tell_what_it_does() {
        let late = Meets::Late { latency_ms: 5.0, jitter_ms: 0.0 };
        assert_eq!(effect("of_tomorrow", &[("latency_ms", 5.0)]).meets, late);
        assert_eq!(effect("of_tomorrow", &[]).meets, Meets::Unknown);
    }
}
