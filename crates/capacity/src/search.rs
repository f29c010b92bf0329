//! The highest rate that keeps a promise about latency, found so that it can be believed: a geometric ramp, bisection in log
//! space, a longer confirmation, then an overload, the way back out of it, and the ramp downwards.

mod report;

use std::time::Duration;

use crate::step::{Measured, Order, Phase, Plan, Second};

pub use report::{Hysteresis, Overload, SearchReport};

/// Steps that fail one after the other and so end the ramp: one may be chance.
const FAILS: u32 = 2;
/// A statistic within this share of its limit may be chance: the step is made up to [`RUNS`] times, and most of them decide.
const NEAR: f64 = 0.2;
const RUNS: usize = 3;
/// A step is made this many times longer at most, to get its ops.
const LONGER_MAX: u32 = 4;
/// Confirmations, each 2 % lower than the one before.
const CONFIRMATIONS: u32 = 10;
const CONFIRM_DOWN: f64 = 0.98;
/// What is confirmed first, as a share of what was found.
const CONFIRM_AT: f64 = 0.95;
/// The ramp goes down to this share of its first rate, where that fails already.
const DOWN_MAX: f64 = 0.01;
/// Seconds that must be good one after the other for a recovery.
const GOOD_SECONDS: usize = 3;

/// Which latency is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// From the intended start to the reply.
    Latency,
    /// Within the target's own queue.
    Wait,
}

/// What the search goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchParams {
    /// First rate, ops/s.
    pub initial: f64,
    /// Highest rate, ops/s.
    pub max: f64,
    /// From one rate of the ramp to the next, as a factor.
    pub factor: f64,
    /// Load that is not measured, before each step.
    pub settle: Duration,
    /// Measured for a step of the ramp; of the bisection half as long again.
    pub measure: Duration,
    /// Ops that a step should have; it is made longer for them, four times at most.
    pub ops_min: u64,
    /// The bisection ends when the bounds are within this factor.
    pub precision: f64,
    /// Which p99.
    pub statistic: Statistic,
    /// The p99 that is promised, ms.
    pub p99_ms: f64,
    /// Share (0-1) of ops that may fail.
    pub errors: f64,
    /// Share (0-1) of offered ops that must succeed or fail within the step.
    pub achieved: f64,
    /// Growth of the ops in flight per second that is allowed, as a share of their mean.
    pub growth: f64,
    /// Length of a confirmation.
    pub confirm: Duration,
    /// Overloads as factors of the rate that was found.
    pub overload: Vec<f64>,
    /// Length of each.
    pub overload_lasts: Duration,
    /// Goodput under overload, as a share of the peak, below which it is a collapse.
    pub collapse: f64,
    /// Rate after the overload, as a share of the rate that was found.
    pub relief: f64,
    /// Recovery in this time is prompt.
    pub recovery: Duration,
    /// Goodput upwards and downwards, as shares of the offered load, may differ by this.
    pub hysteresis: f64,
}

impl Default for SearchParams {
    fn default() -> Self {
        Self {
            initial: 50.0,
            max: 5_000.0,
            factor: 1.5,
            settle: Duration::from_secs(5),
            measure: Duration::from_secs(10),
            ops_min: 10_000,
            precision: 1.05,
            statistic: Statistic::Latency,
            p99_ms: 50.0,
            errors: 0.001,
            achieved: 0.99,
            growth: 0.01,
            confirm: Duration::from_secs(60),
            overload: vec![1.2, 1.5, 2.0],
            overload_lasts: Duration::from_secs(20),
            collapse: 0.9,
            relief: 0.7,
            recovery: Duration::from_secs(10),
            hysteresis: 0.05,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Ramp { rate: f64, fails: u32 },
    RampDown { rate: f64 },
    Bisect { mid: f64 },
    Confirm { rate: f64, n: u32 },
    Overload(usize),
    Recovery,
    Mirror(usize),
    Done,
}

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    params: SearchParams,
    state: State,
    /// Highest rate that passed, below the first that failed.
    low: Option<f64>,
    /// Lowest rate that failed.
    high: Option<f64>,
    /// Runs of the step of the bisection: did it pass?
    runs: Vec<bool>,
    /// Rates of the ramp, and the share of the offered ops that succeeded.
    up: Vec<(f64, f64)>,
    report: SearchReport,
}

impl Search {
    /// At its begin.
    pub fn new(params: SearchParams) -> Self {
        let rate = params.initial.min(params.max);
        Self {
            params,
            state: State::Ramp { rate, fails: 0 },
            low: None,
            high: None,
            runs: Vec::new(),
            up: Vec::new(),
            report: SearchReport::default(),
        }
    }

