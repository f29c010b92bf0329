//! What this client should do under this fault: computed from its settings, the fault and the load, never a habit.

mod goodput;
mod odds;
mod recovery;
mod trip;

use std::collections::BTreeMap;

use observation::effect::Effect;
use observation::{FaultKind, Settings, SlowRule};
use serde::Serialize;

use crate::measure::Measures;
use crate::timeline::Timeline;
use odds::{Odds, UNHARMED, UNKNOWN, odds};

pub use odds::timeout_probability;

/// Should a breaker open?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trip {
    /// Yes.
    Must,
    /// It depends on chance; nothing is asked.
    May,
    /// No.
    MustNot,
}

impl Trip {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Trip::Must => "must trip",
            Trip::May => "may trip or not",
            Trip::MustNot => "must not trip",
        }
    }
}

/// An interval that a measure must lie in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bounds {
    /// Lower end.
    pub least: f64,
    /// Upper end.
    pub most: f64,
}

/// A fault on one server, as it is planned or as a journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// The client's name for the server.
    pub server: String,
    /// What the scenario means.
    pub kind: FaultKind,
    /// Its numbers, as in [`observation::Fault::params`].
    pub params: BTreeMap<String, f64>,
}

/// Everything that a prediction needs.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The client's own.
    pub settings: &'a Settings,
    /// Servers in all.
    pub servers: usize,
    /// One entry per faulted server and fault; none for a control run.
    pub faults: Vec<FaultPlan>,
    /// Offered ops/s over all servers.
    pub offered: f64,
    /// Share of the ops whose home is a faulted server, 0-1.
    pub faulted_share: f64,
    /// Length of the fault, ms.
    pub fault_ms: f64,
    /// Mean time of an op without a fault, ms.
    pub service_ms: f64,
}

/// What to expect of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Expectation {
    /// By faulted server.
    pub trips: BTreeMap<String, Trip>,
    /// Why.
    pub trips_because: String,
    /// Fault on to open, ms, where a trip must come.
    pub time_to_trip_ms: Option<Bounds>,
    /// Why.
    pub time_to_trip_because: String,
    /// Half-open cycles under the fault, where each of them must fail.
    pub probe_cycles: Option<Bounds>,
    /// Why.
    pub probe_cycles_because: String,
    /// Share of the baseline's goodput under the fault, before tolerances; absent: it cannot be computed.
    pub goodput_ratio: Option<f64>,
    /// The least of it that passes.
    pub goodput_retained: f64,
    /// Largest share of failed ops under the fault, once it is settled.
    pub error_share: f64,
    /// Why both.
    pub goodput_because: String,
    /// Fault off to recovery, ms.
    pub recovery_ms: Bounds,
    /// Why.
    pub recovery_because: String,
}

impl Expectation {
    /// `None` when the journal has no fault, and is no control run, or has no hello.
    pub(crate) fn of(timeline: &Timeline<'_>, measures: &Measures) -> Option<Self> {
        let hello = timeline.hello?;
        if timeline.faults.is_empty() && !timeline.is_control() {
            return None;
        }
        let faults = timeline.faults.iter().map(|fault| FaultPlan {
            server: fault.server.clone().unwrap_or_else(|| fault.target.clone()),
            kind: fault.kind.clone(),
            params: fault.params.clone(),
        });
        Some(Self::predict(&Situation {
            settings: &hello.settings,
            servers: hello.servers.len(),
            faults: faults.collect(),
            offered: measures.baseline_offered,
            faulted_share: measures.faulted_share,
            fault_ms: measures.fault_ms,
            service_ms: measures.baseline_service_ms,
        }))
    }

    /// Before anything is run, or from what was seen before the fault.
    pub fn predict(situation: &Situation<'_>) -> Self {
        let settings = situation.settings;
        let mut faulted: Vec<&str> = situation.faults.iter().map(|fault| fault.server.as_str()).collect();
        faulted.sort_unstable();
        faulted.dedup();
        let rule = settings.breaker.as_ref().and_then(|breaker| breaker.slow);
        let [mild, harsh] = odds_of(situation, faulted.len(), rule);
        let load = Load {
            offered: situation.offered * situation.faulted_share / faulted.len().max(1) as f64,
            seconds: situation.fault_ms / 1e3,
            service_ms: situation.service_ms,
        };
        let (trip, trips_because) = match situation.faults.is_empty() {
            true => (Trip::MustNot, "there is no fault".to_owned()),
            false => trip::trip_within([mild, harsh], settings, load, faulted.len()),
        };
        let goodput = goodput::goodput(situation, harsh, load, trip);
        let (recovery_ms, recovery_because) = recovery::recovery(settings, load, trip);
        let (time_to_trip_ms, time_to_trip_because) = trip::time_to_trip(settings, mild, load, trip).unzip();
        let (probe_cycles, probe_cycles_because) = trip::probe_cycles(settings, mild, load, trip).unzip();
        Self {
            trips: faulted.iter().map(|server| ((*server).to_owned(), trip)).collect(),
            trips_because,
            time_to_trip_ms,
            time_to_trip_because: time_to_trip_because.unwrap_or_default(),
            probe_cycles,
            probe_cycles_because: probe_cycles_because.unwrap_or_default(),
            goodput_ratio: goodput.ratio,
            goodput_retained: goodput.retained,
            error_share: goodput.error_share,
            goodput_because: goodput.because,
            recovery_ms,
            recovery_because,
        }
    }

    /// One trip for all: faults of a run that differ are not told apart.
    pub fn trip(&self) -> Trip {
        self.trips.values().next().copied().unwrap_or(Trip::MustNot)
    }
}

/// The least and the most that the faults together may do to an attempt at a faulted server.
fn odds_of(situation: &Situation<'_>, faulted: usize, slow: Option<SlowRule>) -> [Odds; 2] {
    let Some(first) = situation.faults.first() else { return [UNHARMED; 2] };
    // Faults that differ add up in ways that no one of them tells.
    let alike = situation.faults.iter().all(|fault| fault.kind == first.kind && fault.params == first.params);
    if !alike {
        return [UNKNOWN; 2];
    }
    let threshold = slow.map_or(f64::INFINITY, |rule| rule.threshold_ms as f64);
    let effect = Effect::of(&first.kind, &first.params);
    let odds = odds(effect.meets, situation.settings.op_timeout_ms as f64, threshold);
    // Servers that are slow together are not ejected by the slow rule.
    let together = 2 * faulted > situation.servers;
    odds.map(|odds| if together { Odds { slow: 0.0, ..odds } } else { odds })
}

#[derive(Debug, Clone, Copy)]
struct Load {
    /// ops/s that want the faulted server.
    offered: f64,
    /// Length of the fault.
    seconds: f64,
    /// Healthy time of an op.
    service_ms: f64,
}

impl Load {
    /// ops/s that reach the server: no more than its connections can carry (Little's law).
    fn reaching(self, settings: &Settings, odds: Odds) -> f64 {
        let occupancy_s = (self.service_ms + odds.held_ms).max(0.01) / 1e3;
        self.offered.min(f64::from(settings.pool_max) / occupancy_s)
    }
}
