//! Numbers that no client, no proxy and no run has: a record with one of them is a line that cannot be read, so that
//! everybody after the reader may add and subtract.

use crate::journal::Entry;
use crate::ndjson::LineError;
use crate::{Counts, EventKind, Gap, Hello, Histogram, Record, Run, ServerTick, Tick};

/// No run, and nothing in it, lasts longer than a week, µs.
pub(crate) const LENGTH_MAX_US: u64 = 7 * 24 * 3600 * 1_000_000;
/// Nothing is counted to more than this within one record: 10^12.
const COUNT_MAX: u64 = 1 << 40;

impl Record {
    /// Itself, unless a number in it cannot be.
    pub fn believed(self) -> Result<Self, LineError> {
        match self.unbelievable() {
            None => Ok(self),
            Some(what) => Err(LineError::Unbelievable { what }),
        }
    }

    fn unbelievable(&self) -> Option<&'static str> {
        match self {
            Record::Hello(hello) => settings(hello),
            Record::Tick(of) => tick(of),
            Record::Event(of) => event(&of.event),
            Record::Host(host) => {
                let suspended = host.suspended_us.unwrap_or(0);
                long("a period", host.period_us).or(long("the time suspended", suspended))
            }
            Record::LookAside(of) => {
                let (requests, database) = (of, of.database);
                let counts = [requests.offered, requests.hits, requests.loaded, requests.timed_out];
                let counts = counts.into_iter().chain([requests.refused, requests.shed]);
                let counts = counts.chain([database.demanded, database.refused, database.served]);
                let counts = counts.chain([database.in_vain, database.expired, database.queued]);
                let waited = long("a wait", database.oldest_us);
                long("a period", requests.period_us).or(waited).or(many(counts)).or(histogram(&of.latency))
            }
            Record::Run(run) => phases(run),
            Record::Phase(phase) => moment(phase.at_us),
            Record::Fault(fault) => moment(fault.at_us),
            Record::Canary(canary) => moment(canary.at_us).or(long("a time", canary.took_us.unwrap_or(0))),
            Record::Dose(dose) => {
                let counts = [dose.links, dose.links_touched, dose.chunks, dose.chunks_touched];
                let counts = counts.into_iter().chain([dose.bytes, dose.bytes_touched]);
                moment(dose.at_us).or(long("a period", dose.period_us)).or(many(counts))
            }
            Record::Gap(Gap { from_us, to_us, .. }) => long("a gap", to_us.saturating_sub(*from_us)),
            // A petabyte is no process's.
            Record::Memory(memory) => moment(memory.at_us).or(long_memory(memory.bytes)),
            Record::Note(note) => moment(note.at_us),
            Record::End(end) => moment(end.at_us),
            Record::Unknown => None,
        }
    }
}

impl Entry {
    pub(crate) fn believed(self) -> Result<Self, LineError> {
        match moment(self.at_us).or(self.record.unbelievable()) {
            None => Ok(self),
            Some(what) => Err(LineError::Unbelievable { what }),
        }
    }
}

fn long(what: &'static str, us: u64) -> Option<&'static str> {
    (us > LENGTH_MAX_US).then_some(what)
}

/// On the run's clock, which begins at 0.
fn moment(at_us: u64) -> Option<&'static str> {
    long("a moment of the run", at_us)
}

fn long_memory(bytes: u64) -> Option<&'static str> {
    (bytes > 1 << 50).then_some("a memory")
}

fn many(counts: impl IntoIterator<Item = u64>) -> Option<&'static str> {
    counts.into_iter().any(|n| n > COUNT_MAX).then_some("a count")
}

fn phases(run: &Run) -> Option<&'static str> {
    let lengths = [run.phases.stabilization_ms, run.phases.testing_ms, run.phases.recovery_ms];
    lengths.into_iter().find_map(|ms| long("a phase", ms.saturating_mul(1_000)))
}

