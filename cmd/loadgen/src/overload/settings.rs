//! The numbers of an overload test: what was typed, then what the file says, then the defaults.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use capacity::{GradualParams, SearchParams, Statistic};
use clap::{Args, ValueEnum};
use duration::DurationError;
use serde::Deserialize;

/// Most overloads.
const OVERLOADS_MAX: usize = 10;

/// Everything that may be set by a flag or, under the same name with underscores, in the file of --config.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// seed: equal steps until a limit breaks. slo: the highest rate that keeps a promise, by ramp and bisection. both: one after
    /// the other, and why they disagree [default: seed]
    #[arg(long, value_name = "HOW", help_heading = "Search")]
    pub search: Option<How>,
    /// First rate, ops/s [default: 50]
    #[arg(long, value_name = "OPS_PER_S", help_heading = "Search")]
    pub initial_rate: Option<f64>,
    /// Highest rate, ops/s [default: 5000]
    #[arg(long, value_name = "OPS_PER_S", help_heading = "Search")]
    pub max_rate: Option<f64>,

    /// From one step to the next, ops/s [default: 100]
    #[arg(long, value_name = "OPS_PER_S", help_heading = "Search by steps (seed)")]
    pub step: Option<f64>,
    /// Length of a step [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Search by steps (seed)")]
    pub step_duration: Option<Span>,
    /// Steps at the first rate, for the baseline [default: 5]
    #[arg(long, value_name = "N", help_heading = "Search by steps (seed)")]
    pub warm_up_steps: Option<u32>,
    /// A mean latency above this is a failure [default: 50ms]
    #[arg(long, value_name = "DURATION", help_heading = "Search by steps (seed)")]
    pub latency_threshold: Option<Span>,
    /// Throughput so far below its peak is a failure [default: 30%]
    #[arg(long, value_name = "PERCENT", help_heading = "Search by steps (seed)")]
    pub throughput_drop: Option<Percent>,
    /// More failed ops than this are a failure [default: 10%]
    #[arg(long, value_name = "PERCENT", help_heading = "Search by steps (seed)")]
    pub error_rate: Option<Percent>,
    /// The mitigation goes down to this part of the critical rate [default: 70%]
    #[arg(long, value_name = "PERCENT", help_heading = "Search by steps (seed)")]
    pub mitigation_at: Option<Percent>,

    /// The p99 that is promised [default: 50ms]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub slo_p99: Option<Span>,
    /// latency: from the intended start. wait: in the queue of --backend [default: latency]
    #[arg(long, value_name = "WHAT", help_heading = "Search for a promise (slo)")]
    pub slo_on: Option<On>,
    /// Ops that may fail [default: 0.1%]
    #[arg(long, value_name = "PERCENT", help_heading = "Search for a promise (slo)")]
    pub slo_errors: Option<Percent>,
    /// Load that is not measured before a step [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub settle: Option<Span>,
    /// Measured for a step of the ramp; half as long again for one of the bisection [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub measure: Option<Span>,
    /// A step of the bisection is made up to four times longer to have so many ops [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Search for a promise (slo)")]
    pub min_ops: Option<u64>,
    /// Length of the confirmation [default: 60s]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub confirm: Option<Span>,
    /// Overloads as factors of what was found [default: 1.2,1.5,2]
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', help_heading = "Search for a promise (slo)")]
    pub overload: Option<Vec<f64>>,
    /// Length of each overload [default: 20s]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub overload_duration: Option<Span>,
    /// Recovery after the overload in this time is prompt [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Search for a promise (slo)")]
    pub recovery: Option<Span>,
}

/// Which algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Equal steps.
    Seed,
    /// Ramp and bisection.
    Slo,
    /// One after the other.
    Both,
}

/// Which latency is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// From the intended start.
    Latency,
    /// In the target's queue.
    Wait,
}

/// A duration as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        duration::within(Duration::ZERO..=LONGEST, text).map(Self)
    }
}

/// Longest duration of anything here.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error}, not {text:?}"))
    }
}

