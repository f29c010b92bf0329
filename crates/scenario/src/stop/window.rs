//! Looks at the ticks through each rule's window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use observation::{Counts, EventKind, Outcome, Record, Tick};

use super::{Measure, StopRule};

/// A window counts as full a little early: ticks are not exactly as long as they should be.
const FULL: f64 = 0.95;

/// All rules of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    rules: Vec<(StopRule, Window)>,
    /// Since the run's begin: counted in ticks, and told as events. The same ones, but a tick may be lost.
    wrong: (u64, u64),
}

impl Watch {
    pub(crate) fn new(rules: impl IntoIterator<Item = StopRule>) -> Self {
        let rules = rules.into_iter().map(|rule| {
            let window = Window::new(rule.window);
            (rule, window)
        });
        Self { rules: rules.collect(), wrong: (0, 0) }
    }

    /// One more record of the client's; gives the rule that fires now, with the value seen.
    pub(crate) fn record(&mut self, record: &Record) -> Option<String> {
        match record {
            Record::Tick(tick) => {
                let sum = TickSum::of(tick);
                self.wrong.0 = self.wrong.0.saturating_add(sum.wrong);
                self.rules.iter_mut().for_each(|(_, window)| window.push(sum.clone()));
            }
            Record::Event(event) if matches!(event.event, EventKind::Integrity { .. }) => {
                self.wrong.1 += 1;
            }
            // What lies on both sides of a gap is no window.
            Record::Gap(_) | Record::Hello(_) => {
                self.rules.iter_mut().for_each(|(rule, window)| *window = Window::new(rule.window));
                return None;
            }
            _ => return None,
        }
        let wrong = self.wrong.0.max(self.wrong.1) as f64;
        self.rules.iter().find_map(|(rule, window)| {
            let value = match rule.measure {
                Measure::WrongValues => Some(wrong),
                measure => window.value(measure),
            };
            let value = value.filter(|value| rule.holds(*value))?;
            Some(format!("{rule}: {} seen", rule.measure.shown(value)))
        })
    }
}

/// One tick, all servers together.
#[derive(Debug, Clone, Default)]
struct TickSum {
    period: Duration,
    offered: u64,
    ok: u64,
    errors: u64,
    wrong: u64,
    latency: Vec<(u64, u64)>,
}

impl TickSum {
    fn of(tick: &Tick) -> Self {
        let mut counts = Counts::default();
        let mut latency = BTreeMap::new();
        for server in &tick.servers {
            counts.merge(&server.ops);
            for (value, n) in &server.latency.0 {
                let sum: &mut u64 = latency.entry(*value).or_default();
                *sum = sum.saturating_add(*n);
            }
        }
        Self {
            period: Duration::from_micros(tick.period_us),
            offered: tick.offered,
            ok: counts.ok(),
            errors: counts.errors(),
            wrong: counts.get(Outcome::WrongValue),
            latency: latency.into_iter().collect(),
        }
    }
}

/// The last ticks, added up. What enters is added and what leaves is taken off, so that long windows cost no more than short
/// ones; in `u128`, because counts come from another process and sums must come out even.
#[derive(Debug, Default)]
struct Window {
    length: Duration,
    ticks: VecDeque<TickSum>,
    covered: Duration,
    offered: u128,
    ok: u128,
    errors: u128,
    latency: BTreeMap<u64, u128>,
}

/// Most ticks of a window, whatever periods they claim.
const TICKS_MAX: usize = 6_000;

impl Window {
    fn new(length: Duration) -> Self {
        Self { length, ..Self::default() }
    }

