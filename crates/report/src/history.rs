//! A journal as columns over time: what the charts of a report show. Nothing is judged here.

use std::collections::{BTreeMap, BTreeSet};

use observation::journal::{Entry, Journal, Source};
use observation::{
    BreakerState, Counts, End, EventKind, FaultState, Hello, Histogram, Outcome, PhaseKind, PoolTick, Record,
    Run, Tick,
};

/// Points of a column at most: more than a screen has.
pub(crate) const POINTS_MAX: u64 = 1_000;
/// Length of a point, µs: the first that gives few enough of them.
const STEPS_US: [u64; 6] = [100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000];
/// Changes of breakers that are shown to the microsecond; of more only the worst state of each point.
const CHANGES_MAX: usize = 2_000;
/// Servers that are drawn, those with a fault first: a page stays readable and small.
pub(crate) const SERVERS_MAX: usize = 12;

/// Everything of one run that is drawn; times are seconds since the begin of the journal.
#[derive(Debug, Default)]
pub(crate) struct History<'a> {
    pub(crate) run: Option<&'a Run>,
    pub(crate) hello: Option<&'a Hello>,
    pub(crate) end: Option<&'a End>,
    /// Begin of each phase.
    pub(crate) phases: BTreeMap<PhaseKind, f64>,
    /// Last fault acknowledged, first one being removed, last one lifted.
    pub(crate) fault_on: Option<f64>,
    pub(crate) fault_off: Option<f64>,
    pub(crate) lifted: Option<f64>,
    /// End of the last thing that was recorded.
    pub(crate) until: f64,
    /// Length of a point, s.
    pub(crate) step: f64,
    pub(crate) points: Vec<Point>,
    /// Servers that are drawn.
    pub(crate) servers: Vec<String>,
    /// Servers that are not.
    pub(crate) left_out: usize,
    /// Intervals of one state, by index into `servers`.
    pub(crate) breakers: Vec<Interval>,
}

/// What happened in one step; `None` in a column stands for "not observed".
#[derive(Debug, Default)]
pub(crate) struct Point {
    /// Middle of the interval.
    pub(crate) at: f64,
    /// Observed time, s; 0 marks a gap.
    pub(crate) seconds: f64,
    pub(crate) offered: u64,
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram,
    /// The last that was seen, by server.
    pub(crate) pools: BTreeMap<String, PoolTick>,
}

/// One state of one breaker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interval {
    pub(crate) server: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) state: BreakerState,
}

impl Point {
    /// `count` per second.
    pub(crate) fn rate(&self, count: u64) -> Option<f64> {
        (self.seconds > 0.0).then(|| count as f64 / self.seconds)
    }

    /// The latency, in ms, that a share `q` of the ops did not exceed.
    pub(crate) fn latency_ms(&self, q: f64) -> Option<f64> {
        // A logarithmic axis has no place for 0, which the histogram gives to what took less than a microsecond.
        self.latency.quantile_us(q).map(|us| us.max(1) as f64 / 1e3)
    }
}

impl<'a> History<'a> {
    pub(crate) fn read(journal: &'a Journal) -> Self {
        Self::calmer(journal, STEPS_US[0])
    }

    /// With points of at least this length, where the noise of single ticks would hide what is compared.
    pub(crate) fn calmer(journal: &'a Journal, least_us: u64) -> Self {
        let mut history = Self::default();
        let mut ticks: Vec<(u64, &Tick)> = Vec::new();
        let mut changes: Vec<(u64, String, BreakerState)> = Vec::new();
        let mut moments: BTreeMap<String, BTreeMap<u8, u64>> = BTreeMap::new();
        let mut faulted = BTreeSet::new();
        for Entry { at_us, source, record } in &journal.entries {
            match (record, source) {
                (Record::Run(run), Source::Runner) => history.run = Some(run),
                (Record::Hello(hello), _) => history.hello = history.hello.or(Some(hello)),
                (Record::End(end), Source::Runner) => history.end = Some(end),
                (Record::Phase(phase), _) => {
                    history.phases.entry(phase.phase).or_insert_with(|| seconds(phase.at_us));
                }
                (Record::Fault(fault), _) => {
                    faulted.extend(fault.server.clone());
                    let moment = moments.entry(fault.id.clone()).or_default();
                    moment.entry(fault.state as u8).or_insert(fault.at_us);
                }
                (Record::Tick(tick), _) => ticks.push((*at_us, tick)),
                (Record::Event(event), _) => {
                    if let (EventKind::Breaker { to, .. }, Some(server)) = (&event.event, &event.server) {
                        changes.push((*at_us, server.clone(), *to));
                    }
                }
                _ => {}
            }
        }
        ticks.sort_by_key(|(at_us, _)| *at_us);
        let at =
            |state: FaultState| moments.values().filter_map(move |life| life.get(&(state as u8)).copied());
        history.fault_on = at(FaultState::Acknowledged).max().map(seconds);
        history.fault_off = at(FaultState::Removing).min().map(seconds);
        history.lifted = at(FaultState::Lifted).max().map(seconds);
        let first = ticks.first().map_or(0, |(at_us, tick)| at_us.saturating_sub(tick.period_us));
        let last = ticks.last().map_or(0, |(at_us, _)| *at_us);
        history.until = seconds(last.max(history.end.map_or(0, |end| end.at_us)));
        history.choose_servers(&ticks, &faulted);
        let step_us = step(last.saturating_sub(first)).max(least_us);
        history.step = seconds(step_us);
        history.points = points(&ticks, step_us);
        history.breakers = history.intervals(&ticks, changes, step_us);
        history
    }

