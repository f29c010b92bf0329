//! Share of failures in a rolling window, exactly counted, as a `failsafe` policy on tokio's clock. (That crate's own
//! ratio policy averages exponentially, truncates its window to whole seconds and is blind for one window after each
//! recovery.)

use std::time::Duration;

use failsafe::FailurePolicy;
use tokio::time::Instant;

use crate::config::RatioRule;

/// The window moves in steps of a tenth of its length.
const SLOTS: usize = 10;

#[derive(Debug)]
pub(super) struct FailureRatio {
    rule: RatioRule,
    slot_length: Duration,
    slots: [Slot; SLOTS],
    /// Slot being filled, and when it began.
    current: usize,
    began: Instant,
    /// Set by the owner before each record, so that one look at the clock does.
    pub(super) now: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    calls: u32,
    failures: u32,
}

impl FailureRatio {
    pub(super) fn new(rule: RatioRule) -> Self {
        let now = Instant::now();
        Self {
            rule,
            slot_length: rule.window / SLOTS as u32,
            slots: [Slot::default(); SLOTS],
            current: 0,
            began: now,
            now,
        }
    }

    /// Share of failures (0-1) and number of calls in the window.
    pub(super) fn measured(&self) -> (f64, u32) {
        let calls: u32 = self.slots.iter().map(|slot| slot.calls).sum();
        let failures: u32 = self.slots.iter().map(|slot| slot.failures).sum();
        (f64::from(failures) / f64::from(calls.max(1)), calls)
    }

    fn record(&mut self, failed: bool) {
        self.advance();
        let slot = &mut self.slots[self.current];
        slot.calls = slot.calls.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    fn advance(&mut self) {
        let since = self.now.saturating_duration_since(self.began);
        if since < self.slot_length {
            return;
        }
        let passed = since.as_nanos() / self.slot_length.as_nanos().max(1);
        for _ in 0..passed.min(SLOTS as u128) {
            self.current = (self.current + 1) % SLOTS;
            self.slots[self.current] = Slot::default();
        }
        // Whole slots only, so that the grid does not drift.
        self.began += self.slot_length * u32::try_from(passed).unwrap_or(u32::MAX);
    }
}

impl FailurePolicy for FailureRatio {
    fn record_success(&mut self) {
        self.record(false);
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.record(true);
        let (ratio, calls) = self.measured();
        (calls >= self.rule.min_calls && ratio >= self.rule.failure_ratio).then_some(Duration::ZERO)
    }

    fn revived(&mut self) {
        self.slots = [Slot::default(); SLOTS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> FailureRatio {
        let rule = RatioRule { failure_ratio: 0.5, window: Duration::from_secs(10), min_calls: 20 };
        FailureRatio::new(rule)
    }

    #[tokio::test(start_paused = true)]
    async fn trips_at_the_share_and_the_count_and_not_before() {
        let mut policy = policy();
        (0..10).for_each(|_| policy.record_success());
        // 9 of 19, then 10 of 20.
        for _ in 0..9 {
            assert_eq!(policy.mark_dead_on_failure(), None);
        }
        assert!(policy.mark_dead_on_failure().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_is_forgotten() {
        let mut policy = policy();
        (0..19).for_each(|_| assert_eq!(policy.mark_dead_on_failure(), None));
        tokio::time::advance(Duration::from_millis(10_001)).await;
        policy.now = Instant::now();
        assert_eq!(policy.mark_dead_on_failure(), None);
        assert_eq!(policy.measured(), (1.0, 1));
        tokio::time::advance(Duration::from_secs(40_000_000)).await;
        policy.now = Instant::now();
        assert_eq!(policy.mark_dead_on_failure(), None);
    }
}
