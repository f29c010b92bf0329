//! The dose meter: how much of what was declared arrived, 100 ms by 100 ms, at the proxy, at the canary and at the client.

use observation::BreakerState;
use serde::Serialize;

use crate::timeline::{FaultLife, Timeline, share};
use crate::witness;

/// Expected victims that a block of buckets needs before a block without any means something: the chance of none is below 1 in
/// 1 000.
const POWER: f64 = 7.0;
/// Share of blocks without a victim up to which the fault counts as there all the time.
const OUTSIDE_MAX: f64 = 0.1;
/// Length of a bucket, µs.
const BUCKET_US: u64 = 100_000;
/// Records of the proxy and ends of ops come this much later, µs.
const LATE_US: u64 = 200_000;

/// What arrived of one fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DoseMeter {
    /// Proxy.
    pub target: String,
    /// Share of requests that the fault should touch, 0-1; absent: it cannot be said.
    pub declared: Option<f64>,
    /// Stretches of the fault long enough to see it, over all witnesses that count against the fault.
    pub blocks: u32,
    /// Those in which nothing suffered.
    pub outside: u32,
    /// The same for the client's own ops, while its breaker was closed.
    pub client_blocks: u32,
    /// Those in which nothing suffered.
    pub client_outside: u32,
    /// Bucket by bucket.
    pub series: Vec<DoseBucket>,
}

/// Shares within one bucket, 0-1; absent: nobody was there to suffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DoseBucket {
    /// Its end, ms since fault on.
    pub at_ms: f64,
    /// Chunks at the proxy that a toxic touched.
    pub proxy: Option<f64>,
    /// Canaries that failed or were slow.
    pub canary: Option<f64>,
    /// The client's ops with their home there that failed or were slow, while its breaker was closed.
    pub client: Option<f64>,
}

/// One witness: victims and all, by bucket.
type Counted = Vec<(u64, u64)>;

impl DoseMeter {
    pub(crate) fn of(timeline: &Timeline<'_>, fault: &FaultLife) -> Option<Self> {
        let (on, off) = timeline.fault_window()?;
        let buckets = ((off - on) / BUCKET_US) as usize;
        let index = |at: u64| (at > on && at <= off).then(|| ((at - on - 1) / BUCKET_US) as usize);
        let mut canary: Counted = vec![(0, 0); buckets];
        for (at, touched) in witness::canaries(timeline, fault, on, off) {
            if let Some(bucket) = index(at).and_then(|index| canary.get_mut(index)) {
                *bucket = (bucket.0 + u64::from(touched), bucket.1 + 1);
            }
        }
        let mut proxy: Counted = vec![(0, 0); buckets];
        for dose in timeline.doses.iter().filter(|dose| dose.target == *witness::counter(fault)) {
            if let Some(bucket) = index(dose.at_us).and_then(|index| proxy.get_mut(index)) {
                *bucket =
                    (bucket.0.saturating_add(dose.chunks_touched), bucket.1.saturating_add(dose.chunks));
            }
        }
        let client = client(timeline, fault, (on, off), buckets);
        let declared = fault.effect.declared_share();
        let mut meter = Self {
            target: fault.target.clone(),
            declared,
            blocks: 0,
            outside: 0,
            client_blocks: 0,
            client_outside: 0,
            series: Vec::with_capacity(buckets),
        };
        for bucket in 0..buckets {
            let of = |counted: &Counted| {
                (counted[bucket].1 > 0).then(|| share(counted[bucket].0, counted[bucket].1))
            };
            meter.series.push(DoseBucket {
                at_ms: ((bucket + 1) as u64 * BUCKET_US) as f64 / 1e3,
                proxy: of(&proxy),
                canary: of(&canary),
                client: of(&client),
            });
        }
        if let Some(declared) = declared {
            // A canary's connection is its own: also of a share of connections each throws its own die.
            (meter.blocks, meter.outside) = blocks(&canary, declared);
            // A client may get rid of the connections that a die has hit.
            if !fault.effect.spares_connections() {
                (meter.client_blocks, meter.client_outside) = blocks(&client, declared);
            }
        }
        Some(meter)
    }

    /// Was it there all the time, as far as the canaries can tell?
    pub(crate) fn is_whole(&self) -> bool {
        f64::from(self.outside) <= (OUTSIDE_MAX * f64::from(self.blocks)).max(1.0)
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        format!("{} of {} stretches without an effect on a canary", self.outside, self.blocks)
    }
}

/// Adds buckets up until `share` of them should have hit somebody; counts such blocks, and those without a victim. What is left
/// at the end is too little to judge.
fn blocks(counted: &Counted, share: f64) -> (u32, u32) {
    let (mut blocks, mut outside, mut sum) = (0, 0, (0u64, 0u64));
    for (victims, all) in counted {
        sum = (sum.0.saturating_add(*victims), sum.1.saturating_add(*all));
        if sum.1 as f64 * share >= POWER {
            blocks += 1;
            outside += u32::from(sum.0 == 0);
            sum = (0, 0);
        }
    }
    (blocks, outside)
}

fn client(timeline: &Timeline<'_>, fault: &FaultLife, (on, off): (u64, u64), buckets: usize) -> Counted {
    let mut counted = vec![(0, 0); buckets];
    let Some(server) = &fault.server else { return counted };
    let slow_us = fault.effect.slow_us();
    // What ends in the first moments began before the fault.
    let from = on + timeline.op_timeout_us() + LATE_US;
    let mut was_closed = true;
    for (at, tick) in timeline.server(server, on, off) {
        let closed = tick.breaker == BreakerState::Closed;
        if at > from && closed && was_closed {
            let slow = tick.service.above(slow_us);
            let victims = slow.max(tick.ops.errors());
            let bucket = ((at - on - 1) / BUCKET_US) as usize;
            if let Some(bucket) = counted.get_mut(bucket) {
                *bucket = (bucket.0.saturating_add(victims), bucket.1.saturating_add(tick.ops.total()));
            }
        }
        was_closed = closed;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_judged_only_when_it_should_have_had_a_victim() {
        let full = vec![(2, 2); 40];
        assert_eq!(blocks(&full, 1.0), (10, 0));
        let ended_early: Counted = (0..40).map(|bucket| (if bucket < 20 { 2 } else { 0 }, 2)).collect();
        assert_eq!(blocks(&ended_early, 1.0), (10, 5));
        assert_eq!(blocks(&vec![(0, 2); 40], 0.02), (0, 0), "too few to say");
        assert_eq!(blocks(&vec![(0, 0); 40], 1.0), (0, 0), "nobody there");
    }
}