    fn choose_servers(&mut self, ticks: &[(u64, &Tick)], faulted: &BTreeSet<String>) {
        let known = self.hello.into_iter().flat_map(|hello| hello.servers.iter().map(|server| &server.name));
        let ticked = ticks.first().into_iter().chain(ticks.last());
        let ticked = ticked.flat_map(|(_, tick)| tick.servers.iter().map(|server| &server.server));
        let mut names: Vec<&String> = Vec::new();
        let mut seen = BTreeSet::new();
        names.extend(known.chain(ticked).filter(|name| seen.insert(name.as_str())));
        self.left_out = names.len().saturating_sub(SERVERS_MAX);
        let mut chosen: Vec<usize> = (0..names.len()).collect();
        chosen.sort_by_key(|n| !faulted.contains(names[*n]));
        chosen.truncate(SERVERS_MAX);
        chosen.sort_unstable();
        self.servers = chosen.into_iter().map(|n| names[n].clone()).collect();
    }

    /// States from events, and from ticks where an event was lost.
    fn intervals(
        &self,
        ticks: &[(u64, &Tick)],
        changes: Vec<(u64, String, BreakerState)>,
        step_us: u64,
    ) -> Vec<Interval> {
        let place: BTreeMap<&str, usize> =
            self.servers.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        let mut states: Vec<Vec<(u64, BreakerState)>> = vec![Vec::new(); self.servers.len()];
        for (at_us, server, state) in &changes {
            if let Some(n) = place.get(server.as_str()) {
                states[*n].push((*at_us, *state));
            }
        }
        for (at_us, tick) in ticks {
            for server in &tick.servers {
                if let Some(n) = place.get(server.server.as_str()) {
                    // What a tick says holds since its begin only where nothing was known before.
                    let from =
                        if states[*n].is_empty() { at_us.saturating_sub(tick.period_us) } else { *at_us };
                    states[*n].push((from, server.breaker));
                }
            }
        }
        let coarse = changes.len() > CHANGES_MAX;
        let until_us = (self.until * 1e6) as u64;
        let mut intervals = Vec::new();
        for (server, mut states) in states.into_iter().enumerate() {
            states.sort_by_key(|(at_us, _)| *at_us);
            if coarse {
                states = worst_of_each(states, step_us);
            }
            states.dedup_by(|later, earlier| later.1 == earlier.1);
            for (n, (from, state)) in states.iter().enumerate() {
                let to = states.get(n + 1).map_or(until_us, |(to, _)| *to);
                if to > *from {
                    let (from, to) = (seconds(*from), seconds(to));
                    intervals.push(Interval { server, from, to, state: *state });
                }
            }
        }
        intervals
    }

    /// Classes of failure that occurred.
    pub(crate) fn error_classes(&self) -> Vec<Outcome> {
        let occurred = |class: &Outcome| self.points.iter().any(|point| point.counts.get(*class) > 0);
        Outcome::ALL.into_iter().filter(|class| class.is_error()).filter(occurred).collect()
    }
}

/// µs to s.
pub(crate) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn step(length_us: u64) -> u64 {
    let fits = |step: &u64| length_us / step <= POINTS_MAX;
    STEPS_US
        .into_iter()
        .find(fits)
        .unwrap_or_else(|| length_us.div_ceil(POINTS_MAX).next_multiple_of(1_000_000))
}

