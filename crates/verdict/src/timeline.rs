//! A journal, put in order.

use std::collections::BTreeMap;
use std::time::Duration;

use observation::effect::Effect;
use observation::journal::{Journal, Source};
use observation::{
    BreakerState, Canary, Counts, Dose, End, EndStatus, Event, EventKind, Fault, FaultKind, FaultState, Gap,
    Hello, Histogram, Host, Note, Outcome, PhaseKind, Record, Run, ServerTick, Tick,
};

use crate::pair::FaultWidth;

/// Everything of one run, by kind; moments are µs on the run's clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline<'a> {
    pub(crate) run: Option<&'a Run>,
    pub(crate) hello: Option<&'a Hello>,
    pub(crate) phases: BTreeMap<PhaseKind, u64>,
    pub(crate) faults: Vec<FaultLife>,
    pub(crate) ticks: Vec<(u64, &'a Tick)>,
    pub(crate) breakers: Vec<Transition>,
    pub(crate) probes: Vec<Probe>,
    /// Dials and closed connections, one after another.
    pub(crate) connections: Vec<ConnectionChange>,
    pub(crate) stale: Vec<Stale>,
    pub(crate) integrity_events: u64,
    pub(crate) canaries: Vec<&'a Canary>,
    pub(crate) doses: Vec<&'a Dose>,
    pub(crate) gaps: Vec<&'a Gap>,
    /// The client's machine, second by second.
    pub(crate) hosts: Vec<&'a Host>,
    /// How long the client's machine was suspended.
    pub(crate) suspended: Duration,
    pub(crate) notes: Vec<&'a Note>,
    pub(crate) end: Option<&'a End>,
    pub(crate) truncated: bool,
}

/// One fault from its intent to its proven absence.
#[derive(Debug, Clone)]
pub(crate) struct FaultLife {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) server: Option<String>,
    pub(crate) kind: FaultKind,
    /// What it does.
    pub(crate) effect: Effect,
    pub(crate) given: String,
    pub(crate) params: BTreeMap<String, f64>,
    pub(crate) moments: BTreeMap<&'static str, u64>,
}

/// A breaker's change of state.
#[derive(Debug, Clone)]
pub(crate) struct Transition {
    pub(crate) at_us: u64,
    pub(crate) server: String,
    pub(crate) to: BreakerState,
}

/// A half-open probe that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) at_us: u64,
    pub(crate) server: String,
    pub(crate) ok: bool,
}

/// A dial that has ended, or a connection that was closed.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionChange {
    pub(crate) at_us: u64,
    pub(crate) server: String,
    pub(crate) dial: bool,
    pub(crate) ok: bool,
}

/// A read that gave what was no longer there.
#[derive(Debug, Clone)]
pub(crate) struct Stale {
    pub(crate) at_us: u64,
    pub(crate) age_us: u64,
    pub(crate) elsewhere: bool,
}

/// What the ticks of an interval add up to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sum {
    pub(crate) seconds: f64,
    pub(crate) offered: u64,
    /// Starts that came late, and those that never came.
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) ops: BTreeMap<String, Counts>,
    pub(crate) attempts: BTreeMap<String, Counts>,
    pub(crate) latency: Histogram,
    pub(crate) service: BTreeMap<String, Histogram>,
}

impl Sum {
    pub(crate) fn all(&self) -> Counts {
        let mut all = Counts::default();
        self.ops.values().for_each(|counts| all.merge(counts));
        all
    }

    pub(crate) fn goodput(&self) -> f64 {
        if self.seconds > 0.0 { self.all().ok() as f64 / self.seconds } else { 0.0 }
    }

    /// Ops/s that the schedule asked for; 0 of nothing.
    pub(crate) fn offered_per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.offered as f64 / self.seconds } else { 0.0 }
    }

    pub(crate) fn error_share(&self) -> f64 {
        share(self.all().errors(), self.all().total())
    }

    /// Ops with their home on one of `servers`.
    pub(crate) fn of(&self, servers: &[String]) -> Counts {
        let mut sum = Counts::default();
        self.ops.iter().filter(|(name, _)| servers.contains(name)).for_each(|(_, counts)| sum.merge(counts));
        sum
    }
}

/// Wall clocks of two machines differ by less, and a run lasts less, ms.
const CLOCKS_MS: u64 = 30 * 60 * 1000;

