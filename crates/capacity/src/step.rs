//! One step of load: what is asked for, and what came of it.

use std::time::Duration;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Connections are made and caches filled; nothing is judged.
    Init,
    /// The first rate, for a baseline.
    Warmup,
    /// A rate after the other, each one step higher.
    LoadIncrease,
    /// The critical rate once more.
    Failure,
    /// What shall help, and less load.
    Mitigation,
    /// The generator without a server.
    GeneratorCheck,
    /// Rates that grow by a factor.
    Ramp,
    /// Between the highest rate that passed and the lowest that failed.
    Bisection,
    /// A little below what was found, for longer.
    Confirmation,
    /// Above what was found.
    Overload,
    /// Well below it, at once after the overload.
    Recovery,
    /// The rates of the ramp, downwards.
    Mirror,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 12] = [
        Phase::Init,
        Phase::Warmup,
        Phase::LoadIncrease,
        Phase::Failure,
        Phase::Mitigation,
        Phase::GeneratorCheck,
        Phase::Ramp,
        Phase::Bisection,
        Phase::Confirmation,
        Phase::Overload,
        Phase::Recovery,
        Phase::Mirror,
    ];

    /// The name in files and labels.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::Warmup => "warmup",
            Phase::LoadIncrease => "load_increase",
            Phase::Failure => "failure",
            Phase::Mitigation => "mitigation",
            Phase::GeneratorCheck => "generator_check",
            Phase::Ramp => "ramp",
            Phase::Bisection => "bisection",
            Phase::Confirmation => "confirmation",
            Phase::Overload => "overload",
            Phase::Recovery => "recovery",
            Phase::Mirror => "mirror",
        }
    }
}

/// Load that is to be made next.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// What for.
    pub phase: Phase,
    /// ops/s.
    pub rate: f64,
    /// Made for so long first, and not measured.
    pub settle: Duration,
    /// Made and measured for so long then.
    pub measure: Duration,
    /// The mitigation is applied before it begins.
    pub mitigate: bool,
    /// Why, for people.
    pub because: String,
}

/// One second of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Ops that succeeded.
    pub ok: u64,
    /// Ops that failed.
    pub errors: u64,
    /// Mean latency of both, ms.
    pub avg_ms: f64,
}

/// What a step gave. Latencies count from the intended start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// How long it was.
    pub seconds: f64,
    /// Ops that the schedule asked for.
    pub offered: u64,
    /// Starts more than 10 ms behind.
    pub late: u64,
    /// Ops that never started.
    pub dropped: u64,
    /// Ops that succeeded.
    pub ok: u64,
    /// Ops that failed.
    pub errors: u64,
    /// Classes of the failed ops, and how many of each.
    pub classes: Vec<(&'static str, u64)>,
    /// Mean latency, ms; 0 without an op.
    pub avg_ms: f64,
    /// Median, ms.
    pub p50_ms: f64,
    /// 99th percentile, ms.
    pub p99_ms: f64,
    /// Longest, ms.
    pub max_ms: f64,
    /// 99th percentile of the time in the target's own queue, ms, where that is seen.
    pub wait_p99_ms: Option<f64>,
    /// Bytes from the servers.
    pub bytes_in: u64,
    /// Bytes to the servers.
    pub bytes_out: u64,
    /// Ops in flight, as often as they were looked at, evenly over the step.
    pub in_flight: Vec<f64>,
    /// Each whole second.
    pub per_second: Vec<Second>,
    /// Was it made to its end?
    pub complete: bool,
}

impl Measured {
    /// ops/s that the schedule asked for.
    pub fn offered_per_s(&self) -> f64 {
        self.per_s(self.offered)
    }

    /// ops/s that succeeded.
    pub fn throughput(&self) -> f64 {
        self.per_s(self.ok)
    }

    /// Per second of the step.
    pub fn per_s(&self, n: u64) -> f64 {
        if self.seconds > 0.0 { n as f64 / self.seconds } else { 0.0 }
    }

    /// Share (0-1) of ended ops that failed; 0 without one.
    pub fn error_share(&self) -> f64 {
        self.errors as f64 / (self.ok + self.errors).max(1) as f64
    }