    /// What it goes by.
    pub fn params(&self) -> &SearchParams {
        &self.params
    }

    /// What has been found so far.
    pub fn report(&self) -> &SearchReport {
        &self.report
    }

    fn p99(&self, measured: &Measured) -> Option<f64> {
        match self.params.statistic {
            Statistic::Latency => Some(measured.p99_ms),
            Statistic::Wait => measured.wait_p99_ms,
        }
    }

    /// What a step at a rate breaks of the promise; `Ok` says what it keeps.
    fn judge(&self, measured: &Measured) -> Result<String, String> {
        let params = &self.params;
        let what = match params.statistic {
            Statistic::Latency => "p99",
            Statistic::Wait => "p99 of the wait",
        };
        let Some(p99) = self.p99(measured) else { return Err(format!("no {what} was measured")) };
        if measured.error_share() > params.errors {
            let (share, most) = (100.0 * measured.error_share(), 100.0 * params.errors);
            return Err(format!("{share:.2} % of ops failed, more than {most} %"));
        }
        let ended = (measured.ok + measured.errors) as f64 / measured.offered.max(1) as f64;
        // A step's ends belong to its neighbours' starts: what may be in flight at both ends is no loss.
        let edge = 2.0 * measured.in_flight_avg() / measured.offered.max(1) as f64;
        if ended + edge < params.achieved {
            return Err(format!("{:.1} % of what was offered was done", 100.0 * ended));
        }
        if measured.missed_share() > GENERATOR_SHARE {
            let share = 100.0 * measured.missed_share();
            return Err(format!("{share:.2} % of starts were late or dropped: the generator was the limit"));
        }
        let growth = measured.growth_per_s();
        if growth > params.growth {
            return Err(format!("ops in flight grew by {:.1} %/s", 100.0 * growth));
        }
        if p99 > params.p99_ms {
            return Err(format!("{what} {p99:.1} ms is above {} ms", params.p99_ms));
        }
        Ok(format!("{what} {p99:.1} ms"))
    }

    /// Is the statistic so close to its limit that chance may decide?
    fn near(&self, measured: &Measured) -> bool {
        let p99 = self.p99(measured).unwrap_or(f64::INFINITY);
        (p99 / self.params.p99_ms - 1.0).abs() <= NEAR
    }

    fn lasts(&self, base: Duration, rate: f64) -> Duration {
        let wanted = Duration::try_from_secs_f64(self.params.ops_min as f64 / rate).unwrap_or(Duration::MAX);
        base.max(wanted.min(base * LONGER_MAX))
    }

    /// The n-th rate of the ramp, downwards.
    fn mirror(&self, n: usize) -> Option<(f64, f64)> {
        self.up.iter().rev().nth(n).copied()
    }

    fn after_ramp(&mut self) -> State {
        match (self.low, self.high) {
            (Some(_), Some(_)) => self.narrow(),
            (Some(low), None) => {
                self.report.at_max = true;
                State::Confirm { rate: low, n: 0 }
            }
            (None, _) => State::Done,
        }
    }

    fn narrow(&mut self) -> State {
        self.runs.clear();
        let (Some(low), Some(high)) = (self.low, self.high) else { return State::Done };
        if high / low <= self.params.precision {
            return State::Confirm { rate: low * CONFIRM_AT, n: 0 };
        }
        State::Bisect { mid: (low * high).sqrt() }
    }

    fn found(&mut self, confirmed: Option<f64>, first: bool) -> State {
        let Some(low) = self.low else { return State::Done };
        // What the first confirmation holds up is what was found; a later one takes its place.
        let rate = match confirmed {
            Some(_) if first => low,
            Some(rate) => rate,
            None => return State::Done,
        };
        self.report.rate = Some(rate);
        self.report.confirmed = confirmed;
        let passed = self.report.passed.iter().copied().filter(|passed| *passed > rate);
        let failed = self.report.failed.iter().copied().filter(|failed| *failed < rate);
        let high = self.high.unwrap_or(rate);
        self.report.interval =
            Some((failed.chain(confirmed).fold(rate, f64::min), passed.fold(high, f64::max)));
        if self.params.overload.is_empty() { State::Recovery } else { State::Overload(0) }
    }

