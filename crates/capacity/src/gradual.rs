//! The gradual overload: Init, Warmup, Load increase, Failure, Mitigation. Load grows by equal steps until one of them breaks a
//! fixed limit. Simple, and easy to be misled by: one step decides, on an average; [`crate::Search`] does better.

use std::time::Duration;

use crate::step::{Measured, Order, Peak, Phase, Plan, mean};

/// What the algorithm goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct GradualParams {
    /// First rate, ops/s.
    pub initial: f64,
    /// Highest rate, ops/s.
    pub max: f64,
    /// From one rate to the next, ops/s.
    pub step: f64,
    /// Length of a step.
    pub step_lasts: Duration,
    /// Steps at the first rate, for the baseline.
    pub warm_up_steps: u32,
    /// Mean latency above this is a failure, ms.
    pub latency_ms: f64,
    /// Throughput this share (0-1) below the peak is a failure.
    pub drop: f64,
    /// A share (0-1) of failed ops above this is a failure.
    pub errors: f64,
    /// Share (0-1) of the critical rate that the mitigation goes down to.
    pub mitigation: f64,
    /// There is a mitigation to apply, so the critical rate is made once more under it.
    pub hook: bool,
}

impl Default for GradualParams {
    fn default() -> Self {
        Self {
            initial: 50.0,
            max: 5_000.0,
            step: 100.0,
            step_lasts: Duration::from_secs(10),
            warm_up_steps: 5,
            latency_ms: 50.0,
            drop: 0.3,
            errors: 0.1,
            mitigation: 0.7,
            hook: false,
        }
    }
}

/// The step that broke a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Critical {
    /// ops/s.
    pub rate: f64,
    /// Which limit, with its numbers.
    pub because: String,
    /// What was measured.
    pub measured: Measured,
}

/// A step before a change and one after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// ops/s before.
    pub rate_before: f64,
    /// ops/s after.
    pub rate_after: f64,
    /// Measured before.
    pub before: Measured,
    /// Measured after.
    pub after: Measured,
    /// Is every limit kept after it?
    pub recovered: bool,
}

/// What has been found so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GradualReport {
    /// Mean latency of the warm-up, ms.
    pub baseline_ms: Option<f64>,
    /// The step with the highest throughput.
    pub peak: Option<Peak>,
    /// The first step that broke a limit.
    pub critical: Option<Critical>,
    /// Highest rate that kept all limits, ops/s.
    pub safe: Option<f64>,
    /// The mitigation at the critical rate.
    pub hook: Option<Effect>,
    /// Less load.
    pub relief: Option<Effect>,
    /// The highest rate was reached.
    pub at_max: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum GradualStage {
    Init,
    Warmup(u32),
    Increase(f64),
    Failure,
    Hook,
    Relief,
    Done,
}

/// The algorithm.
#[derive(Debug, Clone)]
pub struct Gradual {
    params: GradualParams,
    stage: GradualStage,
    warm: Vec<f64>,
    before: Option<Measured>,
    report: GradualReport,
}

impl Gradual {
    /// At its begin.
    pub fn new(params: GradualParams) -> Self {
        Self {
            params,
            stage: GradualStage::Init,
            warm: Vec::new(),
            before: None,
            report: GradualReport::default(),
        }
    }

    /// What it goes by.
    pub fn params(&self) -> &GradualParams {
        &self.params
    }

    /// What has been found so far.
    pub fn report(&self) -> &GradualReport {
        &self.report
    }

    /// Which limit is broken.
    fn broken(&self, measured: &Measured) -> Option<String> {
        let GradualParams { latency_ms, drop, errors, .. } = self.params;
        if measured.avg_ms > latency_ms {
            return Some(format!("mean latency {:.1} ms is above {latency_ms} ms", measured.avg_ms));
        }
        if measured.error_share() > errors {
            let share = 100.0 * measured.error_share();
            return Some(format!("{share:.1} % of ops failed, more than {} %", 100.0 * errors));
        }
        let peak = self.report.peak.map_or(0.0, |peak| peak.throughput);
        if measured.throughput() < (1.0 - drop) * peak {
            return Some(format!(
                "throughput {:.0}/s is more than {:.0} % below its peak of {peak:.0}/s",
                measured.throughput(),
                100.0 * drop
            ));
        }
        None
    }

