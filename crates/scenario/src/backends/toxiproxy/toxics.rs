//! What a Toxiproxy does for each kind of fault.

use std::time::Duration;

use ::toxiproxy::wire::{Attributes, Stream};

use crate::faults::{FaultSpec, NamedToxic};

/// One toxic to add.
#[derive(Debug, Clone, PartialEq)]
pub struct ToxicPlan {
    /// Kind, for example `latency`.
    pub kind: String,
    /// Direction.
    pub stream: Stream,
    /// Share of links, 0-1.
    pub toxicity: f64,
    /// Its attributes, as the API takes them.
    pub attributes: Attributes,
}

impl From<&NamedToxic> for ToxicPlan {
    fn from(named: &NamedToxic) -> Self {
        Self {
            kind: named.toxic.clone(),
            stream: named.stream,
            toxicity: named.toxicity,
            attributes: named.attributes.clone(),
        }
    }
}

/// One act that applies a part of a fault to one proxy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// A toxic is added.
    Toxic(ToxicPlan),
    /// The proxy is switched off.
    Disable,
}

/// Everything that is done to a proxy for a fault, or why a proxy cannot give it.
pub(crate) fn acts(spec: &FaultSpec) -> Result<Vec<Act>, &'static str> {
    let one = |kind: &str, stream, toxicity, given: &[(&str, i64)]| {
        let (kind, attributes) = (kind.to_owned(), attributes(given));
        Act::Toxic(ToxicPlan { kind, stream, toxicity, attributes })
    };
    let down = |kind: &str, given: &[(&str, i64)]| vec![one(kind, Stream::Downstream, 1.0, given)];
    Ok(match spec {
        FaultSpec::Latency(fault) => {
            down("latency", &[("latency", millis(fault.latency)), ("jitter", millis(fault.jitter))])
        }
        FaultSpec::Loss(fault) => {
            let given = [("loss_ppm", (fault.share * 1e6).round() as i64), ("burst", fault.burst.into())];
            Stream::ALL.map(|stream| one("loss", stream, 1.0, &given)).into()
        }
        FaultSpec::LossKernel(_) => return Err("a proxy forwards streams and cannot drop packets"),
        FaultSpec::Stall(fault) => vec![one("bandwidth", Stream::Downstream, fault.share, &[("rate", 0)])],
        FaultSpec::Down(_) => vec![Act::Disable],
        FaultSpec::Reset(_) => down("reset_peer", &[("timeout", 0)]),
        FaultSpec::Bandwidth(fault) => down("bandwidth", &[("rate", whole(fault.kb_per_s))]),
        FaultSpec::Slicer(fault) => {
            let micros = i64::try_from(fault.delay.as_micros()).unwrap_or(i64::MAX);
            let (size, spread) = (whole(fault.average_size), whole(fault.size_variation));
            down("slicer", &[("average_size", size), ("size_variation", spread), ("delay", micros)])
        }
        FaultSpec::LimitData(fault) => down("limit_data", &[("bytes", whole(fault.bytes))]),
        FaultSpec::SlowClose(fault) => down("slow_close", &[("delay", millis(fault.delay))]),
        FaultSpec::Toxic(fault) => vec![Act::Toxic(fault.into())],
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Bandwidth, Latency, LimitData, Loss, Reset, Slicer, SlowClose, Stall};
    use crate::removal::ladder::harmless;

    #[test]
    fn a_toxic_by_its_own_name_is_added_as_it_is_written() {
        let attributes = attributes(&[("latency", 5), ("jitter", 1)]);
        let named = NamedToxic {
            toxic: "mc_delay".to_owned(),
            stream: Stream::Downstream,
            toxicity: 0.5,
            attributes: attributes.clone(),
        };
        let plan = ToxicPlan {
            kind: named.toxic.clone(),
            stream: named.stream,
            toxicity: named.toxicity,
            attributes,
        };
        assert_eq!(acts(&FaultSpec::Toxic(named)), Ok(vec![Act::Toxic(plan)]));
    }

    #[test]
    fn every_toxic_of_every_kind_is_one_that_the_server_takes() {
        let ms = Duration::from_millis;
        for spec in [
            FaultSpec::Latency(Latency { latency: ms(200), jitter: ms(20) }),
            FaultSpec::Loss(Loss { share: 1.0, burst: 1 }),
            FaultSpec::Stall(Stall { share: 0.1 }),
            FaultSpec::Reset(Reset),
            FaultSpec::Bandwidth(Bandwidth { kb_per_s: 64 }),
            FaultSpec::Slicer(Slicer { average_size: 10, size_variation: 2, delay: ms(1) }),
            FaultSpec::LimitData(LimitData { bytes: 1000 }),
            FaultSpec::SlowClose(SlowClose { delay: ms(100) }),
            FaultSpec::Toxic(NamedToxic {
                toxic: "latency".to_owned(),
                stream: Stream::Upstream,
                toxicity: 1.0,
                attributes: attributes(&[("latency", 100)]),
            }),
        ] {
            for act in acts(&spec).unwrap() {
                let Act::Toxic(plan) = act else { panic!("{spec:?}") };
                ::toxiproxy::check_attributes(&plan.kind, &plan.attributes).unwrap();
                let harmless = harmless(&plan.kind);
                if let Some(harmless) = &harmless {
                    ::toxiproxy::check_attributes(&plan.kind, harmless).unwrap();
                }
                let held = ["latency", "loss", "slicer", "limit_data", "slow_close"].contains(&&*plan.kind);
                assert_eq!(harmless.is_some(), held, "{plan:?}");
                // The one update that ends a stock server's process.
                assert!(plan.kind != "bandwidth" || harmless.is_none());
            }
        }
    }
}