fn settings(hello: &Hello) -> Option<&'static str> {
    let settings = &hello.settings;
    let breaker = settings.breaker.as_ref();
    let windows = breaker.map(|breaker| {
        let windows = [breaker.ratio.map(|rule| rule.window_ms), breaker.slow.map(|rule| rule.window_ms)];
        let slow = breaker.slow.map(|rule| rule.threshold_ms);
        windows.into_iter().chain([slow, breaker.open_max_ms, Some(breaker.open_ms), Some(breaker.ramp_ms)])
    });
    let own = [Some(settings.op_timeout_ms), settings.total_timeout_ms, Some(settings.connect_timeout_ms)];
    let all =
        own.into_iter().chain([Some(settings.routing.failover_ttl_ms)]).chain(windows.into_iter().flatten());
    all.flatten().find_map(|ms| long("a time of the settings", ms.saturating_mul(1_000)))
}

fn tick(tick: &Tick) -> Option<&'static str> {
    long("a period", tick.period_us)
        .or(many([tick.offered, tick.started, tick.late, tick.late_1ms, tick.dropped]))
        .or(histogram(&tick.lag))
        .or(tick.servers.iter().find_map(server))
}

fn server(server: &ServerTick) -> Option<&'static str> {
    let counts = |counts: &Counts| many(counts.0.values().copied());
    counts(&server.ops)
        .or(counts(&server.attempts))
        .or(many([server.bytes_in, server.bytes_out, server.in_flight]))
        .or(histogram(&server.latency))
        .or(histogram(&server.service))
}

fn histogram(histogram: &Histogram) -> Option<&'static str> {
    let values = histogram.0.iter().find_map(|(us, _)| long("a latency", *us));
    values.or(many(histogram.0.iter().map(|(_, n)| *n)))
}

fn event(event: &EventKind) -> Option<&'static str> {
    match event {
        EventKind::Probe { took_us, .. } | EventKind::Dial { took_us, .. } => long("a time", *took_us),
        EventKind::StaleRead { age_us, .. } | EventKind::Resurrected { age_us, .. } => {
            long("an age", *age_us)
        }
        EventKind::Overload { missed, offered, lag_p99_us } => {
            many([*missed, *offered]).or(long("a lag", *lag_p99_us))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerState, Dose, Outcome};

    #[test]
    fn what_a_run_may_have_is_believed_and_what_no_run_has_is_not() {
        let tick = |change: &dyn Fn(&mut Tick)| {
            let mut server = ServerTick { ops: Counts([(Outcome::Hit, 9)].into()), ..ServerTick::default() };
            server.latency = Histogram(vec![(200, 9)]);
            server.breaker = BreakerState::Open;
            // The source's own clock may have any origin.
            let mut tick =
                Tick { at_us: u64::MAX, period_us: 100_000, servers: vec![server], ..Tick::default() };
            change(&mut tick);
            Record::Tick(tick).believed().map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(tick(&|_| ()), Ok(()));
        assert_eq!(tick(&|tick| tick.offered = COUNT_MAX), Ok(()));
        for change in [
            &(|tick: &mut Tick| tick.offered = COUNT_MAX + 1) as &dyn Fn(&mut Tick),
            &|tick| tick.period_us = u64::MAX,
            &|tick| tick.servers[0].ops.add(Outcome::Hit, u64::MAX),
            &|tick| tick.servers[0].attempts.add(Outcome::Miss, u64::MAX),
            &|tick| tick.servers[0].latency.0.push((u64::MAX, 1)),
            &|tick| tick.servers[0].service.0.push((1, u64::MAX)),
            &|tick| tick.lag.0.push((1, u64::MAX)),
        ] {
            assert!(tick(change).unwrap_err().contains("beyond belief"));
        }
        let dose = Dose {
            at_us: 1,
            period_us: 1,
            target: "t".into(),
            links: 1,
            links_touched: 1,
            chunks: 1,
            chunks_touched: 1,
            bytes: 1,
            bytes_touched: u64::MAX,
        };
        assert!(Record::Dose(dose).believed().is_err());
        let gap = |from_us, to_us| Record::Gap(Gap { from_us, to_us, reason: "".into() }).believed().is_ok();
        assert!(gap(u64::MAX - 1, u64::MAX) && gap(9, 1) && !gap(0, u64::MAX));
    }
}