/// Later than any moment of a run, µs: 30 years. Moments below can be added to one another.
const MOMENT_MAX: u64 = 1_000_000_000_000_000;

/// The latest moment or length that a record names, as far as the judge reckons with it.
fn latest(record: &Record) -> u64 {
    match record {
        Record::Tick(tick) => tick.period_us,
        Record::Phase(phase) => phase.at_us,
        Record::Fault(fault) => fault.at_us,
        Record::Canary(canary) => canary.at_us.max(canary.took_us.unwrap_or(0)),
        Record::Dose(dose) => dose.at_us.max(dose.period_us),
        Record::Gap(gap) => gap.from_us.max(gap.to_us),
        Record::End(end) => end.at_us,
        _ => 0,
    }
}

/// Attempts that were sent to a server: not those that its breaker or its pool refused.
pub(crate) fn sent(attempts: &Counts) -> u64 {
    let refused = attempts.get(Outcome::BreakerOpen).saturating_add(attempts.get(Outcome::PoolExhausted));
    attempts.total().saturating_sub(refused)
}

/// `part` of `whole`; 0 of nothing.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl FaultLife {
    /// Without a moment yet.
    pub(crate) fn begin(fault: &Fault) -> Self {
        Self {
            id: fault.id.clone(),
            target: fault.target.clone(),
            server: fault.server.clone(),
            kind: fault.kind.clone(),
            effect: fault.effect(),
            given: fault.given.clone(),
            params: fault.params.clone(),
            moments: BTreeMap::new(),
        }
    }

    pub(crate) fn at(&self, moment: FaultState) -> Option<u64> {
        self.moments.get(name(moment)).copied()
    }
}

fn name(state: FaultState) -> &'static str {
    match state {
        FaultState::Sent => "sent",
        FaultState::Acknowledged => "acknowledged",
        FaultState::Removing => "removing",
        FaultState::Lifted => "lifted",
        FaultState::Removed => "removed",
        FaultState::Failed => "failed",
    }
}

impl<'a> Timeline<'a> {
    pub(crate) fn read(journal: &'a Journal) -> Self {
        let mut timeline = Self { truncated: journal.truncated, ..Self::default() };
        for entry in &journal.entries {
            if entry.at_us.max(latest(&entry.record)) > MOMENT_MAX {
                // A moment that no run has: the line is as good as lost.
                timeline.truncated = true;
                continue;
            }
            timeline.add(entry.at_us, entry.source, &entry.record);
        }
        // Ticks may arrive out of order.
        timeline.ticks.sort_by_key(|(at_us, _)| *at_us);
        timeline.breakers.sort_by_key(|transition| transition.at_us);
        timeline.probes.sort_by_key(|probe| probe.at_us);
        timeline.connections.sort_by_key(|change| change.at_us);
        timeline.canaries.sort_by_key(|canary| canary.at_us);
        timeline
    }

    fn add(&mut self, at_us: u64, source: Source, record: &'a Record) {
        match (record, source) {
            (Record::Run(run), Source::Runner) => self.run = Some(run),
            (Record::Hello(hello), _) => self.hello = self.hello.or(Some(hello)),
            (Record::Tick(tick), _) => self.ticks.push((at_us, tick)),
            (Record::Event(event), _) => match &event.event {
                EventKind::Breaker { to, .. } => {
                    if let Some(server) = event.server.clone() {
                        self.breakers.push(Transition { at_us, server, to: *to });
                    }
                }
                EventKind::Probe { outcome, .. } => {
                    if let Some(server) = event.server.clone() {
                        self.probes.push(Probe { at_us, server, ok: outcome.is_ok() });
                    }
                }
                EventKind::Dial { ok, .. } => self.connection(at_us, event, true, *ok),
                EventKind::Closed { .. } => self.connection(at_us, event, false, true),
                EventKind::StaleRead { age_us, elsewhere, .. }
                | EventKind::Resurrected { age_us, elsewhere, .. } => {
                    self.stale.push(Stale { at_us, age_us: *age_us, elsewhere: *elsewhere });
                }
                EventKind::Integrity { .. } => self.integrity_events += 1,
                _ => {}
            },
            (Record::Phase(phase), _) => drop(self.phases.entry(phase.phase).or_insert(phase.at_us)),
            (Record::Fault(fault), _) => self.fault(fault),
            (Record::Canary(canary), _) => self.canaries.push(canary),
            (Record::Dose(dose), _) => self.doses.push(dose),
            (Record::Host(host), _) => {
                self.hosts.push(host);
                self.suspended += Duration::from_micros(host.suspended_us.unwrap_or(0));
            }
            (Record::Gap(gap), Source::Runner) => self.gaps.push(gap),
            (Record::Gap(gap), Source::Client) => self.gaps.push(gap),
            (Record::Note(note), _) => self.notes.push(note),
            (Record::End(end), Source::Runner) => self.end = Some(end),
            _ => {}
        }
    }

