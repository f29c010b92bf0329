//! What a run is doing now.

use std::collections::VecDeque;
use std::time::Duration;

use observation::{BreakerState, Counts, PhaseKind, Tick};

/// Ticks of the window: the last second.
const WINDOW_TICKS: usize = 10;

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Which scenario.
    pub scenario: String,
    /// Which phase.
    pub phase: PhaseKind,
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
            goodput: None,
            error_rate: 0.0,
            breakers: Vec::new(),
        }
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