    fn peak(&self) -> f64 {
        self.report.peak.map_or(0.0, |(throughput, _)| throughput)
    }

    fn found_rate(&self) -> f64 {
        self.report.rate.unwrap_or(self.params.initial)
    }
}

/// Share of starts that may be late or dropped.
const GENERATOR_SHARE: f64 = 0.001;

impl Plan for Search {
    fn next(&self) -> Option<Order> {
        let params = &self.params;
        let measure = params.measure;
        let (phase, rate, lasts, because) = match self.state {
            State::Ramp { rate, fails: 0 } => (Phase::Ramp, rate, measure, "upwards".to_owned()),
            State::Ramp { rate, .. } => {
                (Phase::Ramp, rate, measure, "one step failed: is the next one as bad?".to_owned())
            }
            State::RampDown { rate } => {
                (Phase::Ramp, rate, measure, "the first rate failed: downwards".to_owned())
            }
            State::Bisect { mid } => {
                let (low, high) = (self.low.unwrap_or(mid), self.high.unwrap_or(mid));
                let because = format!("{low:.1}/s passed, {high:.1}/s failed");
                (Phase::Bisection, mid, self.lasts(measure.mul_f64(1.5), mid), because)
            }
            State::Confirm { rate, n } => {
                let because = format!("confirmation {} of what was found", n + 1);
                (Phase::Confirmation, rate, params.confirm, because)
            }
            State::Overload(n) => {
                let factor = params.overload.get(n).copied().unwrap_or(1.0);
                let rate = self.found_rate() * factor;
                (Phase::Overload, rate, params.overload_lasts, format!("{factor} times what was found"))
            }
            State::Recovery => (
                Phase::Recovery,
                self.found_rate() * params.relief,
                params.recovery * 2,
                "how long until it is as before?".to_owned(),
            ),
            State::Mirror(n) => {
                let rate = self.mirror(n).map_or(params.initial, |(rate, _)| rate);
                (Phase::Mirror, rate, measure, "the ramp downwards".to_owned())
            }
            State::Done => return None,
        };
        // Overload and recovery are about what comes first.
        let sudden = matches!(self.state, State::Overload(_) | State::Recovery);
        let settle = if sudden { Duration::ZERO } else { params.settle };
        Some(Order { phase, rate, settle, measure: lasts, mitigate: false, because })
    }

    fn ended(&mut self, measured: &Measured) -> (&'static str, String) {
        let Some(order) = self.next() else { return ("-", "the search is over".to_owned()) };
        let judged = self.judge(measured);
        let passes = judged.is_ok();
        let rate = order.rate;
        let throughput = measured.throughput();
        if self.report.peak.is_none_or(|(peak, _)| throughput > peak) {
            self.report.peak = Some((throughput, rate));
        }
        if matches!(order.phase, Phase::Ramp | Phase::Bisection | Phase::Confirmation) {
            self.report.saw(rate, measured);
            if passes { &mut self.report.passed } else { &mut self.report.failed }.push(rate);
        }
        let mut told = match judged {
            Ok(why) => ("pass", why),
            Err(why) => ("fail", why),
        };
        self.state = match self.state {
            State::Ramp { rate, fails } => {
                self.up.push((rate, measured.goodput_share()));
                self.after_step_up(rate, fails, passes)
            }
            State::RampDown { rate } => self.after_step_down(rate, passes),
            State::Bisect { mid } => {
                self.runs.push(passes);
                if self.is_undecided(measured) {
                    told.1 += ": close to the limit, once more";
                    State::Bisect { mid }
                } else {
                    self.after_bisection(mid)
                }
            }
            State::Confirm { rate, n } if passes => self.found(Some(rate), n == 0),
            State::Confirm { n, .. } if n + 1 >= CONFIRMATIONS => State::Done,
            State::Confirm { rate, n } => State::Confirm { rate: rate * CONFIRM_DOWN, n: n + 1 },
            State::Overload(n) => {
                told = self.overloaded(n, throughput);
                if n + 1 < self.params.overload.len() { State::Overload(n + 1) } else { State::Recovery }
            }
            State::Recovery => {
                told = self.told_recovery(measured);
                if self.up.is_empty() { State::Done } else { State::Mirror(0) }
            }
            State::Mirror(n) => {
                told = self.mirrored(n, measured).unwrap_or(told);
                if n + 1 < self.up.len() { State::Mirror(n + 1) } else { State::Done }
            }
            State::Done => State::Done,
        };
        told
    }
}

impl Search {
    fn after_step_up(&mut self, rate: f64, fails: u32, passes: bool) -> State {
        if passes {
            // A pass above a failure: that failure was chance.
            (self.low, self.high) = (Some(rate), None);
        } else if fails == 0 {
            self.high = Some(rate);
        }
        let fails = if passes { 0 } else { fails + 1 };
        let higher = (rate * self.params.factor).min(self.params.max);
        if fails < FAILS && rate < self.params.max {
            State::Ramp { rate: higher, fails }
        } else if self.low.is_none() {
            State::RampDown { rate: self.params.initial / self.params.factor }
        } else {
            self.after_ramp()
        }
    }