/// A share, written as a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let share = number.filter(|number| (0.0..=100.0).contains(number));
        share.map(|number| Self(number / 100.0)).ok_or_else(|| "write 0% to 100%, such as 30%".to_owned())
    }
}

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Settings {
    /// What was typed before what the file says. Unknown keys are refused, with their line.
    pub fn with_file(self, path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(self) };
        let text = std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
        let file: Settings = toml::from_str(&text).with_context(|| format!("--config {}", path.display()))?;
        Ok(self.or(file))
    }

    fn or(self, file: Self) -> Self {
        Self {
            search: self.search.or(file.search),
            initial_rate: self.initial_rate.or(file.initial_rate),
            max_rate: self.max_rate.or(file.max_rate),
            step: self.step.or(file.step),
            step_duration: self.step_duration.or(file.step_duration),
            warm_up_steps: self.warm_up_steps.or(file.warm_up_steps),
            latency_threshold: self.latency_threshold.or(file.latency_threshold),
            throughput_drop: self.throughput_drop.or(file.throughput_drop),
            error_rate: self.error_rate.or(file.error_rate),
            mitigation_at: self.mitigation_at.or(file.mitigation_at),
            slo_p99: self.slo_p99.or(file.slo_p99),
            slo_on: self.slo_on.or(file.slo_on),
            slo_errors: self.slo_errors.or(file.slo_errors),
            settle: self.settle.or(file.settle),
            measure: self.measure.or(file.measure),
            min_ops: self.min_ops.or(file.min_ops),
            confirm: self.confirm.or(file.confirm),
            overload: self.overload.or(file.overload),
            overload_duration: self.overload_duration.or(file.overload_duration),
            recovery: self.recovery.or(file.recovery),
        }
    }

    /// Which algorithm.
    pub fn how(&self) -> How {
        self.search.unwrap_or(How::Seed)
    }

    /// For the steps. `hook`: a mitigation may be applied.
    pub fn gradual(&self, hook: bool) -> anyhow::Result<GradualParams> {
        let defaults = GradualParams::default();
        let params = GradualParams {
            initial: self.initial_rate.unwrap_or(defaults.initial),
            max: self.max_rate.unwrap_or(defaults.max),
            step: self.step.unwrap_or(defaults.step),
            step_lasts: span(self.step_duration, defaults.step_lasts),
            warm_up_steps: self.warm_up_steps.unwrap_or(defaults.warm_up_steps),
            latency_ms: self.latency_threshold.map_or(defaults.latency_ms, |span| ms(span.0)),
            drop: share(self.throughput_drop, defaults.drop),
            errors: share(self.error_rate, defaults.errors),
            mitigation: share(self.mitigation_at, defaults.mitigation),
            hook,
        };
        rates(params.initial, params.max)?;
        rate("step", params.step)?;
        ensure!(!params.step_lasts.is_zero(), "step_duration: a step takes time");
        ensure!(params.latency_ms > 0.0, "latency_threshold: above 0s");
        ensure!(params.warm_up_steps <= 1_000, "warm_up_steps: at most 1000");
        ensure!(params.mitigation > 0.0, "mitigation_at: above 0%");
        let steps = (params.max - params.initial) / params.step;
        ensure!(steps <= 10_000.0, "step: {steps:.0} steps to the highest rate are too many; 10000 at most");
        Ok(params)
    }

    /// For the search. `queue`: the target's queue is seen.
    pub fn slo(&self, queue: bool) -> anyhow::Result<SearchParams> {
        let defaults = SearchParams::default();
        let statistic = match self.slo_on.unwrap_or(On::Latency) {
            On::Latency => Statistic::Latency,
            On::Wait if queue => Statistic::Wait,
            On::Wait => {
                return Err(anyhow!(
                    "slo_on: the wait is seen in a simulated database only, such as --backend 5x20ms"
                ));
            }
        };
        let params = SearchParams {
            initial: self.initial_rate.unwrap_or(defaults.initial),
            max: self.max_rate.unwrap_or(defaults.max),
            settle: span(self.settle, defaults.settle),
            measure: span(self.measure, defaults.measure),
            ops_min: self.min_ops.unwrap_or(defaults.ops_min),
            statistic,
            p99_ms: self.slo_p99.map_or(defaults.p99_ms, |span| ms(span.0)),
            errors: share(self.slo_errors, defaults.errors),
            confirm: span(self.confirm, defaults.confirm),
            overload: self.overload.clone().unwrap_or(defaults.overload),
            overload_lasts: span(self.overload_duration, defaults.overload_lasts),
            recovery: span(self.recovery, defaults.recovery),
            ..SearchParams::default()
        };
        rates(params.initial, params.max)?;
        for (name, lasts) in [
            ("measure", params.measure),
            ("confirm", params.confirm),
            ("overload_duration", params.overload_lasts),
        ] {
            ensure!(!lasts.is_zero(), "{name}: a step takes time");
        }
        ensure!(params.p99_ms > 0.0, "slo_p99: above 0s");
        ensure!(params.overload.len() <= OVERLOADS_MAX, "overload: at most {OVERLOADS_MAX}");
        let sound = params.overload.iter().all(|factor| (1.0..=100.0).contains(factor));
        ensure!(sound, "overload: factors of 1 to 100");
        Ok(params)
    }
}

