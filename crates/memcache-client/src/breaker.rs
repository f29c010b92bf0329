//! A circuit breaker per server. `failsafe` supplies failure policies and backoffs; the state machine is ours,
//! because that crate's admits every call when half-open, lets a late success from before the outage close it, changes
//! its state when merely asked, and follows another clock than tokio's. This is the only file that names it.
//!
//! ```text
//!            a rule trips                    open time has passed, and an op asks
//!  closed ───────────────────▶ open ───────────────────────────────────────────▶ half-open
//!    ▲                           ▲            a probe fails                          │
//!    │                           └────────────────────────────────────────────────┤
//!    └────────────────────────────────────────────────────────────────────────────┘
//!                                  N probes have succeeded
//! ```
//!
//! An op gets a [`Permit`] and says how it ended. A permit that is dropped unsaid (the caller gave up) counts as
//! nothing and gives its probe slot back. Each state has a generation; results of an older one are ignored.
//! Reading the state changes nothing: an open breaker stays `Open` until an op asks for a permit after its time.

mod window;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::backoff::{self, Constant};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::config::BreakerConfig;
use crate::observer::Transition;
use window::FailureRatio;

/// State of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Traffic flows.
    #[default]
    Closed,
    /// A few probes decide.
    HalfOpen,
    /// Everything is refused.
    Open,
}

impl State {
    /// Every state.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// `closed`, `half_open` or `open`.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }

    /// 0 closed, 1 half-open, 2 open.
    pub fn gauge(self) -> i64 {
        self as i64
    }
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, PartialEq)]
pub enum TripReason {
    /// That many timeouts in a row.
    ConsecutiveTimeouts(u32),
    /// Share of failures in the window.
    FailureRatio {
        /// Measured share, 0-1.
        ratio: f64,
        /// Calls in the window.
        calls: u32,
    },
    /// Nobody listens there.
    ConnectRefused,
    /// A half-open probe failed.
    ProbeFailed,
    /// The open time has passed and an op asked.
    OpenTimePassed(Duration),
    /// That many probes succeeded.
    ProbesSucceeded(u32),
}

impl fmt::Display for TripReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TripReason::ConsecutiveTimeouts(n) => write!(f, "{n} timeouts in a row"),
            TripReason::FailureRatio { ratio, calls } => {
                write!(f, "{:.0} % of {calls} calls failed", ratio * 100.0)
            }
            TripReason::ConnectRefused => f.write_str("connect refused"),
            TripReason::ProbeFailed => f.write_str("probe failed"),
            TripReason::OpenTimePassed(open) => write!(f, "open time of {open:?} has passed"),
            TripReason::ProbesSucceeded(n) => write!(f, "{n} probes succeeded"),
        }
    }
}

/// How a call ended, as far as a breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A whole, allowed reply: hits and misses alike.
    Success,
    /// No reply in time, although the server had most of it.
    Timeout,
    /// The connect was refused.
    Refused,
    /// Any other failure of the server: reset, protocol, server error.
    Failure,
    /// Says nothing about the server: the caller gave up, or the op spent its time in our own queue.
    Nothing,
}

/// Counters since start, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakerStats {
    /// State now.
    pub state: State,
    /// Calls admitted.
    pub requests: u64,
    /// Calls refused.
    pub rejections: u64,
    /// Failures in all.
    pub failures: u64,
    /// Failures since the last success.
    pub consecutive_failures: u64,
    /// Transitions, `[from][to]` by gauge value.
    pub transitions: [[u64; 3]; 3],
}

/// Bounds how many of a client's servers may be ejected (not closed) at the same time.
#[derive(Debug)]
pub struct Ejections {
    ejected: AtomicUsize,
    max: usize,
}

