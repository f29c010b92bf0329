//! What was measured. Nothing here knows what was expected.

mod anatomy;
mod breakers;
mod connections;
mod reported;
mod routing;
pub(crate) mod seconds;

use std::collections::BTreeMap;

use observation::{BreakerState, NoteCode, Outcome, PhaseKind};
use serde::Serialize;

use crate::ERROR_CLASSES;
use crate::dose::DoseMeter;
use crate::pair::{BeforeAfter, FaultWidth, PhaseLatency};
use crate::statistics::bootstrap::{self, NoRatio};
use crate::statistics::{Baseline, Interval, Second, baseline, mad_sigma, median, recovery};
use crate::timeline::{Sum, Timeline, share};
use seconds::{goodput, seconds};

pub use anatomy::RecoveryPart;
pub use breakers::BreakerMeasures;
pub use connections::ConnectionMeasures;
pub use reported::Reported;
pub use routing::RoutingMeasures;

/// Seed of the resampling: any, but always the same, so that judging again gives the same bytes.
const SEED: u64 = 1;
/// Length of a tick, µs.
const TICK_US: u64 = 100_000;

/// After goodput was back: so many seconds below this share of the baseline, or with so many more failed ops, are a relapse.
pub(crate) const RELAPSE_S: usize = 3;
const RELAPSE: f64 = 0.9;
const RELAPSE_ERRORS: f64 = 0.02;
/// The recovery's last third, but at least so many seconds.
const TAIL_S: usize = 3;
/// Ops at least for a p90.
const P90_SAMPLES: u64 = 200;

/// Longest time that the settings allow an op, ms: all its attempts, within its deadline.
pub(crate) fn op_limit_ms(settings: &observation::Settings) -> Option<f64> {
    let attempts = settings.op_timeout_ms as f64 * (f64::from(settings.retries) + 1.0);
    settings.total_timeout_ms.map(|total| attempts.min(total as f64))
}

/// Numbers of one run. Times are ms; `None`: it did not happen, or cannot be known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Measures {
    /// What the rules say of the baseline; absent: it broke one.
    #[serde(skip)]
    pub(crate) baseline: Option<Baseline>,
    /// Which it broke, and whether that makes the run invalid.
    #[serde(skip)]
    pub(crate) unfit: Option<(bool, String)>,
    /// Goodputs of the baseline's seconds.
    #[serde(skip)]
    before: Vec<f64>,
    /// Ops with their home on a healthy server that ended under the fault.
    #[serde(skip)]
    pub(crate) healthy_ops: u64,
    /// Ops that ended under the fault, at any server.
    #[serde(skip)]
    pub(crate) fault_ops: u64,
    /// Writes that were acknowledged.
    #[serde(skip)]
    pub(crate) acknowledged: u64,
    /// What there is to measure.
    pub reported: Reported,
    /// Median of the baseline's one-second goodputs, ops/s.
    pub baseline_goodput: f64,
    /// Their spread, 1.4826 * MAD, ops/s.
    pub baseline_sigma: f64,
    /// Share of failed ops in the baseline.
    pub baseline_error_share: f64,
    /// Offered ops/s in the baseline.
    pub baseline_offered: f64,
    /// Share of late or dropped starts in the baseline.
    pub baseline_missed_share: f64,
    /// Mean latency from the actual start in the baseline, ms.
    pub baseline_service_ms: f64,
    /// Share of ops whose home is a faulted server, in the baseline.
    pub faulted_share: f64,
    /// Length of the fault, ms.
    pub fault_ms: f64,
    /// Fault on to the first tick with a failed op.
    pub time_to_error_ms: Option<f64>,
    /// Fault on to the breaker open, by faulted server.
    pub time_to_trip_ms: BTreeMap<String, Option<f64>>,
    /// Transitions to open of servers without a fault, from fault on to the end.
    pub trips_elsewhere: u64,
    /// Mean goodput under the fault, after the first second or a third of it, over the baseline.
    pub goodput_retained: Option<f64>,
    /// Where it lies, at 99 %; absent where there are too few seconds for that.
    pub goodput_interval: Option<Interval>,
    /// Share of failed ops in the same interval.
    pub error_share: f64,
    /// The same by class, over the whole fault.
    pub error_share_by_class: BTreeMap<&'static str, f64>,
    /// Share of failed ops with their home on a healthy server, whole fault.
    pub healthy_error_share: f64,
    /// 90th percentile of ops with their home on a healthy server, from the intended start: before and under the fault, ms. Not
    /// the 99th: each key of a multi-get takes as long as the slowest of them, and some keys are at the faulted server.
    pub healthy_p90_ms: Option<BeforeAfter>,
    /// The fault began within this time before its acknowledgement, and ended within this time before its lift was
    /// acknowledged, ms: the uncertainty of every time that counts from there.
    pub fault_width_ms: FaultWidth,
    /// Breakers.
    pub breakers: BreakerMeasures,
    /// Connections.
    pub connections: ConnectionMeasures,
    /// Attempts beside ops.
    pub routing: RoutingMeasures,
    /// Reads of what was no longer there.
    pub stale: StaleMeasures,
    /// Ops that took longer than half as much again as their settings allow, and 100 ms; absent without such a setting.
    pub beyond_deadline: Option<u64>,
    /// The slowest op from its actual start, ms.
    pub slowest_ms: f64,
    /// What arrived of each fault.
    pub dose: Vec<DoseMeter>,
    /// Recovery in named parts that sum to the whole.
    pub recovery: Vec<RecoveryPart>,
    /// Mean goodput of the last third of the recovery over the baseline's.
    pub goodput_after: Option<f64>,
    /// Median of that third's one-second p99s, ms.
    pub p99_after_ms: Option<f64>,
    /// Fault off to the first of three seconds of bad goodput after it was back.
    pub relapsed_ms: Option<f64>,
    /// Fault off to all breakers closed; 0 when none was open.
    pub time_to_close_ms: Option<f64>,
    /// Fault off to sustained recovery of goodput, error rate and p99.
    pub time_to_recover_ms: Option<f64>,
    /// The same without regard to the p99.
    pub goodput_back_ms: Option<f64>,
    /// Seconds over which recovery had to last.
    pub recovery_horizon_s: usize,
    /// p50 and p99 from the intended start, by phase, ms.
    pub latency_ms: BTreeMap<&'static str, PhaseLatency>,
    /// Reads that found a right value.
    pub hits: u64,
    /// Reads that carried a wrong value.
    pub wrong_values: u64,
    /// Ops in all.
    pub ops: u64,
}