/// Ticks are joined until they are a step long: cutting time into equal pieces would give one piece two ticks and the next
/// none. Between points that are further apart than their ticks say lies a point of no observation.
fn points(ticks: &[(u64, &Tick)], step_us: u64) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut open: Option<(u64, Point)> = None;
    let mut covered = ticks.first().map_or(0, |(at_us, tick)| at_us.saturating_sub(tick.period_us));
    for (at_us, tick) in ticks {
        let begin = at_us.saturating_sub(tick.period_us);
        if begin > covered.saturating_add(step_us) {
            points.extend(open.take().map(|(from, point)| point.ended(from, covered)));
            points.push(Point::default().ended(covered, begin));
        }
        let (from, point) = open.get_or_insert_with(|| (begin, Point::default()));
        point.add(tick);
        covered = covered.max(*at_us);
        // Ticks are a little shorter or longer than asked for.
        if covered.saturating_sub(*from).saturating_add(tick.period_us.min(step_us) / 2) >= step_us {
            points.extend(open.take().map(|(from, point)| point.ended(from, covered)));
        }
    }
    points.extend(open.take().map(|(from, point)| point.ended(from, covered)));
    points
}

impl Point {
    fn add(&mut self, tick: &Tick) {
        self.seconds += seconds(tick.period_us);
        self.offered = self.offered.saturating_add(tick.offered);
        for server in &tick.servers {
            self.counts.merge(&server.ops);
            self.latency.merge(&server.latency);
            self.pools.insert(server.server.clone(), server.pool);
        }
    }

    fn ended(mut self, from_us: u64, to_us: u64) -> Self {
        self.at = (seconds(from_us) + seconds(to_us)) / 2.0;
        self
    }
}

/// For a client that flaps: the worst state of each step.
fn worst_of_each(states: Vec<(u64, BreakerState)>, step_us: u64) -> Vec<(u64, BreakerState)> {
    let mut coarse: BTreeMap<u64, BreakerState> = BTreeMap::new();
    for (at_us, state) in states {
        let worst = coarse.entry(at_us / step_us * step_us).or_insert(state);
        if state.gauge() > worst.gauge() {
            *worst = state;
        }
    }
    coarse.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observation::ServerTick;

    fn tick(at_us: u64, breaker: BreakerState) -> Tick {
        let server = ServerTick { server: "a".to_owned(), breaker, ..ServerTick::default() };
        Tick { at_us, period_us: 100_000, offered: 10, servers: vec![server], ..Tick::default() }
    }

    fn journal(ticks: impl IntoIterator<Item = Tick>) -> Journal {
        let entry =
            |tick: Tick| Entry { at_us: tick.at_us, source: Source::Client, record: Record::Tick(tick) };
        Journal { entries: ticks.into_iter().map(entry).collect(), truncated: false }
    }

    #[test]
    fn every_tick_is_in_one_point_and_long_runs_have_few() {
        for (ticks, points, step) in [(450, 450, 0.1), (6_000, 600, 1.0), (60_000, 1_000, 6.0)] {
            let journal = journal((1..=ticks).map(|n| tick(n * 100_000, BreakerState::Closed)));
            let history = History::read(&journal);
            assert_eq!((history.points.len(), history.step), (points, step));
            assert_eq!(history.points.iter().map(|point| point.offered).sum::<u64>(), ticks * 10);
            assert!(history.points.iter().all(|point| point.rate(point.offered).unwrap().round() == 100.0));
        }
    }

    #[test]
    fn a_gap_is_no_zero() {
        let journal = journal([1, 2, 9, 10].map(|n| tick(n * 100_000, BreakerState::Closed)));
        let rates: Vec<_> =
            History::read(&journal).points.iter().map(|p| p.rate(p.offered).is_some()).collect();
        assert_eq!(rates, [true, true, false, true, true]);
    }

    #[test]
    fn states_come_from_ticks_where_no_event_was_seen_and_flapping_is_coarse() {
        let open = |n| if (3..5).contains(&n) { BreakerState::Open } else { BreakerState::Closed };
        let states = journal((1..=6).map(|n| tick(n * 100_000, open(n))));
        let intervals = History::read(&states).breakers;
        let shown: Vec<_> = intervals.iter().map(|i| (i.from, i.to, i.state.gauge())).collect();
        assert_eq!(shown, [(0.0, 0.3, 0), (0.3, 0.5, 2), (0.5, 0.6, 0)]);
        let flapping =
            (0..9_000u64).map(|n| (n * 50, [BreakerState::Open, BreakerState::Closed][n as usize % 2]));
        assert_eq!(worst_of_each(flapping.collect(), 100_000).len(), 5);
    }

    #[test]
    fn no_time_from_outside_is_too_large() {
        let wild = [tick(u64::MAX, BreakerState::Open), tick(0, BreakerState::Closed)];
        assert!(History::read(&journal(wild)).points.len() < 10);
    }
}
