//! What breakers on one fleet shall do, written down as plainly as it can be: whole histories instead of counters.

use memcache_client::BreakerConfig;
use memcache_client::breaker::{BreakerState, BreakerStats, TripReason, Verdict};
use tokio::time::Instant;

/// From, to, why.
pub type Change = (BreakerState, BreakerState, TripReason);

/// A permit that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub server: usize,
    pub probe: bool,
    number: u64,
    era: u64,
}

pub struct Model {
    config: BreakerConfig,
    max_ejected: usize,
    one: Vec<One>,
    permits: u64,
}

#[derive(Default)]
struct One {
    state: BreakerState,
    until: Option<Instant>,
    open_for: std::time::Duration,
    /// Grows with each change of the state.
    era: u64,
    /// Opens since it was last closed.
    opens: u32,
    /// Permits of probes that are out.
    probes: Vec<u64>,
    successes: u32,
    /// What the timeouts rule has seen since the last revival: `true` is a timeout, `false` a success.
    timeouts: Vec<bool>,
    /// The same for the other two; `true` is a failure, and slow.
    failures: Vec<bool>,
    slow: Vec<bool>,
    flagged: bool,
    stats: BreakerStats,
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|bad| **bad).count() as f64 / of.len().max(1) as f64
}

impl Model {
    pub fn new(config: BreakerConfig, members: usize, max_ejected: Option<usize>) -> Self {
        let one = (0..members).map(|_| One::default()).collect();
        Self { config, max_ejected: max_ejected.unwrap_or(members - 1), one, permits: 0 }
    }

    pub fn ask(&mut self, server: usize, now: Instant) -> (Option<Asked>, Option<Change>) {
        let one = &mut self.one[server];
        let mut change = None;
        if one.until.is_some_and(|until| now >= until) {
            one.until = None;
            change = Some(one.enter(BreakerState::HalfOpen, TripReason::OpenTimePassed(one.open_for)));
        }
        let wanted = self.config.successes_to_close - one.successes;
        let admitted = match one.state {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => one.probes.len() < self.config.half_open_probes.min(wanted) as usize,
        };
        if !admitted {
            one.stats.rejections += 1;
            return (None, change);
        }
        one.stats.requests += 1;
        self.permits += 1;
        let probe = one.state == BreakerState::HalfOpen;
        let asked = Asked { server, probe, number: self.permits, era: one.era };
        if probe {
            one.probes.push(asked.number);
        }
        (Some(asked), change)
    }

    pub fn end(&mut self, asked: Asked, verdict: Verdict, now: Instant) -> Option<Change> {
        let one = &mut self.one[asked.server];
        if asked.era != one.era {
            return None;
        }
        one.probes.retain(|number| *number != asked.number);
        match (asked.probe, verdict) {
            (_, Verdict::Nothing) => None,
            (true, Verdict::Success) => {
                one.stats.consecutive_failures = 0;
                one.successes += 1;
                one.see_speed(&self.config, false);
                if one.successes < self.config.successes_to_close {
                    return None;
                }
                let reason = TripReason::ProbesSucceeded(one.successes);
                one.opens = 0;
                one.failures.clear();
                one.timeouts.clear();
                one.slow.clear();
                let change = one.enter(BreakerState::Closed, reason);
                // The last probe is the first call of the new life.
                one.see_speed(&self.config, false);
                Some(change)
            }
            (true, _) => {
                one.stats.failures += 1;
                one.stats.consecutive_failures += 1;
                Some(one.open(&self.config, TripReason::ProbeFailed, now))
            }
            (false, Verdict::Success | Verdict::Slow) => {
                one.stats.consecutive_failures = 0;
                one.timeouts.push(false);
                one.failures.push(false);
                one.see_speed(&self.config, verdict == Verdict::Slow);
                let reason = (verdict == Verdict::Slow).then(|| self.slow_reason(asked.server)).flatten()?;
                self.trip(asked.server, reason, now)
            }
            (false, _) => {
                one.stats.failures += 1;
                one.stats.consecutive_failures += 1;
                one.failures.push(true);
                if verdict == Verdict::Timeout {
                    one.timeouts.push(true);
                }
                one.see_speed(&self.config, verdict == Verdict::Timeout);
                let reason = self.failure_reason(asked.server, verdict)?;
                self.trip(asked.server, reason, now)
            }
        }
    }

    fn failure_reason(&self, server: usize, verdict: Verdict) -> Option<TripReason> {
        let (one, config) = (&self.one[server], &self.config);
        if verdict == Verdict::Refused && config.trip_on_refused {
            return Some(TripReason::ConnectRefused);
        }
        let timeout = verdict == Verdict::Timeout;
        let in_a_row = one.timeouts.iter().rev().take_while(|timeout| **timeout).count();
        if let Some(k) = config.consecutive_timeouts.filter(|k| timeout && in_a_row >= *k as usize) {
            return Some(TripReason::ConsecutiveTimeouts(k));
        }
        let calls = one.failures.len() as u32;
        if config
            .ratio
            .is_some_and(|rule| calls >= rule.min_calls && share(&one.failures) >= rule.failure_ratio)
        {
            return Some(TripReason::FailureRatio { ratio: share(&one.failures), calls });
        }
        timeout.then(|| self.slow_reason(server)).flatten()
    }

    /// Slow, and an exception among its neighbours.
    fn slow_reason(&self, server: usize) -> Option<TripReason> {
        let (one, rule) = (&self.one[server], self.config.slow?);
        let (share, calls) = (share(&one.slow), one.slow.len() as u32);
        let flagged = self.one.iter().filter(|one| one.flagged).count();
        (calls >= rule.min_calls && share >= rule.share && 2 * flagged <= self.one.len())
            .then_some(TripReason::SlowCalls { share, calls })
    }

    fn trip(&mut self, server: usize, reason: TripReason, now: Instant) -> Option<Change> {
        let ejected = self.one.iter().filter(|one| one.state != BreakerState::Closed).count();
        (ejected < self.max_ejected).then(|| self.one[server].open(&self.config, reason, now))
    }

    pub fn is_closed_or_refuse(&mut self, server: usize) -> bool {
        let one = &mut self.one[server];
        let closed = one.state == BreakerState::Closed;
        one.stats.rejections += u64::from(!closed);
        closed
    }

    pub fn open_until(&self, server: usize) -> Option<Instant> {
        self.one[server].until
    }

    pub fn stats(&self, server: usize) -> BreakerStats {
        BreakerStats { state: self.one[server].state, ..self.one[server].stats }
    }
}

impl One {
    fn enter(&mut self, to: BreakerState, reason: TripReason) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.era += 1;
        self.probes.clear();
        self.successes = 0;
        self.stats.transitions[from as usize][to as usize] += 1;
        (from, to, reason)
    }

    fn open(&mut self, config: &BreakerConfig, reason: TripReason, now: Instant) -> Change {
        let doubled = config.open * 2u32.pow(self.opens.min(20));
        self.open_for = config.open_max.map_or(config.open, |max| doubled.min(max));
        self.opens += 1;
        self.until = Some(now + self.open_for);
        self.enter(BreakerState::Open, reason)
    }

    fn see_speed(&mut self, config: &BreakerConfig, slow: bool) {
        let Some(rule) = config.slow else { return };
        self.slow.push(slow);
        self.flagged = self.slow.len() as u32 >= rule.min_calls / 2 && share(&self.slow) >= rule.share / 2.0;
    }
}