/// Stale reads and resurrected values.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StaleMeasures {
    /// All of the run.
    pub count: u64,
    /// Those under the fault of which every write and read met the key's home: an acknowledged write was lost.
    pub lost_writes: u64,
    /// Oldest, ms.
    pub worst_age_ms: f64,
    /// Fault off to the last one; 0: none after it.
    pub until_ms: f64,
}

impl StaleMeasures {
    fn of(timeline: &Timeline<'_>) -> Self {
        let window = timeline.fault_window();
        let lifted = timeline.lifted().unwrap_or(u64::MAX);
        let mut measures = Self { count: timeline.stale.len() as u64, ..Self::default() };
        for stale in &timeline.stale {
            let under_fault = window.is_some_and(|(on, off)| stale.at_us > on && stale.at_us <= off);
            measures.lost_writes += u64::from(under_fault && !stale.elsewhere);
            measures.worst_age_ms = measures.worst_age_ms.max(stale.age_us as f64 / 1e3);
            measures.until_ms = measures.until_ms.max(stale.at_us.saturating_sub(lifted) as f64 / 1e3);
        }
        measures
    }
}

impl Measures {
    pub(crate) fn of(timeline: &Timeline<'_>) -> Self {
        let mut measures = Self::default();
        let whole = timeline.sum(0, u64::MAX);
        let all = whole.all();
        measures.ops = all.total();
        measures.hits = all.get(Outcome::Hit);
        measures.acknowledged = all.get(Outcome::Stored).saturating_add(all.get(Outcome::Deleted));
        measures.reported = Reported::of(timeline, &whole);
        // Events and counts of the same thing: whichever saw more, because a tick may be lost.
        measures.wrong_values = all.get(Outcome::WrongValue).max(timeline.integrity_events);
        measures.latencies(timeline);
        let Some(baseline) = timeline.baseline_window() else { return measures };
        measures.baseline(timeline, baseline);
        if let Some(window) = timeline.fault_window() {
            measures.fault(timeline, window);
        }
        let mut tail = None;
        if let Some(lifted) = timeline.lifted() {
            tail = measures.recovery(timeline, lifted);
        }
        measures.breakers = BreakerMeasures::of(timeline);
        measures.connections = ConnectionMeasures::of(timeline);
        measures.routing = RoutingMeasures::of(timeline, tail);
        measures.stale = StaleMeasures::of(timeline);
        measures.fault_width_ms = timeline.width();
        measures.recovery = anatomy::anatomy(timeline, measures.time_to_recover_ms);
        let faults = timeline.distinct_faults().into_iter();
        measures.dose = faults.filter_map(|fault| DoseMeter::of(timeline, fault)).collect();
        measures.deadlines(timeline, &whole);
        measures
    }

