//! What a run is doing now.

use std::collections::VecDeque;
use std::time::Duration;

use observation::{PhaseKind, Tick};

/// Ticks of the window: the last second.
const WINDOW_TICKS: usize = 10;

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Which phase.
    pub phase: PhaseKind,
    /// Successful ops/s over the last second; `None`: no observations.
    pub goodput: Option<f64>,
}

impl Status {
    /// Nothing runs.
    pub fn idle() -> Self {
        Self { phase: PhaseKind::Idle, goodput: None }
    }
}

/// Adds ticks up to a second.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<(Duration, u64)>);

impl Window {
    /// Goodput, ops/s, after one more tick.
    pub(crate) fn add(&mut self, tick: &Tick) -> f64 {
        if self.0.len() == WINDOW_TICKS {
            self.0.pop_front();
        }
        let ok = tick.servers.iter().fold(0u64, |sum, server| sum.saturating_add(server.ops.ok()));
        self.0.push_back((Duration::from_micros(tick.period_us), ok));
        let seconds: f64 = self.0.iter().map(|(period, _)| period.as_secs_f64()).sum();
        let ok = self.0.iter().fold(0u64, |sum, (_, ok)| sum.saturating_add(*ok));
        ok as f64 / seconds.max(1e-3)
    }
}
