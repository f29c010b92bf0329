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

mod fleet;
mod window;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::backoff::{self, Constant, Exponential};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::bugs::{Bug, Bugs};
use crate::config::{BreakerConfig, RatioRule, SlowRule};
use crate::sync::{Mutex, MutexGuard};
pub use fleet::Fleet;
use window::FailureRatio;

/// Share of ops that a breaker with a ramp admits right after it has closed.
const RAMP_BEGIN: f64 = 0.1;

/// State of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerState {
    /// Traffic flows.
    #[default]
    Closed,
    /// A few probes decide.
    HalfOpen,
    /// Everything is refused.
    Open,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [BreakerState; 3] = [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open];

    /// `closed`, `half_open` or `open`.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        }
    }

    /// 0 closed, 1 half-open, 2 open.
    pub fn gauge(self) -> i64 {
        self as i64
    }
}

/// One change of a breaker's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Grows by one with each transition of this breaker.
    pub sequence: u64,
    /// Before.
    pub from: BreakerState,
    /// After.
    pub to: BreakerState,
    /// Why.
    pub reason: TripReason,
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// Share of slow calls in the window, while most other servers are fast.
    SlowCalls {
        /// Measured share, 0-1.
        share: f64,
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
            TripReason::SlowCalls { share, calls } => {
                write!(f, "{:.0} % of {calls} calls were slow", share * 100.0)
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
    /// The same, after more than the slow rule's threshold.
    Slow,
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
    pub state: BreakerState,
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

/// One server's breaker.
pub struct Breaker {
    config: BreakerConfig,
    fleet: Arc<Fleet>,
    core: Mutex<Core>,
    bugs: Bugs,
}

struct Core {
    state: BreakerState,
    /// End of the open state.
    open_until: Instant,
    /// Length of the open state, for the reason text.
    open_for: Duration,
    generation: u64,
    sequence: u64,
    probes_in_flight: u32,
    probe_successes: u32,
    opens: OpenTimes,
    timeouts: Option<ConsecutiveFailures<Constant>>,
    ratio: Option<FailureRatio>,
    slow: Option<FailureRatio>,
    /// Is this server counted as slow in the fleet?
    flagged_slow: bool,
    /// Since when the breaker is closed again, and the admitted part that has not made a whole op yet.
    ramp: Option<(Instant, f64)>,
    rng: ChaCha8Rng,
    stats: BreakerStats,
}

/// Lengths of one outage's open states.
struct OpenTimes {
    first: Duration,
    max: Option<Duration>,
    growing: Exponential,
}

impl OpenTimes {
    fn new(config: &BreakerConfig) -> Self {
        Self { first: config.open, max: config.open_max, growing: growing(config) }
    }

    fn next(&mut self) -> Duration {
        match self.max {
            Some(max) if max > self.first => {
                let ms = self.growing.next().map_or(u64::MAX, |length| length.as_secs());
                Duration::from_millis(ms).clamp(self.first, max)
            }
            _ => self.first,
        }
    }
}

/// The crate counts in whole seconds and refuses less than one: it is given milliseconds in their place.
fn growing(config: &BreakerConfig) -> Exponential {
    let in_ms = |time: Duration| Duration::from_secs(time.as_millis().clamp(1, u32::MAX.into()) as u64);
    backoff::exponential(in_ms(config.open), in_ms(config.open_max.unwrap_or(config.open).max(config.open)))
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed breaker; `rng` draws the jitter of the open time.
    pub fn new(config: BreakerConfig, fleet: Arc<Fleet>, rng: ChaCha8Rng) -> Self {
        let core = Core {
            state: BreakerState::Closed,
            open_until: Instant::now(),
            open_for: config.open,
            generation: 0,
            sequence: 0,
            probes_in_flight: 0,
            probe_successes: 0,
            opens: OpenTimes::new(&config),
            timeouts: config
                .consecutive_timeouts
                .map(|n| failure_policy::consecutive_failures(n, backoff::constant(config.open))),
            ratio: config.ratio.map(FailureRatio::new),
            slow: config.slow.map(|rule| FailureRatio::new(as_ratio(rule))),
            flagged_slow: false,
            ramp: None,
            rng,
            stats: BreakerStats::default(),
        };
        Self { config, fleet, core: Mutex::new(core), bugs: Bugs::default() }
    }

    /// The same, wrong on purpose.
    pub(crate) fn with_bugs(mut self, bugs: Bugs) -> Self {
        self.bugs = bugs;
        self
    }

    /// The settings.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Asks to make a call at `now`. The transition, if asking caused one, is for the observer.
    pub fn try_acquire(&self, now: Instant) -> (Option<Permit<'_>>, Option<Transition>) {
        let mut core = self.lock();
        let mut transition = None;
        if core.state == BreakerState::Open && now >= core.open_until {
            let reason = TripReason::OpenTimePassed(core.open_for);
            transition = Some(core.enter(BreakerState::HalfOpen, reason));
        }
        if core.state == BreakerState::HalfOpen && self.bugs.is(Bug::Flaps) {
            self.fleet.restore();
            core.revive(&self.config);
            transition = Some(core.enter(BreakerState::Closed, TripReason::ProbesSucceeded(0)));
        }
        let admitted = match core.state {
            BreakerState::Closed => core.ramp.is_none() || core.climbs(now, self.config.ramp),
            BreakerState::Open => false,
            BreakerState::HalfOpen if self.bugs.is(Bug::Stampede) => true,
            BreakerState::HalfOpen => {
                let wanted = self.config.successes_to_close.saturating_sub(core.probe_successes);
                core.probes_in_flight < self.config.half_open_probes.min(wanted)
            }
        };
        if !admitted {
            core.stats.rejections += 1;
            return (None, transition);
        }
        core.stats.requests += 1;
        let probe = core.state == BreakerState::HalfOpen;
        core.probes_in_flight += u32::from(probe);
        (Some(Permit { breaker: self, generation: core.generation, probe, told: false }), transition)
    }

    /// Refuses a call while the breaker is not closed, without becoming a probe: probes come from elsewhere.
    pub fn is_closed_or_refuse(&self) -> bool {
        let mut core = self.lock();
        let closed = core.state == BreakerState::Closed;
        core.stats.rejections += u64::from(!closed);
        closed
    }

    /// When an open breaker may be probed; `None` while it is not open.
    pub fn open_until(&self) -> Option<Instant> {
        let core = self.lock();
        (core.state == BreakerState::Open).then_some(core.open_until)
    }

    /// State and counters. Changes nothing.
    pub fn stats(&self) -> BreakerStats {
        let core = self.lock();
        BreakerStats { state: core.state, ..core.stats }
    }

    fn tell(&self, permit: &Permit<'_>, verdict: Verdict, now: Instant) -> Option<Transition> {
        let mut core = self.lock();
        if permit.generation != core.generation {
            return None;
        }
        if permit.probe {
            core.probes_in_flight -= 1;
        }
        match verdict {
            Verdict::Nothing => None,
            Verdict::Slow if permit.probe => self.on_failure(&mut core, true, verdict, now),
            Verdict::Success | Verdict::Slow => {
                let transition = self.on_success(&mut core, permit.probe, now);
                let slow = core.record_speed(&self.fleet, self.config.slow, verdict == Verdict::Slow, now);
                transition.or_else(|| self.trip(&mut core, slow?, now))
            }
            failure => self.on_failure(&mut core, permit.probe, failure, now),
        }
    }

    fn on_success(&self, core: &mut Core, probe: bool, now: Instant) -> Option<Transition> {
        core.stats.consecutive_failures = 0;
        core.record_success(now);
        if !probe {
            return None;
        }
        core.probe_successes += 1;
        if core.probe_successes < self.config.successes_to_close {
            return None;
        }
        core.revive(&self.config);
        if std::mem::take(&mut core.flagged_slow) {
            self.fleet.flag_slow(false);
        }
        core.ramp = (!self.config.ramp.is_zero()).then_some((now, 0.0));
        self.fleet.restore();
        Some(core.enter(BreakerState::Closed, TripReason::ProbesSucceeded(core.probe_successes)))
    }

    fn on_failure(&self, core: &mut Core, probe: bool, verdict: Verdict, now: Instant) -> Option<Transition> {
        core.stats.failures += 1;
        core.stats.consecutive_failures += 1;
        if probe {
            // It is ejected already.
            return Some(self.open(core, TripReason::ProbeFailed, now));
        }
        let slow = core.record_speed(&self.fleet, self.config.slow, verdict == Verdict::Timeout, now);
        let reason = core.record_failure(&self.config, verdict, now).or(slow)?;
        self.trip(core, reason, now)
    }

    /// Opens a closed breaker, unless it is the last: an error from the last server is no worse than none to ask.
    fn trip(&self, core: &mut Core, reason: TripReason, now: Instant) -> Option<Transition> {
        self.fleet.try_eject().then(|| self.open(core, reason, now))
    }

    fn open(&self, core: &mut Core, reason: TripReason, now: Instant) -> Transition {
        let jitter = self.config.open_jitter;
        let factor = if jitter > 0.0 { core.rng.random_range(1.0 - jitter..=1.0 + jitter) } else { 1.0 };
        core.open_for = core.opens.next().mul_f64(factor);
        core.open_until = now + core.open_for;
        core.ramp = None;
        core.enter(BreakerState::Open, reason)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        // A server that leaves the list leaves the fleet's counts too.
        let core = self.core.get_mut().unwrap_or_else(PoisonError::into_inner);
        if core.state != BreakerState::Closed {
            self.fleet.restore();
        }
        if core.flagged_slow {
            self.fleet.flag_slow(false);
        }
    }
}

fn as_ratio(rule: SlowRule) -> RatioRule {
    RatioRule { failure_ratio: rule.share, window: rule.window, min_calls: rule.min_calls }
}

impl Core {
    fn enter(&mut self, to: BreakerState, reason: TripReason) -> Transition {
        let from = self.state;
        self.state = to;
        self.generation += 1;
        self.sequence += 1;
        self.probes_in_flight = 0;
        self.probe_successes = 0;
        self.stats.transitions[from as usize][to as usize] += 1;
        Transition { sequence: self.sequence, from, to, reason }
    }

    /// Is this op within the share that is admitted so soon after closing?
    fn climbs(&mut self, now: Instant, ramp: Duration) -> bool {
        let Some((since, part)) = &mut self.ramp else { return true };
        let passed = now.saturating_duration_since(*since).as_secs_f64() / ramp.as_secs_f64();
        if passed >= 1.0 {
            self.ramp = None;
            return true;
        }
        *part += RAMP_BEGIN + (1.0 - RAMP_BEGIN) * passed;
        let whole = *part >= 1.0;
        *part -= f64::from(u8::from(whole));
        whole
    }

    fn record_success(&mut self, now: Instant) {
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.record_success();
        }
        if let Some(ratio) = &mut self.ratio {
            ratio.now = now;
            ratio.record_success();
        }
    }

    /// Counts one call for the slow rule; a reason if it trips.
    fn record_speed(
        &mut self,
        fleet: &Fleet,
        rule: Option<SlowRule>,
        slow: bool,
        now: Instant,
    ) -> Option<TripReason> {
        let (rule, window) = (rule?, self.slow.as_mut()?);
        window.now = now;
        let tripped = if slow {
            window.mark_dead_on_failure().is_some()
        } else {
            window.record_success();
            false
        };
        let (share, calls) = window.measured();
        // Half of what trips: neighbours that grow slow together are seen together.
        let flag = share >= rule.share / 2.0 && calls >= rule.min_calls / 2;
        if flag != self.flagged_slow {
            self.flagged_slow = flag;
            fleet.flag_slow(flag);
        }
        (tripped && fleet.is_outlier()).then_some(TripReason::SlowCalls { share, calls })
    }

    fn revive(&mut self, config: &BreakerConfig) {
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.revived();
        }
        for window in [&mut self.ratio, &mut self.slow].into_iter().flatten() {
            window.revived();
        }
        self.opens = OpenTimes::new(config);
    }

    /// Lets every rule count the failure; the first that trips gives the reason.
    fn record_failure(
        &mut self,
        config: &BreakerConfig,
        verdict: Verdict,
        now: Instant,
    ) -> Option<TripReason> {
        let refused =
            (verdict == Verdict::Refused && config.trip_on_refused).then_some(TripReason::ConnectRefused);
        let timeouts = match &mut self.timeouts {
            Some(policy) if verdict == Verdict::Timeout => policy.mark_dead_on_failure(),
            _ => None,
        };
        let count = config.consecutive_timeouts.unwrap_or(0);
        let timeouts = timeouts.map(|_| TripReason::ConsecutiveTimeouts(count));
        let ratio = self.ratio.as_mut().and_then(|policy| {
            policy.now = now;
            policy.mark_dead_on_failure()?;
            let (ratio, calls) = policy.measured();
            Some(TripReason::FailureRatio { ratio, calls })
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
    told: bool,
}

impl Permit<'_> {
    /// Is this a half-open probe?
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Replies that take longer are slow; `None`: there is no such rule.
    pub fn slow_above(&self) -> Option<Duration> {
        self.breaker.config.slow.map(|rule| rule.threshold)
    }

    /// Says how the call ended at `now`. The transition, if that caused one, is for the observer.
    pub fn end(mut self, verdict: Verdict, now: Instant) -> Option<Transition> {
        self.told = true;
        self.breaker.tell(&self, verdict, now)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.told {
            // `Nothing` never causes a transition.
            let _ = self.breaker.tell(self, Verdict::Nothing, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