    fn saw(&mut self, rate: f64, measured: &Measured) {
        self.report.peak = Peak::or_higher(self.report.peak, rate, measured);
    }

    fn critical_rate(&self) -> f64 {
        self.report.critical.as_ref().map_or(self.params.initial, |critical| critical.rate)
    }

    fn effect(&self, rate_after: f64, after: &Measured) -> Effect {
        // The drop of throughput cannot be judged where less is asked for.
        let GradualParams { latency_ms, errors, .. } = self.params;
        let asked = after.goodput_share() >= 1.0 - errors;
        Effect {
            rate_before: self.critical_rate(),
            rate_after,
            before: self.before.clone().unwrap_or_default(),
            after: after.clone(),
            recovered: after.avg_ms <= latency_ms && after.error_share() <= errors && asked,
        }
    }
}

impl Plan for Gradual {
    fn next(&self) -> Option<Order> {
        let params = &self.params;
        let (phase, rate, because) = match self.stage {
            GradualStage::Init => (Phase::Init, params.initial, "begin: connections and cache".to_owned()),
            GradualStage::Warmup(n) => (
                Phase::Warmup,
                params.initial,
                format!("step {} of {} for the baseline", n + 1, params.warm_up_steps),
            ),
            GradualStage::Increase(rate) => (Phase::LoadIncrease, rate, "the limits were kept".to_owned()),
            GradualStage::Failure => {
                let because = self.report.critical.as_ref().map(|critical| critical.because.clone());
                (Phase::Failure, self.critical_rate(), because.unwrap_or_default())
            }
            GradualStage::Hook => {
                (Phase::Mitigation, self.critical_rate(), "the mitigation is applied".to_owned())
            }
            GradualStage::Relief => (
                Phase::Mitigation,
                self.critical_rate() * params.mitigation,
                format!("less load: {:.0} % of the critical rate", 100.0 * params.mitigation),
            ),
            GradualStage::Done => return None,
        };
        let mitigate = self.stage == GradualStage::Hook;
        Some(Order { phase, rate, settle: Duration::ZERO, measure: params.step_lasts, mitigate, because })
    }

    fn ended(&mut self, measured: &Measured) -> (&'static str, String) {
        let not_judged = |why: &str| ("-", why.to_owned());
        match self.stage {
            GradualStage::Init => {
                self.stage = match self.params.warm_up_steps {
                    0 => GradualStage::Increase(self.params.initial),
                    _ => GradualStage::Warmup(0),
                };
                not_judged("begin")
            }
            GradualStage::Warmup(n) => {
                self.saw(self.params.initial, measured);
                self.warm.push(measured.avg_ms);
                self.report.baseline_ms = Some(mean(&self.warm));
                self.stage = if n + 1 < self.params.warm_up_steps {
                    GradualStage::Warmup(n + 1)
                } else {
                    self.above(self.params.initial)
                };
                not_judged("warm-up")
            }
            GradualStage::Increase(rate) => {
                let broken = self.broken(measured);
                self.saw(rate, measured);
                if let Some(because) = broken {
                    let critical = Critical { rate, because: because.clone(), measured: measured.clone() };
                    self.report.critical = Some(critical);
                    self.stage = GradualStage::Failure;
                    return ("fail", because);
                }
                self.report.safe = Some(rate);
                self.stage = self.above(rate);
                ("pass", "all limits are kept".to_owned())
            }
            GradualStage::Failure => {
                self.before = Some(measured.clone());
                self.stage = if self.params.hook { GradualStage::Hook } else { GradualStage::Relief };
                match self.broken(measured) {
                    Some(because) => ("fail", because),
                    None => ("pass", "all limits are kept: the step before was chance".to_owned()),
                }
            }
            GradualStage::Hook => {
                let effect = self.effect(self.critical_rate(), measured);
                let judged = recovered(&effect);
                self.report.hook = Some(effect);
                self.stage = GradualStage::Relief;
                judged
            }
            GradualStage::Relief => {
                let effect = self.effect(self.critical_rate() * self.params.mitigation, measured);
                let judged = recovered(&effect);
                self.report.relief = Some(effect);
                self.stage = GradualStage::Done;
                judged
            }
            GradualStage::Done => not_judged("the plan is done"),
        }
    }
}

impl Gradual {
    fn above(&mut self, rate: f64) -> GradualStage {
        if rate >= self.params.max {
            self.report.at_max = true;
            return GradualStage::Done;
        }
        GradualStage::Increase((rate + self.params.step).min(self.params.max))
    }
}