    /// Share (0-1) of offered ops that succeeded; 1 without one.
    pub fn goodput_share(&self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.ok as f64 / self.offered as f64 }
    }

    /// Share (0-1) of starts that were late or never came: the generator was the limit.
    pub fn missed_share(&self) -> f64 {
        (self.late + self.dropped) as f64 / self.offered.max(1) as f64
    }

    /// Mean number of ops in flight.
    pub fn in_flight_avg(&self) -> f64 {
        mean(&self.in_flight)
    }

    /// Growth of the ops in flight, as a share of their mean per second, by least squares; 0 where the rise over the step
    /// is within what chance gives.
    pub fn growth_per_s(&self) -> f64 {
        let n = self.in_flight.len();
        let mean_n = self.in_flight_avg();
        if n < 3 || mean_n <= 0.0 || self.seconds <= 0.0 {
            return 0.0;
        }
        let middle = (n - 1) as f64 / 2.0;
        let spread: f64 = (0..n).map(|i| (i as f64 - middle).powi(2)).sum();
        let with: f64 =
            self.in_flight.iter().enumerate().map(|(i, v)| (i as f64 - middle) * (v - mean_n)).sum();
        let rise = with / spread * (n - 1) as f64;
        if rise.abs() < CHANCE * mean_n.sqrt() { 0.0 } else { rise / self.seconds / mean_n }
    }
}

/// A rise of the ops in flight within this many roots of their mean is chance: a queue near its limit swings slowly and
/// by more than a Poisson number would.
const CHANCE: f64 = 5.0;

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The step with the highest throughput.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// What it reached, ops/s.
    pub throughput: f64,
    /// What it was asked for, ops/s.
    pub rate: f64,
}

impl Peak {
    /// The higher of what there is and a step at `rate`.
    pub(crate) fn or_higher(peak: Option<Peak>, rate: f64, measured: &Measured) -> Option<Peak> {
        let throughput = measured.throughput();
        peak.filter(|peak| throughput <= peak.throughput).or(Some(Peak { throughput, rate }))
    }
}

/// A step that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What was asked.
    pub order: Order,
    /// Begin of what was measured, seconds since the begin of the run.
    pub at_s: f64,
    /// What came of it.
    pub measured: Measured,
    /// `pass`, `fail` or `-` (not judged), and why.
    pub judged: (&'static str, String),
}

/// One phase ends and another begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Seconds since the begin of the run.
    pub at_s: f64,
    /// Wall clock, Unix milliseconds.
    pub unix_ms: u64,
    /// What ends; `None`: the run begins.
    pub from: Option<Phase>,
    /// What begins; `None`: the run ends.
    pub to: Option<Phase>,
    /// ops/s that begin.
    pub rate: f64,
    /// Why.
    pub because: String,
}

/// Says which load to make.
pub trait Plan {
    /// The next step; `None`: the plan is done.
    fn next(&self) -> Option<Order>;

    /// The step that `next` gave was made to its end. Gives `pass`, `fail` or `-`, and why.
    fn ended(&mut self, measured: &Measured) -> (&'static str, String);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_swings_does_not_grow_and_one_that_fills_does() {
        let of = |in_flight: Vec<f64>| Measured { seconds: 15.0, in_flight, ..Measured::default() };
        let swing = of((0..150).map(|i| 6.0 + 4.0 * (f64::from(i) / 15.0).sin()).collect());
        assert_eq!(swing.growth_per_s(), 0.0);
        // 5/s more than are served.
        let fills = of((0..150).map(|i| f64::from(i) / 10.0 * 5.0).collect());
        assert!((fills.growth_per_s() - 2.0 / 15.0).abs() < 0.01, "{}", fills.growth_per_s());
        assert_eq!(of(Vec::new()).growth_per_s(), 0.0);
    }

    #[test]
    fn an_empty_step_divides_by_nothing() {
        let none = Measured::default();
        assert_eq!((none.throughput(), none.error_share(), none.goodput_share()), (0.0, 0.0, 1.0));
    }

    #[test]
    fn every_phase_is_listed_under_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Phase::ALL.iter().map(|phase| phase.name()).collect();
        assert_eq!(names.len(), Phase::ALL.len());
    }
}