    fn after_step_down(&mut self, rate: f64, passes: bool) -> State {
        if passes {
            self.low = Some(rate);
            return self.after_ramp();
        }
        self.high = Some(rate);
        let (lower, floor) = (rate / self.params.factor, self.params.initial * DOWN_MAX);
        if lower < floor { State::Done } else { State::RampDown { rate: lower } }
    }

    /// Runs of a bisection's rate that passed, and that failed.
    fn passed_and_failed(&self) -> (usize, usize) {
        let passed = self.runs.iter().filter(|run| **run).count();
        (passed, self.runs.len() - passed)
    }

    /// Is a further run of the same rate needed?
    fn is_undecided(&self, measured: &Measured) -> bool {
        let (passed, failed) = self.passed_and_failed();
        passed.max(failed) * 2 <= RUNS && (self.near(measured) || self.runs.len() > 1)
    }

    fn after_bisection(&mut self, mid: f64) -> State {
        let (passed, failed) = self.passed_and_failed();
        *(if passed > failed { &mut self.low } else { &mut self.high }) = Some(mid);
        self.narrow()
    }

    fn overloaded(&mut self, n: usize, throughput: f64) -> (&'static str, String) {
        let factor = self.params.overload.get(n).copied().unwrap_or(1.0);
        let of_peak = throughput / self.peak().max(f64::MIN_POSITIVE);
        let collapsed = of_peak < self.params.collapse;
        self.report.overload.push(Overload { factor, throughput, of_peak, collapsed });
        if collapsed {
            ("fail", format!("congestion collapse: goodput is {:.0} % of its peak", 100.0 * of_peak))
        } else {
            ("pass", format!("goodput is {:.0} % of its peak", 100.0 * of_peak))
        }
    }

    fn told_recovery(&mut self, measured: &Measured) -> (&'static str, String) {
        let seconds = self.recovered(&measured.per_second);
        self.report.time_to_recover_s = Some(seconds);
        match seconds {
            Some(s) if s <= self.params.recovery.as_secs_f64() => ("pass", format!("recovered in {s} s")),
            Some(s) => ("fail", format!("recovered only in {s} s")),
            None => ("fail", "not recovered".to_owned()),
        }
    }

    /// `None`: there is nothing to compare with.
    fn mirrored(&mut self, n: usize, measured: &Measured) -> Option<(&'static str, String)> {
        let (rate, up) = self.mirror(n)?;
        let down = measured.goodput_share();
        let differs = (up - down).abs() > self.params.hysteresis;
        self.report.mirror.push(Hysteresis { rate, up, down, differs });
        let shares = format!("{:.1} % upwards, {:.1} % downwards", 100.0 * up, 100.0 * down);
        Some((if differs { "fail" } else { "pass" }, shares))
    }

    /// The second from which on all is well for some seconds; `None`: there is none.
    fn recovered(&self, seconds: &[Second]) -> Option<f64> {
        let good = |second: &Second| {
            let failed = second.errors as f64 / (second.ok + second.errors).max(1) as f64;
            second.ok > 0 && failed <= self.params.hysteresis && second.avg_ms <= self.mean_limit_ms()
        };
        let after = |at: usize| seconds.get(at..at + GOOD_SECONDS);
        let found = (0..seconds.len()).find(|at| after(*at).is_some_and(|next| next.iter().all(good)));
        found.map(|at| at as f64)
    }

    /// What a mean may be when it is as at the rate that was found; the p99's limit, if that was not seen.
    fn mean_limit_ms(&self) -> f64 {
        let kept = self.report.points.iter().filter(|point| self.report.passed.contains(&point.rate));
        kept.map(|point| point.avg_ms).reduce(f64::max).unwrap_or(self.params.p99_ms).max(1.0) * 1.5
    }
}

#[cfg(test)]
mod tests;