fn recovered(effect: &Effect) -> (&'static str, String) {
    if effect.recovered {
        ("pass", "recovered: latency and errors are within their limits".to_owned())
    } else {
        ("fail", "not recovered within the step".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that serves `capacity` ops/s in 1 ms, and above it as many, slowly.
    fn serve(rate: f64, capacity: f64) -> Measured {
        let ok = rate.min(capacity) * 10.0;
        let avg_ms = if rate <= capacity { 1.0 } else { 200.0 };
        let errors = (rate * 10.0 - ok) as u64;
        Measured {
            seconds: 10.0,
            offered: (rate * 10.0) as u64,
            ok: ok as u64,
            errors,
            avg_ms,
            ..Measured::default()
        }
    }

    fn run(params: GradualParams, mut serve: impl FnMut(&Order) -> Measured) -> (Vec<Order>, GradualReport) {
        let mut plan = Gradual::new(params);
        let mut orders = Vec::new();
        while let Some(order) = plan.next() {
            let measured = serve(&order);
            plan.ended(&measured);
            orders.push(order);
        }
        (orders, plan.report().clone())
    }

    #[test]
    fn load_grows_by_steps_until_a_limit_breaks_and_then_goes_down() {
        let (orders, report) = run(GradualParams::default(), |order| serve(order.rate, 400.0));
        let rates: Vec<f64> = orders.iter().map(|order| order.rate).collect();
        let expected = [50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 150.0, 250.0, 350.0, 450.0, 450.0, 315.0];
        assert_eq!(rates.len(), expected.len());
        assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{rates:?}");
        let phases: Vec<&str> = orders.iter().map(|order| order.phase.name()).collect();
        assert_eq!(phases[0], "init");
        assert!(phases[1..6].iter().all(|name| *name == "warmup"));
        assert!(phases[6..10].iter().all(|name| *name == "load_increase"));
        assert_eq!(phases[10..], ["failure", "mitigation"]);
        let critical = report.critical.unwrap();
        assert_eq!((critical.rate, report.safe, report.baseline_ms), (450.0, Some(350.0), Some(1.0)));
        assert_eq!(critical.because, "mean latency 200.0 ms is above 50 ms");
        assert_eq!(report.peak, Some(Peak { throughput: 400.0, rate: 450.0 }));
        assert!(report.relief.unwrap().recovered);
    }

    #[test]
    fn errors_and_a_drop_from_the_peak_are_failures_too() {
        let failing = |order: &Order| Measured { avg_ms: 1.0, ..serve(order.rate, 400.0) };
        let (_, report) = run(GradualParams::default(), failing);
        assert_eq!(report.critical.unwrap().because, "11.1 % of ops failed, more than 10 %");
        let stuck = |order: &Order| {
            let rate = if order.rate > 300.0 { 100.0 } else { order.rate };
            serve(rate, 1e9)
        };
        let (_, report) = run(GradualParams::default(), stuck);
        let because = report.critical.unwrap().because;
        assert_eq!(because, "throughput 100/s is more than 30 % below its peak of 250/s");
    }

    #[test]
    fn what_stands_everything_ends_at_the_highest_rate() {
        let params = GradualParams { max: 230.0, warm_up_steps: 0, ..GradualParams::default() };
        let (orders, report) = run(params, |order| serve(order.rate, 1e9));
        let rates: Vec<f64> = orders.iter().map(|order| order.rate).collect();
        assert_eq!(rates, [50.0, 50.0, 150.0, 230.0]);
        assert!(report.at_max && report.critical.is_none() && report.safe == Some(230.0));
    }

    #[test]
    fn a_mitigation_is_measured_at_the_critical_rate() {
        let params = GradualParams { hook: true, ..GradualParams::default() };
        let mut helped = false;
        let (orders, report) = run(params, |order| {
            helped |= order.mitigate;
            serve(order.rate, if helped { 1e9 } else { 200.0 })
        });
        assert_eq!(orders.iter().filter(|order| order.mitigate).count(), 1);
        let hook = report.hook.unwrap();
        assert!(hook.recovered && hook.before.avg_ms > hook.after.avg_ms);
        assert_eq!((hook.rate_before, hook.rate_after), (250.0, 250.0));
    }
}
