//! What is so now, and which phases and faults there were: small enough to be sent whole whenever it changes.

use std::collections::VecDeque;

use observation::{Fault, FaultState, Hello, PhaseKind, Run};
use serde::Serialize;

use crate::SERVERS_MAX;
use crate::point::round;

/// Phases that are remembered; of more the oldest go.
const SPANS_MAX: usize = 256;
/// Faults of one run that are shown.
const FAULTS_MAX: usize = 24;
/// Characters of a text from outside.
const TEXT_MAX: usize = 200;

/// Rendered for the page; times are Unix seconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FeedState {
    pub(crate) client: String,
    pub(crate) load: String,
    pub(crate) servers: Vec<String>,
    /// Servers that are not shown.
    pub(crate) left_out: usize,
    run: Option<RunNow>,
    phase: &'static str,
    /// When it is planned to end.
    phase_ends: Option<f64>,
    spans: VecDeque<Span>,
    faults: Vec<FaultNow>,
    #[serde(skip)]
    planned: [f64; 3],
}

#[derive(Debug, Serialize)]
struct RunNow {
    id: String,
    scenario: String,
    description: String,
}

/// A phase, from its begin to that of the next.
#[derive(Debug, Serialize)]
struct Span {
    from: f64,
    phase: &'static str,
    scenario: String,
}

#[derive(Debug, Serialize)]
struct FaultNow {
    target: String,
    given: String,
    /// `sent`, `acknowledged`, ...
    state: FaultState,
    /// Since when.
    at: f64,
    #[serde(skip)]
    id: String,
    /// Share of requests that it should touch, 0-1.
    #[serde(skip)]
    declared: Option<f64>,
    #[serde(skip)]
    slow_us: u64,
}

/// A text from outside, harmless and short.
pub(crate) fn text(from_outside: &str) -> String {
    page::cut(&page::plain(from_outside), TEXT_MAX)
}

impl FeedState {
    /// Are there other servers than before?
    pub(crate) fn hello(&mut self, hello: &Hello) -> bool {
        let names: Vec<String> =
            hello.servers.iter().take(SERVERS_MAX).map(|server| text(&server.name)).collect();
        self.client = text(&format!(
            "{} {} (driver {})",
            hello.client.name, hello.client.version, hello.settings.driver
        ));
        let load = &hello.settings.load;
        self.load = text(&match load.rate_ops_per_s {
            Some(rate) => format!("open loop, {rate:.0} ops/s, {}", load.workload),
            None => format!("closed loop, {} workers, {}", load.concurrency, load.workload),
        });
        self.left_out = hello.servers.len().saturating_sub(SERVERS_MAX);
        let others = self.servers != names;
        self.servers = names;
        others
    }

    pub(crate) fn run(&mut self, run: &Run) {
        self.run = Some(RunNow {
            id: text(&run.run),
            scenario: text(&run.scenario),
            description: text(&run.description),
        });
        self.faults.clear();
        let phases = [run.phases.stabilization_ms, run.phases.testing_ms, run.phases.recovery_ms];
        self.planned = phases.map(|ms| ms as f64 / 1e3);
    }

    pub(crate) fn phase(&mut self, phase: PhaseKind, at: f64) {
        self.phase = phase.name();
        let planned = usize::try_from(phase.gauge() - 1).ok().and_then(|n| self.planned.get(n));
        self.phase_ends = planned.map(|length| round(at + length));
        if self.spans.len() == SPANS_MAX {
            self.spans.pop_front();
        }
        let scenario = self.run.as_ref().map(|run| run.scenario.clone()).unwrap_or_default();
        self.spans.push_back(Span { from: round(at), phase: phase.name(), scenario });
    }

    pub(crate) fn fault(&mut self, fault: &Fault, at: f64) {
        let few = self.faults.len() < FAULTS_MAX;
        match self.faults.iter_mut().find(|known| known.id == fault.id) {
            Some(known) => (known.state, known.at) = (fault.state, round(at)),
            None if few => self.faults.push(FaultNow {
                target: text(&fault.target),
                given: text(&fault.given),
                state: fault.state,
                at: round(at),
                id: fault.id.clone(),
                declared: fault.effect().declared_share(),
                slow_us: fault.effect().slow_us(),
            }),
            None => {}
        }
    }

    /// The largest share that is declared by a fault that is there now.
    pub(crate) fn declared(&self) -> Option<f64> {
        let there = self.faults.iter().filter(|fault| fault.state == FaultState::Acknowledged);
        there.filter_map(|fault| fault.declared).reduce(f64::max)
    }

    /// How slow a canary at this target must be to have met a fault, µs; `None`: there is none at it now.
    pub(crate) fn slow_us(&self, target: &str) -> Option<u64> {
        self.active(target).map(|fault| fault.slow_us)
    }

    /// Is a dose that is counted under this name that of a fault that is there now?
    pub(crate) fn counts(&self, target: &str) -> bool {
        self.active(target).is_some()
    }

    fn active(&self, target: &str) -> Option<&FaultNow> {
        let there = |fault: &&FaultNow| {
            fault.state == FaultState::Acknowledged && (fault.target == target || fault.id == target)
        };
        self.faults.iter().find(there)
    }
}
