//! When the generator, and not the client, is the limit of a load.

use observation::EventKind;

use crate::recorder::{Latency, Recorder, add_latency, latency};

/// Share of starts that may be missed: late, dropped, or never given out.
const MISSED_SHARE: f64 = 0.001;
/// How far the 99th percentile of starts may lie behind, µs.
const LAG_P99_US: u64 = 5_000;
/// Ticks of the window in which a running load is judged.
const WINDOW_TICKS: u64 = 10;

/// Was the generator the limit, if it missed so many of its starts and the others lay behind like this?
pub(crate) fn is_limit(missed: u64, starts: u64, lag: &Latency) -> bool {
    missed as f64 > starts as f64 * MISSED_SHARE || lag_p99_us(lag) > LAG_P99_US
}

fn lag_p99_us(lag: &Latency) -> u64 {
    if lag.is_empty() { 0 } else { lag.value_at_quantile(0.99) }
}

/// Judges a running load once a second.
#[derive(Debug)]
pub(crate) struct LimitWatch {
    ticks: u64,
    offered: u64,
    missed: u64,
    lag: Latency,
}

impl Default for LimitWatch {
    fn default() -> Self {
        Self { ticks: 0, offered: 0, missed: 0, lag: latency() }
    }
}

impl LimitWatch {
    /// Adds what was recorded in a tick; says at the end of a window whether the generator was its limit.
    pub(crate) fn tick(&mut self, interval: &Recorder) -> Option<EventKind> {
        self.ticks += 1;
        self.offered += interval.offered;
        self.missed += interval.late + interval.dropped;
        add_latency(&mut self.lag, &interval.lag);
        if self.ticks < WINDOW_TICKS {
            return None;
        }
        let window = std::mem::take(self);
        let (missed, offered, lag_p99_us) = (window.missed, window.offered, lag_p99_us(&window.lag));
        is_limit(missed, offered, &window.lag).then_some(EventKind::Overload { missed, offered, lag_p99_us })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The event of one second whose first tick missed so many of 10 000 starts, the others being so far behind.
    fn second(watch: &mut LimitWatch, missed: u64, lag: Duration) -> Option<EventKind> {
        let events: Vec<EventKind> = (0..10)
            .filter_map(|tick| {
                let mut interval = Recorder::new(1);
                (interval.offered, interval.dropped) = (1_000, if tick == 0 { missed } else { 0 });
                interval.started(Some(lag));
                watch.tick(&interval)
            })
            .collect();
        assert!(events.len() <= 1, "{events:?}");
        events.into_iter().next()
    }

    #[test]
    fn the_generator_says_when_more_than_one_in_a_thousand_starts_was_missed() {
        let mut watch = LimitWatch::default();
        let soon = Duration::from_micros(10);
        assert_eq!(second(&mut watch, 10, soon), None);
        assert_eq!(second(&mut watch, 0, soon), None);
        let event = EventKind::Overload { missed: 11, offered: 10_000, lag_p99_us: 10 };
        assert_eq!(second(&mut watch, 11, soon), Some(event));
        assert_eq!(second(&mut watch, 10, soon), None);
    }

    #[test]
    fn the_generator_says_when_its_starts_lie_behind() {
        let mut watch = LimitWatch::default();
        assert_eq!(second(&mut watch, 0, Duration::from_micros(4_900)), None);
        let Some(EventKind::Overload { missed: 0, lag_p99_us, .. }) =
            second(&mut watch, 0, Duration::from_micros(5_200))
        else {
            panic!("5.2 ms are too far behind");
        };
        assert!((5_150..=5_250).contains(&lag_p99_us), "{lag_p99_us}");
        assert_eq!(second(&mut watch, 0, Duration::ZERO), None);
    }
}
