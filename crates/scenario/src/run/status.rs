//! What a run is doing now, for the progress line.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use observation::{BreakerState, Counts, PhaseKind, Tick};
use tokio::time::Instant;

/// Ticks of the window: the last second.
const WINDOW_TICKS: usize = 10;

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Which scenario.
    pub scenario: String,
    /// Which phase.
    pub phase: PhaseKind,
    /// When it ends.
    pub phase_ends: Instant,
    /// Successful ops/s over the last second; `None`: no observations.
    pub goodput: Option<f64>,
    /// Share of failed ops over the last second.
    pub error_rate: f64,
    /// Breaker of each server.
    pub breakers: Vec<(String, BreakerState)>,
}

impl Status {
    /// Nothing runs.
    pub fn idle() -> Self {
        Self {
            scenario: String::new(),
            phase: PhaseKind::Idle,
            phase_ends: Instant::now(),
            goodput: None,
            error_rate: 0.0,
            breakers: Vec::new(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.phase_ends.saturating_duration_since(Instant::now());
        write!(f, "{} {:<13} {:>4} s left", self.scenario, self.phase.name(), left.as_secs())?;
        match self.goodput {
            None => write!(f, "  no observations")?,
            Some(goodput) => write!(f, "  {goodput:>7.0} ok/s  {:>6.2} % errors", self.error_rate * 100.0)?,
        }
        for (server, state) in &self.breakers {
            write!(f, "  {server} {}", state.name())?;
        }
        Ok(())
    }
}

/// Adds ticks up to a second.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<(Duration, Counts)>);

impl Window {
    /// Goodput (ops/s) and error rate (share) after one more tick.
    pub(crate) fn add(&mut self, tick: &Tick) -> (f64, f64) {
        if self.0.len() == WINDOW_TICKS {
            self.0.pop_front();
        }
        let mut counts = Counts::default();
        for server in &tick.servers {
            counts.merge(&server.ops);
        }
        self.0.push_back((Duration::from_micros(tick.period_us), counts));
        let seconds: f64 = self.0.iter().map(|(period, _)| period.as_secs_f64()).sum();
        let (ok, errors) = self
            .0
            .iter()
            .fold((0, 0), |(ok, errors), (_, counts)| (ok + counts.ok(), errors + counts.errors()));
        (ok as f64 / seconds.max(1e-3), errors as f64 / (ok + errors).max(1) as f64)
    }
}