    fn push(&mut self, tick: TickSum) {
        self.covered = self.covered.saturating_add(tick.period);
        self.offered += u128::from(tick.offered);
        self.ok += u128::from(tick.ok);
        self.errors += u128::from(tick.errors);
        for (value, n) in &tick.latency {
            *self.latency.entry(*value).or_default() += u128::from(*n);
        }
        self.ticks.push_back(tick);
        // As few ticks as still fill it.
        while let Some(first) = self.ticks.front() {
            let rest = self.covered.saturating_sub(first.period);
            if !self.fills(rest) && self.ticks.len() <= TICKS_MAX {
                break;
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(tick) = self.ticks.pop_front() else { return };
        self.covered = self.covered.saturating_sub(tick.period);
        self.offered -= u128::from(tick.offered);
        self.ok -= u128::from(tick.ok);
        self.errors -= u128::from(tick.errors);
        for (value, n) in tick.latency {
            if let Some(sum) = self.latency.get_mut(&value) {
                *sum -= u128::from(n);
                if *sum == 0 {
                    self.latency.remove(&value);
                }
            }
        }
    }

    fn fills(&self, covered: Duration) -> bool {
        covered.as_secs_f64() >= self.length.as_secs_f64() * FULL
    }

    fn value(&self, measure: Measure) -> Option<f64> {
        let seconds = self.covered.as_secs_f64();
        if !self.fills(self.covered) || seconds <= 0.0 {
            return None;
        }
        match measure {
            Measure::Goodput => Some(self.ok as f64 / seconds),
            Measure::Offered => Some(self.offered as f64 / seconds),
            Measure::ErrorRate => {
                let all = self.ok + self.errors;
                (all > 0).then(|| self.errors as f64 / all as f64)
            }
            Measure::Quantile(q) => self.quantile(q),
            Measure::WrongValues => None,
        }
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let all: u128 = self.latency.values().sum();
        let rank = ((all as f64 * q).ceil() as u128).max(1);
        let mut seen = 0;
        let found = self.latency.iter().find(|(_, n)| {
            seen += **n;
            seen >= rank
        });
        found.map(|(value, _)| *value as f64)
    }
}

#[cfg(test)]
mod tests {
    use observation::{Gap, Histogram, ServerTick};

    use super::*;

    fn tick(ok: u64, errors: u64, latency_us: u64) -> Record {
        let mut ops = Counts::default();
        ops.add(Outcome::Hit, ok);
        ops.add(Outcome::Timeout, errors);
        let latency = Histogram(if ok > 0 { vec![(latency_us, ok)] } else { vec![] });
        let server = ServerTick { server: "a".into(), ops, latency, ..ServerTick::default() };
        Record::Tick(Tick {
            period_us: 100_000,
            offered: ok.saturating_add(errors),
            servers: vec![server],
            ..Tick::default()
        })
    }

    fn watch(rule: &str) -> Watch {
        Watch::new([rule.parse().unwrap()])
    }

    /// The number of the tick, from 1, at which the rule fires, and what it says.
    fn fires(watch: &mut Watch, ticks: impl IntoIterator<Item = Record>) -> Option<(usize, String)> {
        let mut ticks = ticks.into_iter().enumerate();
        ticks.find_map(|(n, tick)| Some((n + 1, watch.record(&tick)?)))
    }

    fn times(record: Record, n: usize) -> impl Iterator<Item = Record> {
        std::iter::repeat_n(record, n)
    }

    #[test]
    fn a_window_must_be_full_before_its_rule_fires() {
        let mut watch = watch("error_rate > 50% for 2s");
        let (at, text) = fires(&mut watch, times(tick(10, 90, 500), 40)).unwrap();
        assert_eq!((at, text.as_str()), (19, "error_rate > 50% for 2s: 90.0 % seen"));
    }

    #[test]
    fn a_window_slides() {
        let mut watch = watch("error_rate > 50% for 2s");
        assert_eq!(fires(&mut watch, times(tick(100, 0, 500), 600)), None);
        // More than half of the last 19 ticks.
        let (at, _) = fires(&mut watch, times(tick(0, 100, 500), 40)).unwrap();
        assert_eq!(at, 10);
    }

    #[test]
    fn a_window_without_ops_has_a_goodput_of_0_but_no_error_rate_and_no_percentile() {
        for rule in ["error_rate >= 0% for 1s", "p99 >= 0ms for 1s"] {
            assert_eq!(fires(&mut watch(rule), times(tick(0, 0, 0), 50)), None);
        }
        let (at, text) = fires(&mut watch("goodput < 100 for 3s"), times(tick(0, 0, 0), 50)).unwrap();
        assert_eq!((at, text.as_str()), (29, "goodput < 100 for 3s: 0 ops/s seen"));
    }

    #[test]
    fn a_percentile_is_of_the_window_and_forgets_what_left_it() {
        let mut watch = watch("p99 > 100ms for 1s");
        assert_eq!(fires(&mut watch, times(tick(100, 0, 90_000), 20)), None);
        assert!(fires(&mut watch, times(tick(100, 0, 200_000), 1)).is_some());
        // What is slow leaves the window within a second, and nothing of it stays behind.
        let calm: Vec<_> = times(tick(100, 0, 90_000), 10).map(|tick| watch.record(&tick)).collect();
        assert!(calm[0].is_some() && calm[9].is_none(), "{calm:?}");
        assert_eq!(watch.rules[0].1.latency.len(), 1);
    }

    #[test]
    fn a_gap_empties_the_windows_but_not_the_count_of_wrong_values() {
        let mut watch = watch("goodput < 100 for 1s");
        assert_eq!(fires(&mut watch, times(tick(0, 0, 0), 9)), None);
        let gap = Gap { from_us: 0, to_us: 1, reason: "".into() };
        assert_eq!(watch.record(&Record::Gap(gap)), None);
        assert_eq!(fires(&mut watch, times(tick(0, 0, 0), 9)), None);
        assert!(watch.record(&tick(0, 0, 0)).is_some());
    }

    #[test]
    fn one_wrong_value_is_seen_in_its_own_tick() {
        let mut watch = watch("wrong_values > 0");
        assert_eq!(fires(&mut watch, times(tick(10, 5, 10), 20)), None);
        let Record::Tick(mut wrong) = tick(10, 0, 10) else { panic!() };
        wrong.servers[0].ops.add(Outcome::WrongValue, 1);
        assert_eq!(watch.record(&Record::Tick(wrong)), Some("wrong_values > 0: 1 seen".into()));
    }

    #[test]
    fn ticks_that_claim_no_time_do_not_pile_up() {
        let mut watch = watch("goodput < 1 for 60s");
        let Record::Tick(empty) = tick(u64::MAX, u64::MAX, 10) else { panic!() };
        let empty = Record::Tick(Tick { period_us: 0, ..empty });
        assert_eq!(fires(&mut watch, times(empty, 2 * TICKS_MAX)), None);
        assert!(watch.rules[0].1.ticks.len() <= TICKS_MAX);
    }
}
