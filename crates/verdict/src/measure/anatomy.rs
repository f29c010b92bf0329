//! Recovery in named parts: what came back after what. Each part begins where the one before has ended, so that they sum to the
//! whole; what came back earlier than its predecessor takes no time.

use observation::{BreakerState, Outcome};
use serde::Serialize;

use crate::statistics::recovery::p99_limit;
use crate::timeline::{Sum, Timeline, share};

/// A step of the recovery.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecoveryPart {
    /// What came back.
    pub name: &'static str,
    /// Since fault off, ms: the end of the part before.
    pub from_ms: f64,
    /// Since fault off, ms: it was back, or the run was over.
    pub to_ms: f64,
    /// It did come back within the run.
    pub reached: bool,
}

/// A hit ratio is back when it is at most so much below what it was.
const HIT_RATIO_BACK: f64 = 0.01;
/// Length of the windows for hit ratio and p99, µs.
const WINDOW_US: u64 = 1_000_000;
/// Step between them, µs.
const STEP_US: u64 = 100_000;

/// The parts, from fault off on; none without a fault.
pub(super) fn anatomy(timeline: &Timeline<'_>, goodput_back_ms: Option<f64>) -> Vec<RecoveryPart> {
    let (Some(lifted), Some((from, to))) = (timeline.lifted(), timeline.baseline_window()) else {
        return Vec::new();
    };
    if timeline.is_control() {
        return Vec::new();
    }
    let end = timeline.end.map_or(lifted, |end| end.at_us);
    let faulted = timeline.faulted();
    let opened = timeline.fault_window().is_some_and(|(on, off)| {
        timeline.breakers.iter().any(|t| t.to == BreakerState::Open && t.at_us >= on && t.at_us <= off)
    });
    let all = |of: &dyn Fn(&str) -> Option<u64>| {
        faulted.iter().map(|server| of(server)).collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let wire = |server: &str| {
        let tick = timeline.server(server, lifted, end).find(|(_, tick)| tick.attempts.ok() > 0);
        let probe =
            timeline.probes.iter().find(|probe| probe.ok && probe.server == server && probe.at_us > lifted);
        [tick.map(|(at, _)| at), probe.map(|probe| probe.at_us)].into_iter().flatten().min()
    };
    let half_open = |server: &str| {
        let mut probes = timeline.probes.iter().filter(|probe| probe.ok && probe.server == server);
        probes.find(|probe| probe.at_us > lifted).map(|probe| probe.at_us)
    };
    let closed = |server: &str| {
        let mut of = timeline.breakers.iter().filter(|t| t.server == server);
        let last_before = of.clone().rfind(|t| t.at_us <= lifted).map(|t| t.to);
        match last_before {
            None | Some(BreakerState::Closed) => Some(lifted),
            Some(_) => of.find(|t| t.at_us > lifted && t.to == BreakerState::Closed).map(|t| t.at_us),
        }
    };
    let pool = |server: &str| {
        // The least that it had while all was well is enough; so is a pool of which nobody wants more.
        let least = timeline.server(server, from, to).map(|(_, tick)| tick.pool.total).min().unwrap_or(0);
        let wanted = |tick: &observation::ServerTick| {
            tick.pool.waiting > 0 || tick.attempts.get(Outcome::PoolExhausted) > 0
        };
        let last = timeline.server(server, lifted, end).filter(|(_, tick)| wanted(tick)).last();
        let unwanted = last.map_or(lifted, |(at, _)| at);
        let full = timeline.server(server, lifted, end).find(|(_, tick)| tick.pool.total >= least);
        full.map(|(at, _)| at.min(unwanted)).or((unwanted < end).then_some(unwanted))
    };
    let mut steps = vec![("first success on the wire", all(&wire))];
    if opened {
        steps.push(("first success of a half-open breaker", all(&half_open)));
        steps.push(("breakers closed", all(&closed)));
    }
    steps.push(("pool back", all(&pool)));
    steps.push(("hit ratio back", hit_ratio_back(timeline, (from, to), (lifted, end))));
    steps.push(("p99 back", p99_back(timeline, (from, to), (lifted, end))));
    steps.push(("goodput back for good", goodput_back_ms.map(|ms| lifted.saturating_add((ms * 1e3) as u64))));
    let mut parts: Vec<RecoveryPart> = Vec::new();
    let since = |at: u64| at.saturating_sub(lifted) as f64 / 1e3;
    for (name, at) in steps {
        let from_ms = parts.last().map_or(0.0, |part| part.to_ms);
        let to_ms = since(at.unwrap_or(end)).max(from_ms);
        parts.push(RecoveryPart { name, from_ms, to_ms, reached: at.is_some() });
    }
    parts
}

/// The end of the first window after `lifted` for which `is_back`; windows without ops are not.
fn first_window(
    timeline: &Timeline<'_>,
    (lifted, end): (u64, u64),
    is_back: impl Fn(&Sum) -> bool,
) -> Option<u64> {
    let mut from = lifted;
    while from + WINDOW_US <= end {
        let sum = timeline.sum(from, from + WINDOW_US);
        if sum.all().total() > 0 && is_back(&sum) {
            // Back from the window's beginning on.
            return Some(from);
        }
        from += STEP_US;
    }
    None
}

fn hit_ratio_back(timeline: &Timeline<'_>, (from, to): (u64, u64), after: (u64, u64)) -> Option<u64> {
    let ratio = |sum: &Sum| {
        let all = sum.all();
        let reads = all.get(Outcome::Hit).saturating_add(all.get(Outcome::Miss));
        (reads > 0).then(|| share(all.get(Outcome::Hit), reads))
    };
    let before = ratio(&timeline.sum(from, to));
    first_window(timeline, after, |sum| match (before, ratio(sum)) {
        (Some(before), Some(now)) => now >= before - HIT_RATIO_BACK,
        // A load without reads.
        (None, _) => true,
        (Some(_), None) => false,
    })
}

fn p99_back(timeline: &Timeline<'_>, (from, to): (u64, u64), after: (u64, u64)) -> Option<u64> {
    let p99_ms = |sum: &Sum| Some(sum.latency.quantile_us(0.99)? as f64 / 1e3);
    let limit = p99_limit(p99_ms(&timeline.sum(from, to))?);
    first_window(timeline, after, |sum| p99_ms(sum).is_some_and(|p99| p99 <= limit))
}