impl Ejections {
    /// At most `max` at a time.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { ejected: AtomicUsize::new(0), max })
    }

    fn try_eject(&self) -> bool {
        let more = |n: usize| (n < self.max).then_some(n + 1);
        self.ejected.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn restore(&self) {
        self.ejected.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One server's breaker.
pub struct Breaker {
    config: BreakerConfig,
    ejections: Arc<Ejections>,
    core: Mutex<Core>,
}

struct Core {
    state: State,
    /// End of the open state.
    open_until: Instant,
    /// Length of the open state, for the reason text.
    open_for: Duration,
    generation: u64,
    sequence: u64,
    probes_in_flight: u32,
    probe_successes: u32,
    timeouts: Option<ConsecutiveFailures<Constant>>,
    ratio: Option<FailureRatio>,
    rng: ChaCha8Rng,
    stats: BreakerStats,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed breaker; `rng` draws the jitter of the open time.
    pub fn new(config: BreakerConfig, ejections: Arc<Ejections>, rng: ChaCha8Rng) -> Self {
        let open = backoff::constant(config.open);
        let core = Core {
            state: State::Closed,
            open_until: Instant::now(),
            open_for: config.open,
            generation: 0,
            sequence: 0,
            probes_in_flight: 0,
            probe_successes: 0,
            timeouts: config
                .consecutive_timeouts
                .map(|n| failure_policy::consecutive_failures(n, open.clone())),
            ratio: config.ratio.map(|rule| FailureRatio::new(rule, config.open)),
            rng,
            stats: BreakerStats::default(),
        };
        Self { config, ejections, core: Mutex::new(core) }
    }

    /// Asks to make a call. The transition, if asking caused one, is for the observer.
    pub fn try_acquire(&self) -> (Option<Permit<'_>>, Option<Transition>) {
        let mut core = self.lock();
        let now = Instant::now();
        let mut transition = None;
        if core.state == State::Open && now >= core.open_until {
            let reason = TripReason::OpenTimePassed(core.open_for);
            transition = Some(core.enter(State::HalfOpen, reason));
        }
        let admitted = match core.state {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen => {
                let wanted = self.config.successes_to_close.saturating_sub(core.probe_successes);
                core.probes_in_flight < self.config.half_open_probes.min(wanted)
            }
        };
        if !admitted {
            core.stats.rejections += 1;
            return (None, transition);
        }
        core.stats.requests += 1;
        let probe = core.state == State::HalfOpen;
        core.probes_in_flight += u32::from(probe);
        let permit = Permit { breaker: self, generation: core.generation, probe, began: now, told: false };
        (Some(permit), transition)
    }

    /// Would a call be admitted, or become a probe, now? Changes nothing.
    pub fn may_admit(&self) -> bool {
        let core = self.lock();
        match core.state {
            State::Closed => true,
            State::Open => Instant::now() >= core.open_until,
            State::HalfOpen => core.probes_in_flight < self.config.half_open_probes,
        }
    }

    /// State and counters. Changes nothing.
    pub fn stats(&self) -> BreakerStats {
        let core = self.lock();
        BreakerStats { state: core.state, ..core.stats }
    }

    fn tell(&self, permit: &Permit<'_>, verdict: Verdict) -> Option<Transition> {
        let mut core = self.lock();
        if permit.generation != core.generation {
            return None;
        }
        if permit.probe {
            core.probes_in_flight -= 1;
        }
        match verdict {
            Verdict::Nothing => None,
            Verdict::Success => self.on_success(&mut core, permit.probe),
            failure => self.on_failure(&mut core, permit.probe, failure),
        }
    }

    fn on_success(&self, core: &mut Core, probe: bool) -> Option<Transition> {
        core.stats.consecutive_failures = 0;
        core.record_success();
        if !probe {
            return None;
        }
        core.probe_successes += 1;
        if core.probe_successes < self.config.successes_to_close {
            return None;
        }
        core.revive();
        self.ejections.restore();
        Some(core.enter(State::Closed, TripReason::ProbesSucceeded(core.probe_successes)))
    }

    fn on_failure(&self, core: &mut Core, probe: bool, verdict: Verdict) -> Option<Transition> {
        core.stats.failures += 1;
        core.stats.consecutive_failures += 1;
        if probe {
            // It is ejected already.
            core.open_for = self.config.open;
            return Some(self.open(core, TripReason::ProbeFailed));
        }
        let (reason, open_for) = core.record_failure(&self.config, verdict)?;
        // The last server is kept: an error from it is no worse than none to ask at all.
        if !self.ejections.try_eject() {
            return None;
        }
        core.open_for = open_for;
        Some(self.open(core, reason))
    }

    fn open(&self, core: &mut Core, reason: TripReason) -> Transition {
        let jitter = self.config.open_jitter;
        let factor = if jitter > 0.0 { core.rng.random_range(1.0 - jitter..=1.0 + jitter) } else { 1.0 };
        core.open_for = core.open_for.mul_f64(factor);
        core.open_until = Instant::now() + core.open_for;
        core.enter(State::Open, reason)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn enter(&mut self, to: State, reason: TripReason) -> Transition {
        let from = self.state;
        self.state = to;
        self.generation += 1;
        self.sequence += 1;
        self.probes_in_flight = 0;
        self.probe_successes = 0;
        self.stats.transitions[from as usize][to as usize] += 1;
        Transition { sequence: self.sequence, from, to, reason }
    }

    fn record_success(&mut self) {
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.record_success();
        }
        if let Some(ratio) = &mut self.ratio {
            ratio.record_success();
        }
    }

    fn revive(&mut self) {
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.revived();
        }
        if let Some(ratio) = &mut self.ratio {
            ratio.revived();
        }
    }

    /// Lets every rule count the failure; the first that trips gives reason and open time.
    fn record_failure(&mut self, config: &BreakerConfig, verdict: Verdict) -> Option<(TripReason, Duration)> {
        let refused = (verdict == Verdict::Refused && config.trip_on_refused)
            .then_some((TripReason::ConnectRefused, config.open));
        let timeouts = match &mut self.timeouts {
            Some(policy) if verdict == Verdict::Timeout => policy.mark_dead_on_failure(),
            _ => None,
        };
        let count = config.consecutive_timeouts.unwrap_or(0);
        let timeouts = timeouts.map(|open| (TripReason::ConsecutiveTimeouts(count), open));
        let ratio = self.ratio.as_mut().and_then(|policy| {
            let open = policy.mark_dead_on_failure()?;
            let (ratio, calls) = policy.measured();
            Some((TripReason::FailureRatio { ratio, calls }, open))
        });
        refused.or(timeouts).or(ratio)
    }
}

/// The right to make one call.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a call that the caller gave up"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    generation: u64,
    probe: bool,
    began: Instant,
    told: bool,
}

impl Permit<'_> {
    /// Is this a half-open probe?
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Time since the permit was given.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// Says how the call ended. The transition, if that caused one, is for the observer.
    pub fn end(mut self, verdict: Verdict) -> Option<Transition> {
        self.told = true;
        self.breaker.tell(&self, verdict)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.told {
            // `Nothing` never causes a transition.
            let _ = self.breaker.tell(self, Verdict::Nothing);
        }
    }
}

#[cfg(test)]
mod tests;
