//! Bugs that are other settings than those that were declared.

use std::time::Duration;

use super::{Bug, Bugs};
use crate::config::{Config, OnOpen};

/// Open time of [`Bug::Flaps`].
const FLAP: Duration = Duration::from_millis(750);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

impl Bugs {
    /// What the client really does, of what it declares.
    pub(crate) fn in_effect(&self, mut config: Config) -> Config {
        let Some(bug) = self.bug() else { return config };
        match (bug, &mut config.breaker) {
            (Bug::BreakerDisabled, breaker) => *breaker = None,
            (Bug::NeverCloses, Some(breaker)) => breaker.successes_to_close = u32::MAX,
            (Bug::ThresholdTenfold, Some(breaker)) => {
                breaker.consecutive_timeouts = breaker.consecutive_timeouts.map(|n| n * 10);
                breaker.ratio.iter_mut().for_each(|rule| rule.min_calls *= 10);
            }
            (Bug::Flaps, Some(breaker)) => (breaker.open, breaker.open_jitter) = (FLAP, 0.0),
            (Bug::TimeoutTenfold, _) => {
                config.op_timeout *= 10;
                config.total_timeout = config.total_timeout.max(config.op_timeout);
            }
            (Bug::NoTimeout, _) => {
                (config.op_timeout, config.total_timeout) = (FOR_EVER, FOR_EVER);
                config.connect_timeout = FOR_EVER;
            }
            (Bug::NoFailover, _) => config.routing.on_open = OnOpen::FailFast,
            _ => {}
        }
        config
    }
}
