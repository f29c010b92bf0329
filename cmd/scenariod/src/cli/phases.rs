//! The flags under "Phases": how long a run lasts, and what ends it before its time.

use std::time::Duration;

use duration::{DurationError, LONGEST};
use scenario::{Endings, StopRule};

use crate::failure::{Failure, usage};
use crate::settings::PhaseLengths;
use crate::stable;

/// Lengths and ends of the phases.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Phases")]
pub struct PhaseArgs {
    /// Phases of at most 10, 15 and 20 s, with --until-stable
    #[arg(long)]
    pub quick: bool,
    /// Length of the phase before the fault
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    stabilization: Option<Duration>,
    /// Length of the phase with the fault
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    testing: Option<Duration>,
    /// Length of the phase after the fault
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    recovery: Option<Duration>,

    /// End the first phase as soon as the baseline is steady, and the last as soon as the client has recovered: their lengths are
    /// upper limits then
    #[arg(long)]
    pub until_stable: bool,
    /// Stop a run and take its fault away when this holds: MEASURE > VALUE [for DURATION]; may be repeated.
    /// Measures: goodput, offered, error_rate, p50, p90, p99, p999, wrong_values; comparisons: > >= < <=
    #[arg(long, value_name = "RULE")]
    pub abort_if: Vec<StopRule>,
    /// Stop a run when its client has not been seen for this long, at least 1 s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = blind)]
    blind: Duration,
}

/// A time without observations.
fn blind(text: &str) -> Result<Duration, DurationError> {
    duration::within(Duration::from_secs(1)..=LONGEST, text)
}

impl PhaseArgs {
    /// Lengths of the phases.
    pub fn lengths(&self) -> PhaseLengths {
        PhaseLengths {
            quick: self.quick,
            stabilization: self.stabilization,
            testing: self.testing,
            recovery: self.recovery,
        }
    }

    /// Rules that end a run, or a phase of it, before its time.
    pub fn endings(&self) -> Result<Endings, Failure> {
        let (rules, most) = (self.abort_if.len(), scenario::stop::RULES_MAX);
        if rules > most {
            return Err(usage(anyhow::anyhow!("--abort-if: {rules} rules; at most {most}")));
        }
        Ok(Endings {
            abort_if: self.abort_if.clone(),
            blind: self.blind,
            until_stable: (self.until_stable || self.quick).then(stable::until_stable),
        })
    }

    /// Is the length of any phase given?
    pub fn any_length(&self) -> bool {
        [self.stabilization, self.testing, self.recovery].iter().any(Option::is_some)
    }
}
