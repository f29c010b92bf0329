//! A breaker before the database: no queries for a while when half of them fail.

use std::sync::Mutex;
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::lock;

/// Ends are counted for so long.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer ends in a window say nothing.
const ENDS_MIN: u32 = 20;
/// Share of failed ends that opens it.
const FAILED: f64 = 0.5;
/// Probes that must be answered, one after the other, before it closes.
const PROBES: u32 = 5;

/// How long it is open, and how it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// No queries for so long.
    pub open: Duration,
    /// After closing, the share of queries that are admitted grows to all over this time.
    pub ramp: Duration,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    rule: BreakerRule,
    state: Mutex<BreakerState>,
}

#[derive(Debug)]
enum BreakerState {
    Closed { since: Option<Instant>, window: Instant, ends: u32, failed: u32 },
    Open { until: Instant },
    Probing { answered: u32, under_way: bool },
}

/// What a query was when it was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Normal,
    Probe,
}

impl Breaker {
    pub(crate) fn new(rule: BreakerRule) -> Self {
        let state = BreakerState::Closed { since: None, window: Instant::now(), ends: 0, failed: 0 };
        Self { rule, state: Mutex::new(state) }
    }

    /// `None`: not now.
    pub(crate) fn admit(&self, rng: &mut impl Rng) -> Option<Pass> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if let BreakerState::Open { until } = *state
            && now >= until
        {
            *state = BreakerState::Probing { answered: 0, under_way: false };
        }
        match &mut *state {
            BreakerState::Closed { since: Some(since), .. } if now - *since < self.rule.ramp => {
                let share = (now - *since).div_duration_f64(self.rule.ramp);
                (rng.random::<f64>() < share).then_some(Pass::Normal)
            }
            BreakerState::Closed { .. } => Some(Pass::Normal),
            BreakerState::Probing { under_way, .. } if !*under_way => {
                *under_way = true;
                Some(Pass::Probe)
            }
            BreakerState::Open { .. } | BreakerState::Probing { .. } => None,
        }
    }

    pub(crate) fn ended(&self, pass: Pass, answered: bool) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        match (&mut *state, pass) {
            (BreakerState::Closed { window, ends, failed, .. }, Pass::Normal) => {
                if now - *window >= WINDOW {
                    (*window, *ends, *failed) = (now, 0, 0);
                }
                *ends += 1;
                *failed += u32::from(!answered);
                if *ends >= ENDS_MIN && f64::from(*failed) >= f64::from(*ends) * FAILED {
                    *state = BreakerState::Open { until: now + self.rule.open };
                }
            }
            (BreakerState::Probing { answered: so_far, under_way }, Pass::Probe) => {
                *under_way = false;
                *so_far += 1;
                if !answered {
                    *state = BreakerState::Open { until: now + self.rule.open };
                } else if *so_far >= PROBES {
                    *state = BreakerState::Closed { since: Some(now), window: now, ends: 0, failed: 0 };
                }
            }
            // What was admitted before it opened says nothing new.
            _ => {}
        }
    }

    /// One that was admitted was never asked, or its caller is gone: another may be the probe.
    pub(crate) fn cancel(&self, pass: Pass) {
        if let (BreakerState::Probing { under_way, .. }, Pass::Probe) = (&mut *lock(&self.state), pass) {
            *under_way = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_at_half_probes_and_closes_with_a_ramp() {
        let rule = BreakerRule { open: Duration::from_secs(5), ramp: Duration::from_secs(10) };
        let (breaker, mut rng) = (Breaker::new(rule), ChaCha8Rng::seed_from_u64(1));
        let mut admit = || breaker.admit(&mut rng);
        for n in 0..20 {
            assert_eq!(admit(), Some(Pass::Normal), "{n}");
            breaker.ended(Pass::Normal, n % 2 == 0);
        }
        assert_eq!(admit(), None);
        tokio::time::advance(rule.open).await;
        assert_eq!((admit(), admit()), (Some(Pass::Probe), None));
        breaker.ended(Pass::Probe, false);
        assert_eq!(admit(), None);
        tokio::time::advance(rule.open).await;
        for _ in 0..PROBES {
            assert_eq!(admit(), Some(Pass::Probe));
            breaker.ended(Pass::Probe, true);
        }
        tokio::time::advance(rule.ramp / 2).await;
        let admitted = (0..1_000).filter(|_| admit().is_some()).count();
        assert!((430..570).contains(&admitted), "{admitted}");
        tokio::time::advance(rule.ramp).await;
        assert!((0..100).all(|_| admit().is_some()));
    }
}