    fn connection(&mut self, at_us: u64, event: &Event, dial: bool, ok: bool) {
        if let Some(server) = event.server.clone() {
            self.connections.push(ConnectionChange { at_us, server, dial, ok });
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let index = self.faults.iter().position(|known| known.id == fault.id).unwrap_or_else(|| {
            self.faults.push(FaultLife::begin(fault));
            self.faults.len() - 1
        });
        self.faults[index].moments.entry(name(fault.state)).or_insert(fault.at_us);
    }

    /// As if the run ended with `end`: what is still to come is taken to come then. Nothing of what was written is changed.
    pub(crate) fn ended_by(&mut self, end: &'a End) {
        let now_us = end.at_us;
        let phase = self.phases.keys().max().copied();
        if phase == Some(PhaseKind::Stabilization) {
            self.phases.insert(PhaseKind::Testing, now_us);
        }
        for fault in self.faults.iter_mut().filter(|fault| fault.at(FaultState::Acknowledged).is_some()) {
            for moment in [FaultState::Removing, FaultState::Lifted, FaultState::Removed] {
                fault.moments.entry(name(moment)).or_insert(now_us);
            }
        }
        if self.is_control() && phase == Some(PhaseKind::Testing) {
            self.phases.insert(PhaseKind::Recovery, now_us);
        }
        self.end = Some(end);
        self.truncated = false;
    }

    /// Limit of one attempt by the client's settings, µs.
    pub(crate) fn op_timeout_us(&self) -> u64 {
        let timeout = self.hello.map_or(0, |hello| hello.settings.op_timeout_ms);
        timeout.saturating_mul(1000).min(MOMENT_MAX)
    }

    /// Does the client's wall clock say another time than the runner's, by more than clocks of two machines may?
    pub(crate) fn clocks_differ(&self) -> bool {
        let (Some(hello), Some(run)) = (self.hello, self.run) else { return false };
        // Without a wall clock there is nothing to compare.
        hello.wall_ms > 0 && run.wall_ms > 0 && hello.wall_ms.abs_diff(run.wall_ms) > CLOCKS_MS
    }

    /// A run without a fault, to see what the judge says of a client to which nothing was done.
    pub(crate) fn is_control(&self) -> bool {
        self.run.is_some_and(|run| run.control)
    }

    /// One fault may be several toxics of a proxy: the first of each.
    pub(crate) fn distinct_faults(&self) -> Vec<&FaultLife> {
        let mut distinct: Vec<&FaultLife> = Vec::new();
        for fault in &self.faults {
            let same = |known: &&FaultLife| {
                (&known.target, &known.kind, &known.given) == (&fault.target, &fault.kind, &fault.given)
            };
            if !distinct.iter().any(same) {
                distinct.push(fault);
            }
        }
        distinct
    }

    /// Share of the run, from the first phase to the end, that ticks cover; more than 1: some came twice.
    pub(crate) fn coverage(&self) -> Option<f64> {
        let (from, to) = (*self.phases.get(&PhaseKind::Stabilization)?, self.end?.at_us);
        let covered = self.sum(from, to).seconds;
        (to > from).then(|| covered / ((to - from) as f64 / 1e6))
    }

    /// Why it was ended on purpose.
    pub(crate) fn stopped(&self) -> Option<String> {
        let end = self.end.filter(|end| end.status == EndStatus::Stopped)?;
        Some(end.reason.clone().unwrap_or_else(|| "ended early".to_owned()))
    }

    /// What was applied, each once.
    pub(crate) fn given(&self) -> Vec<String> {
        let mut given: Vec<String> = Vec::new();
        for fault in &self.faults {
            let text = format!("{}: {}", fault.target, fault.given);
            if !given.contains(&text) {
                given.push(text);
            }
        }
        given
    }

    /// From the last acknowledgement to the first call that takes a fault away; the testing phase of a control run.
    pub(crate) fn fault_window(&self) -> Option<(u64, u64)> {
        if self.is_control() {
            let (on, off) = (*self.phases.get(&PhaseKind::Testing)?, *self.phases.get(&PhaseKind::Recovery)?);
            return (on < off).then_some((on, off));
        }
        let on =
            self.faults.iter().map(|fault| fault.at(FaultState::Acknowledged)).collect::<Option<Vec<_>>>()?;
        let off =
            self.faults.iter().map(|fault| fault.at(FaultState::Removing)).collect::<Option<Vec<_>>>()?;
        let (on, off) = (on.into_iter().max()?, off.into_iter().min()?);
        (on < off).then_some((on, off))
    }

    /// When the last fault had no effect any more; the recovery phase of a control run.
    pub(crate) fn lifted(&self) -> Option<u64> {
        if self.is_control() {
            return self.phases.get(&PhaseKind::Recovery).copied();
        }
        self.faults
            .iter()
            .map(|fault| fault.at(FaultState::Lifted))
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max()
    }

    /// The client's names of the servers with a fault.
    pub(crate) fn faulted(&self) -> Vec<String> {
        let mut names: Vec<String> = self.faults.iter().filter_map(|fault| fault.server.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The stabilization phase; none where the phases are out of order.
    pub(crate) fn baseline_window(&self) -> Option<(u64, u64)> {
        let from = *self.phases.get(&PhaseKind::Stabilization)?;
        let to = *self.phases.get(&PhaseKind::Testing)?;
        (from < to).then_some((from, to))
    }

    /// How well the moments of "on" and "off" are known, ms: from the call to its answer, of the slowest.
    pub(crate) fn width(&self) -> FaultWidth {
        let width = |from: FaultState, to: FaultState| {
            let of =
                self.faults.iter().filter_map(|fault| Some(fault.at(to)?.saturating_sub(fault.at(from)?)));
            of.max().unwrap_or(0) as f64 / 1e3
        };
        FaultWidth {
            on_ms: width(FaultState::Sent, FaultState::Acknowledged),
            off_ms: width(FaultState::Removing, FaultState::Lifted),
        }
    }

    /// One server's part of every tick that ends within `(from, to]`, with that end.
    pub(crate) fn server<'s>(
        &'s self,
        name: &'s str,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (u64, &'s ServerTick)> + 's {
        self.ended_within(from, to).iter().filter_map(move |(at, tick)| {
            let server = tick.servers.iter().find(|server| server.server == name)?;
            Some((*at, server))
        })
    }

    /// Ticks that end within `(from, to]`; they are in order.
    fn ended_within(&self, from: u64, to: u64) -> &[(u64, &'a Tick)] {
        let first = self.ticks.partition_point(|(at, _)| *at <= from);
        let end = self.ticks.partition_point(|(at, _)| *at <= to);
        self.ticks.get(first..end).unwrap_or_default()
    }

    /// Everything of the ticks that lie wholly within `(from, to]`.
    pub(crate) fn sum(&self, from: u64, to: u64) -> Sum {
        let mut sum = Sum::default();
        let ended = self.ended_within(from, to).iter();
        let inside = ended.filter(|(at, tick)| at.saturating_sub(tick.period_us) + 1_000 >= from);
        for (_, tick) in inside {
            sum.seconds += tick.period_us as f64 / 1e6;
            sum.offered = sum.offered.saturating_add(tick.offered);
            sum.late = sum.late.saturating_add(tick.late);
            sum.dropped = sum.dropped.saturating_add(tick.dropped);
            for server in &tick.servers {
                sum.ops.entry(server.server.clone()).or_default().merge(&server.ops);
                sum.attempts.entry(server.server.clone()).or_default().merge(&server.attempts);
                sum.latency.merge(&server.latency);
                sum.service.entry(server.server.clone()).or_default().merge(&server.service);
            }
        }
        sum
    }

    /// Sums of whole seconds from `from` on, as long as they are covered by ticks for at least 80 %.
    pub(crate) fn seconds(&self, from: u64, to: u64) -> Vec<(u64, Sum)> {
        let mut seconds = Vec::new();
        let mut begin = from;
        while begin + 1_000_000 <= to {
            let sum = self.sum(begin, begin + 1_000_000);
            if sum.seconds >= 0.8 {
                seconds.push((begin, sum));
            }
            begin += 1_000_000;
        }
        seconds
    }
}
