//! What is known of a run for the terminal, from its journal as it is written.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use observation::journal::Entry;
use observation::{BreakerState, Counts, FaultState, Histogram, PhaseKind, Record, RunPhases, Tick};
use tokio::time::Instant;

use super::events::Events;

/// Ticks of the last second, from which the figures come.
const WINDOW_TICKS: usize = 10;
/// Ticks of one bar of the history.
const BAR_TICKS: usize = 5;
/// Bars that are kept: two minutes.
const BARS: usize = 240;
/// What arrived of the fault counts for this long.
const DOSE_WINDOW: Duration = Duration::from_secs(2);

/// A run as far as it has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) scenario: String,
    /// Planned lengths of the three phases.
    lengths: Option<RunPhases>,
    phase: Option<(PhaseKind, Instant)>,
    last_second: VecDeque<Figures>,
    bar: Vec<Figures>,
    /// Goodput, ops/s, in steps of half a second.
    pub(super) history: VecDeque<f64>,
    pub(super) breakers: Vec<(String, BreakerState)>,
    /// Proxies with a fault, and what else its dose is counted under.
    faulted: BTreeSet<String>,
    touched: VecDeque<(Instant, u64, u64)>,
    events: Events,
}

/// What one tick adds.
#[derive(Debug, Clone, Default)]
struct Figures {
    seconds: f64,
    counts: Counts,
    latency: Histogram,
}

/// Figures of the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Now {
    /// ops/s.
    pub(super) goodput: f64,
    /// Share of failed ops.
    pub(super) errors: f64,
    /// From the intended start, ms.
    pub(super) p99_ms: Option<f64>,
}

/// How far a phase has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Progress {
    pub(super) phase: PhaseKind,
    pub(super) length: Duration,
    /// At most the length.
    pub(super) elapsed: Duration,
}

impl Seen {
    /// Gives what happened in the phase that has ended with it.
    pub(super) fn entry(&mut self, entry: &Entry, now: Instant) -> Option<String> {
        let ended = matches!(entry.record, Record::Phase(_) | Record::End(_));
        let events = ended.then(|| std::mem::take(&mut self.events));
        let told = events.and_then(|events| {
            let words = report::plain(&events.words()?);
            Some(format!("{} {}: {words}", self.scenario, self.phase().name()))
        });
        match &entry.record {
            Record::Event(event) => self.events.add(event),
            Record::Run(run) => {
                *self = Self { scenario: run.scenario.clone(), lengths: Some(run.phases), ..Self::default() };
            }
            Record::Phase(phase) => self.phase = Some((phase.phase, now)),
            Record::Tick(tick) => self.tick(tick),
            Record::Fault(fault) if fault.state == FaultState::Acknowledged => {
                self.faulted.extend([fault.target.clone(), fault.id.clone()]);
            }
            // Of the other proxies it is 0, and says nothing.
            Record::Dose(dose) if self.faulted.contains(&dose.target) => {
                self.touched.push_back((now, dose.chunks_touched, dose.chunks));
                while self.touched.front().is_some_and(|(at, ..)| now.duration_since(*at) > DOSE_WINDOW) {
                    self.touched.pop_front();
                }
            }
            Record::End(_) => *self = Self::default(),
            _ => {}
        }
        told
    }

    fn tick(&mut self, tick: &Tick) {
        let mut figures = Figures { seconds: tick.period_us as f64 / 1e6, ..Figures::default() };
        for server in &tick.servers {
            figures.counts.merge(&server.ops);
            figures.latency.merge(&server.latency);
        }
        self.breakers = tick.servers.iter().map(|server| (server.server.clone(), server.breaker)).collect();
        if self.last_second.len() == WINDOW_TICKS {
            self.last_second.pop_front();
        }
        self.last_second.push_back(figures.clone());
        self.bar.push(figures);
        if self.bar.len() >= BAR_TICKS {
            if self.history.len() == BARS {
                self.history.pop_front();
            }
            self.history.extend(Now::of(self.bar.drain(..)).map(|now| now.goodput));
        }
    }

    pub(super) fn phase(&self) -> PhaseKind {
        self.phase.map_or(PhaseKind::Idle, |(phase, _)| phase)
    }

    /// `None`: no observations.
    pub(super) fn figures(&self) -> Option<Now> {
        Now::of(self.last_second.iter().cloned())
    }

    /// The three phases, and how far each has come.
    pub(super) fn progress(&self, now: Instant) -> [Progress; 3] {
        let lengths =
            self.lengths.unwrap_or(RunPhases { stabilization_ms: 0, testing_ms: 0, recovery_ms: 0 });
        let of = |phase: PhaseKind, ms: u64| {
            let length = Duration::from_millis(ms);
            let elapsed = match self.phase {
                Some((current, began)) if current == phase => now.duration_since(began).min(length),
                Some((current, _)) if current > phase => length,
                _ => Duration::ZERO,
            };
            Progress { phase, length, elapsed }
        };
        [
            of(PhaseKind::Stabilization, lengths.stabilization_ms),
            of(PhaseKind::Testing, lengths.testing_ms),
            of(PhaseKind::Recovery, lengths.recovery_ms),
        ]
    }

    /// Share of the chunks that the faulted proxies touched in the last seconds; `None`: nothing passed, or nothing counts it.
    pub(super) fn dose(&self) -> Option<f64> {
        let (touched, all) = self.touched.iter().fold((0u64, 0u64), |(a, b), (_, touched, all)| {
            (a.saturating_add(*touched), b.saturating_add(*all))
        });
        (all > 0).then(|| touched as f64 / all as f64)
    }
}

impl Now {
    fn of(figures: impl IntoIterator<Item = Figures>) -> Option<Self> {
        let mut sum = Figures::default();
        for of in figures {
            sum.seconds += of.seconds;
            sum.counts.merge(&of.counts);
            sum.latency.merge(&of.latency);
        }
        let (ok, errors) = (sum.counts.ok() as f64, sum.counts.errors() as f64);
        (sum.seconds > 0.0).then(|| Self {
            goodput: ok / sum.seconds,
            errors: errors / (ok + errors).max(1.0),
            p99_ms: sum.latency.quantile_us(0.99).map(|us| us as f64 / 1e3),
        })
    }
}