fn rate(name: &str, rate: f64) -> anyhow::Result<()> {
    let sound = workload::Rate::new(rate).ok_or(workload::RateError::OutOfRange(rate));
    sound.map(drop).with_context(|| name.to_owned())
}

fn rates(initial: f64, max: f64) -> anyhow::Result<()> {
    rate("initial_rate", initial)?;
    rate("max_rate", max)?;
    ensure!(initial <= max, "initial_rate: {initial} is above max_rate, {max}");
    Ok(())
}

fn span(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0)
}

fn share(given: Option<Percent>, default: f64) -> f64 {
    given.map_or(default, |percent| percent.0)
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("overload.toml");
        std::fs::write(&path, text).unwrap();
        Settings { step: Some(20.0), ..Settings::default() }.with_file(Some(&path))
    }

    #[test]
    fn nothing_set_is_the_documented_defaults() {
        let settings = Settings::default();
        assert_eq!(settings.gradual(false).unwrap(), GradualParams::default());
        assert_eq!(settings.slo(false).unwrap(), SearchParams::default());
        assert_eq!(settings.how(), How::Seed);
    }

    #[test]
    fn what_was_typed_comes_before_the_file() {
        let text = "search = \"both\"\nstep = 7\nstep_duration = \"2s\"\nerror_rate = \"5%\"\nslo_p99 = \"80ms\"\nslo_on = \"wait\"\n";
        let settings = file(text).unwrap();
        let params = settings.gradual(false).unwrap();
        assert_eq!((params.step, params.step_lasts, params.errors), (20.0, Duration::from_secs(2), 0.05));
        let search = settings.slo(true).unwrap();
        assert_eq!((search.p99_ms, search.statistic, settings.how()), (80.0, Statistic::Wait, How::Both));
        assert!(settings.slo(false).unwrap_err().to_string().contains("--backend 5x20ms"));
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_its_line() {
        for (text, told) in [
            (
                "step = 7\nstpe_duration = \"2s\"\n",
                &["line 2", "unknown field `stpe_duration`", "step_duration"][..],
            ),
            ("\nerror_rate = \"5\"\n", &["line 2", "such as 30%"]),
            ("settle = \"5 parsecs\"\n", &["line 1", "such as 250ms, 10s or 2m"]),
            ("search = \"fast\"\n", &["line 1", "seed"]),
        ] {
            let error = format!("{:#}", file(text).unwrap_err());
            assert!(told.iter().all(|part| error.contains(part)), "{error}");
            assert!(error.contains("overload.toml"), "{error}");
        }
    }

    #[test]
    fn numbers_that_make_no_test_are_refused() {
        let refused = |settings: Settings| {
            let error = settings.gradual(false).map(drop).and(settings.slo(false).map(drop)).unwrap_err();
            format!("{error:#}")
        };
        let base = Settings::default;
        for (settings, told) in [
            (Settings { initial_rate: Some(-1.0), ..base() }, "initial_rate: a rate lies between"),
            (Settings { initial_rate: Some(6_000.0), ..base() }, "above max_rate"),
            (Settings { step: Some(0.0), ..base() }, "step: a rate lies between"),
            (Settings { step: Some(0.01), ..base() }, "too many"),
            (Settings { step_duration: Some(Span(Duration::ZERO)), ..base() }, "takes time"),
            (Settings { overload: Some(vec![0.5]), ..base() }, "factors of 1 to 100"),
            (Settings { measure: Some(Span(Duration::ZERO)), ..base() }, "takes time"),
        ] {
            let error = refused(settings);
            assert!(error.contains(told), "{error}");
        }
    }
}