    fn deadlines(&mut self, timeline: &Timeline<'_>, all: &Sum) {
        let slowest = all.service.values().filter_map(|service| service.0.last());
        self.slowest_ms = slowest.map(|(us, _)| *us).max().unwrap_or(0) as f64 / 1e3;
        let limit = timeline.hello.and_then(|hello| op_limit_ms(&hello.settings));
        self.beyond_deadline = limit.map(|limit| {
            let limit_us = ((1.5 * limit + 100.0) * 1e3) as u64;
            all.service.values().fold(0, |sum: u64, service| sum.saturating_add(service.above(limit_us)))
        });
    }

    fn baseline(&mut self, timeline: &Timeline<'_>, (from, to): (u64, u64)) {
        let sum = timeline.sum(from, to);
        self.baseline_offered = sum.offered_per_s();
        let seconds = seconds(timeline, from, to, self.baseline_offered);
        match baseline::assess(&seconds) {
            Ok(baseline) => self.baseline = Some(baseline),
            Err(unfit) => self.unfit = Some((unfit.is_invalid(), unfit.to_string())),
        }
        self.before = seconds.iter().map(|second| second.goodput).filter(|x| x.is_finite()).collect();
        self.baseline_goodput = median(&self.before).unwrap_or(0.0);
        self.baseline_sigma = mad_sigma(&self.before).unwrap_or(0.0);
        self.baseline_error_share = sum.error_share();
        self.baseline_missed_share = share(sum.late.saturating_add(sum.dropped), sum.offered);
        self.faulted_share = share(sum.of(&timeline.faulted()).total(), sum.all().total());
        self.baseline_service_ms = mean_ms(&sum);
    }

    fn fault(&mut self, timeline: &Timeline<'_>, (on, off): (u64, u64)) {
        self.fault_ms = (off - on) as f64 / 1e3;
        let faulted = timeline.faulted();
        let failed = |tick: &observation::Tick| tick.servers.iter().any(|server| server.ops.errors() > 0);
        let first = timeline.ticks.iter().find(|(at, tick)| *at > on && *at <= off + 200_000 && failed(tick));
        self.time_to_error_ms = first.map(|(at, _)| (at - on) as f64 / 1e3);
        for server in &faulted {
            let opened = timeline.breakers.iter().find(|t| {
                t.server == *server && t.to == BreakerState::Open && t.at_us + 1_000 >= on && t.at_us <= off
            });
            let ms = opened.map(|t| t.at_us.saturating_sub(on) as f64 / 1e3);
            self.time_to_trip_ms.insert(server.clone(), ms);
        }
        let elsewhere = |t: &&crate::timeline::Transition| {
            t.to == BreakerState::Open && !faulted.contains(&t.server) && t.at_us + 1_000 >= on
        };
        self.trips_elsewhere = timeline.breakers.iter().filter(elsewhere).count() as u64;

        let whole = timeline.sum(on, off);
        let all = whole.all();
        // Of a fault shorter than a tick, the ticks around it.
        let around = || timeline.sum(on.saturating_sub(TICK_US), off + TICK_US).all().total();
        self.fault_ops = if whole.seconds > 0.0 { all.total() } else { around() };
        for class in ERROR_CLASSES {
            if all.get(class) > 0 {
                self.error_share_by_class.insert(class.name(), share(all.get(class), all.total()));
            }
        }
        let healthy: Vec<String> = whole.ops.keys().filter(|name| !faulted.contains(name)).cloned().collect();
        let p90 = |from: u64, to: u64| {
            let mut latency = observation::Histogram::default();
            for server in &healthy {
                timeline.server(server, from, to).for_each(|(_, tick)| latency.merge(&tick.latency));
            }
            (latency.count() >= P90_SAMPLES).then(|| latency.quantile_us(0.9)).flatten()
        };
        if let Some((from, to)) = timeline.baseline_window()
            && let (Some(before), Some(under)) = (p90(from, to), p90(on, off))
        {
            self.healthy_p90_ms =
                Some(BeforeAfter { before: before as f64 / 1e3, after: under as f64 / 1e3 });
        }
        let healthy = whole.of(&healthy);
        self.healthy_ops = healthy.total();
        self.healthy_error_share = share(healthy.errors(), healthy.total());
        // The first moments belong to detection, which has a criterion of its own.
        let from = on + ((off - on) / 3).min(1_000_000);
        let settled = timeline.sum(from, off);
        self.error_share = settled.error_share();
        if settled.seconds > 0.0 && self.baseline_goodput > 0.0 {
            let goodput = goodput(timeline, &settled, self.baseline_offered);
            self.goodput_retained = Some(goodput / self.baseline_goodput);
            let under = seconds(timeline, from, off, self.baseline_offered);
            let under: Vec<f64> = under.iter().map(|second| second.goodput).collect();
            match bootstrap::ratio_of_means(&under, &self.before, SEED) {
                Ok(ratio) => self.goodput_interval = Some(ratio.interval),
                Err(NoRatio::TooFew { .. } | NoRatio::NoMean) => {}
            }
        }
    }

    /// Gives the end of the recovery: where everything should long be well.
    fn recovery(&mut self, timeline: &Timeline<'_>, lifted: u64) -> Option<(u64, u64)> {
        let end = timeline.end.map_or(lifted, |end| end.at_us);
        self.time_to_close_ms = closed_at(timeline, lifted).map(|at| at.saturating_sub(lifted) as f64 / 1e3);
        let seconds = seconds(timeline, lifted, end, self.baseline_offered);
        let baseline = self.baseline.unwrap_or(Baseline {
            seconds: self.before.len(),
            median: self.baseline_goodput,
            sigma: self.baseline_sigma,
            error_share: self.baseline_error_share,
            p99_ms: None,
        });
        let horizon = recovery::horizon(&baseline, seconds.len())?;
        // A phase that ended because all was well has shown it for as long as the noise asks for.
        let early = timeline
            .notes
            .iter()
            .any(|note| note.code == NoteCode::UntilStable && note.phase == Some(PhaseKind::Recovery));
        let horizon = if early { horizon.wanted.min(seconds.len()) } else { horizon.seconds };
        self.recovery_horizon_s = horizon;
        let back = recovery::find(&seconds, &baseline, horizon);
        self.time_to_recover_ms = back.map(|second| second as f64 * 1e3);
        let without_p99 = Baseline { p99_ms: None, ..baseline };
        self.goodput_back_ms =
            recovery::find(&seconds, &without_p99, horizon).map(|second| second as f64 * 1e3);
        let bad = |second: &Second| {
            second.goodput < RELAPSE * baseline.median
                || second.error_share > baseline.error_share + RELAPSE_ERRORS
        };
        self.relapsed_ms = back.and_then(|back| {
            let mut later = seconds[back..].windows(RELAPSE_S);
            let relapse = later.position(|window| window.iter().all(bad))?;
            Some((back + relapse) as f64 * 1e3)
        });
        let tail = (seconds.len() / 3).max(TAIL_S).min(seconds.len());
        let last = &seconds[seconds.len() - tail..];
        let seen: Vec<f64> = last.iter().map(|second| second.goodput).filter(|x| x.is_finite()).collect();
        let p99s: Vec<f64> = last.iter().filter_map(|second| second.p99_ms).collect();
        self.p99_after_ms = median(&p99s);
        if self.baseline_goodput > 0.0 && !seen.is_empty() {
            self.goodput_after = Some(seen.iter().sum::<f64>() / seen.len() as f64 / self.baseline_goodput);
        }
        Some((lifted + (seconds.len() - tail) as u64 * 1_000_000, end))
    }

    fn latencies(&mut self, timeline: &Timeline<'_>) {
        let phases = [PhaseKind::Stabilization, PhaseKind::Testing, PhaseKind::Recovery];
        for (index, phase) in phases.iter().enumerate() {
            let Some(&from) = timeline.phases.get(phase) else { continue };
            let next = phases.get(index + 1).and_then(|next| timeline.phases.get(next)).copied();
            let to = next.or(timeline.end.map(|end| end.at_us)).unwrap_or(u64::MAX);
            let latency = timeline.sum(from, to).latency;
            if let (Some(p50), Some(p99)) = (latency.quantile_us(0.5), latency.quantile_us(0.99)) {
                let latency = PhaseLatency { p50_ms: p50 as f64 / 1e3, p99_ms: p99 as f64 / 1e3 };
                self.latency_ms.insert(phase.name(), latency);
            }
        }
    }
}

/// When every breaker was closed for good, not before `lifted`; `None`: one was still not closed at the end.
fn closed_at(timeline: &Timeline<'_>, lifted: u64) -> Option<u64> {
    let mut last: BTreeMap<&str, (u64, BreakerState)> = BTreeMap::new();
    for transition in &timeline.breakers {
        last.insert(&transition.server, (transition.at_us, transition.to));
    }
    // Where no event was seen the last tick says it.
    if let Some((_, tick)) = timeline.ticks.last() {
        for server in &tick.servers {
            if server.breaker != BreakerState::Closed {
                return None;
            }
        }
    }
    let closed = last.values().map(|(at, state)| (*state == BreakerState::Closed).then_some(*at));
    let closed = closed.collect::<Option<Vec<u64>>>()?;
    Some(closed.into_iter().max().unwrap_or(lifted).max(lifted))
}

fn mean_ms(sum: &Sum) -> f64 {
    let (mut weighted, mut count) = (0.0, 0u64);
    for service in sum.service.values() {
        for (value, n) in &service.0 {
            weighted += *value as f64 * *n as f64;
            count = n.saturating_add(count);
        }
    }
    if count == 0 { 0.0 } else { weighted / count as f64 / 1e3 }
}
