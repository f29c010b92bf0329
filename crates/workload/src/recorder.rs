//! What ops did. Each driver fills a [`Recorder`] of its own; the ticker swaps them out every 100 ms, adds them
//! up to one interval, and adds the interval to the totals of the run.

use std::time::Duration;

use hdrhistogram::Histogram;
use look_aside::End;
use observation::{Counts, Outcome, ServerTick};

use crate::mix::OpKind;
use crate::oracles::OracleCounts;

/// Highest latency that is told apart, µs; longer ones are recorded as this.
pub const MAX_LATENCY_US: u64 = 120_000_000;
/// A start that lies further behind its intended time than this is late: the generator was the limit.
pub(crate) const LATE: Duration = Duration::from_millis(10);
/// A start further behind than this is noticeable in the latency of a fast server.
const LATE_1MS: Duration = Duration::from_millis(1);
/// HDR precision: 2 significant digits, an error of at most 1 %. One histogram has 21 KiB.
const DIGITS: u8 = 2;

/// A latency histogram in µs.
pub type Latency = Histogram<u64>;

/// A new histogram of 1 µs to [`MAX_LATENCY_US`].
#[expect(clippy::expect_used, reason = "constant bounds that the library accepts; a test calls it")]
pub fn latency() -> Latency {
    Latency::new_with_bounds(1, MAX_LATENCY_US, DIGITS).expect("valid bounds")
}

/// One op that has ended (of a multi-get: one key).
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it did.
    pub kind: OpKind,
    /// Index of its key's home server.
    pub home: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// From the intended start, µs.
    pub latency_us: u64,
    /// From the actual start, µs.
    pub service_us: u64,
}

/// Counts and latencies of one driver and interval, of all drivers, or of the whole run.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Ops that the schedule asked for.
    pub offered: u64,
    /// Ops that were started.
    pub started: u64,
    /// Starts more than 10 ms behind their intended time.
    pub late: u64,
    /// Starts more than 1 ms behind their intended time; those of `late` are among them.
    pub late_1ms: u64,
    /// Offered ops that were never started.
    pub dropped: u64,
    /// Open loop: how far each start lay behind its intended time, µs.
    pub lag: Latency,
    /// What the oracles found.
    pub oracles: OracleCounts,
    /// Requests through a cache to a database, of a load that makes them.
    pub requests: Requests,
    /// One entry a server.
    pub servers: Vec<ServerRecord>,
}

/// One server's part of a [`Recorder`].
#[derive(Debug, Clone)]
pub struct ServerRecord {
    /// Ends of ops with their home here, by kind.
    pub kinds: [KindRecord; OpKind::ALL.len()],
    /// Ends of attempts at this server, by class.
    pub attempts: [u64; Outcome::ALL.len()],
    /// Latency from the actual start, all kinds.
    pub service: Latency,
}

/// One kind of op on one home server.
#[derive(Debug, Clone)]
pub struct KindRecord {
    /// By class, indexed like [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Latency from the intended start.
    pub latency: Latency,
}

impl Recorder {
    /// An empty record of `servers` servers.
    pub fn new(servers: usize) -> Self {
        let kind = || KindRecord { outcomes: [0; Outcome::ALL.len()], latency: latency() };
        let server = || ServerRecord {
            kinds: std::array::from_fn(|_| kind()),
            attempts: [0; Outcome::ALL.len()],
            service: latency(),
        };
        Self {
            offered: 0,
            started: 0,
            late: 0,
            late_1ms: 0,
            dropped: 0,
            lag: latency(),
            oracles: OracleCounts::default(),
            requests: Requests::default(),
            servers: (0..servers).map(|_| server()).collect(),
        }
    }

    /// An op starts, so far behind its intended time; `None`: a closed loop intends nothing.
    pub fn started(&mut self, lag: Option<Duration>) {
        self.started += 1;
        let Some(lag) = lag else { return };
        self.late += u64::from(lag > LATE);
        self.late_1ms += u64::from(lag > LATE_1MS);
        self.lag.saturating_record(micros(lag).max(1));
    }

    /// One op has ended.
    pub fn ended(&mut self, op: Ended) {
        let server = &mut self.servers[op.home];
        let kind = &mut server.kinds[op.kind.index()];
        kind.outcomes[op.outcome as usize] += 1;
        kind.latency.saturating_record(op.latency_us.max(1));
        server.service.saturating_record(op.service_us.max(1));
    }

    /// One attempt at `server` has ended.
    pub fn attempted(&mut self, server: usize, outcome: Outcome) {
        self.servers[server].attempts[outcome as usize] += 1;
    }

    /// Adds everything of `other`, which has the same servers.
    pub fn add(&mut self, other: &Recorder) {
        self.offered += other.offered;
        self.started += other.started;
        self.late += other.late;
        self.late_1ms += other.late_1ms;
        self.dropped += other.dropped;
        add_latency(&mut self.lag, &other.lag);
        self.oracles.add(&other.oracles);
        self.requests.add(&other.requests);
        for (mine, theirs) in self.servers.iter_mut().zip(&other.servers) {
            for (mine, theirs) in mine.kinds.iter_mut().zip(&theirs.kinds) {
                add_all(&mut mine.outcomes, &theirs.outcomes);
                add_latency(&mut mine.latency, &theirs.latency);
            }
            add_all(&mut mine.attempts, &theirs.attempts);
            add_latency(&mut mine.service, &theirs.service);
        }
    }

    /// Empties the record and keeps its memory.
    pub fn clear(&mut self) {
        (self.offered, self.started, self.dropped) = (0, 0, 0);
        (self.late, self.late_1ms) = (0, 0);
        if !self.lag.is_empty() {
            self.lag.reset();
        }
        self.oracles = OracleCounts::default();
        self.requests.clear();
        for server in &mut self.servers {
            for kind in &mut server.kinds {
                kind.outcomes = [0; Outcome::ALL.len()];
                if !kind.latency.is_empty() {
                    kind.latency.reset();
                }
            }
            server.attempts = [0; Outcome::ALL.len()];
            if !server.service.is_empty() {
                server.service.reset();
            }
        }
    }

    /// Ends of all ops, by class.
    pub fn outcomes(&self) -> Counts {
        let mut counts = Counts::default();
        for server in &self.servers {
            counts.merge(&server.ops());
        }
        counts
    }

    /// All servers' latencies of one kind, from the intended start.
    pub fn latency_of(&self, kind: OpKind) -> Latency {
        let mut sum = latency();
        for server in &self.servers {
            add_latency(&mut sum, &server.kinds[kind.index()].latency);
        }
        sum
    }
}

impl ServerRecord {
    /// Ends of ops with their home here, by class.
    pub fn ops(&self) -> Counts {
        let mut counts = Counts::default();
        for kind in &self.kinds {
            counts.merge(&counts_of(&kind.outcomes));
        }
        counts
    }

    /// The recorded half of a tick; the client's own state is added by the caller.
    pub fn tick(&self, server: &str) -> ServerTick {
        let mut all = latency();
        for kind in &self.kinds {
            add_latency(&mut all, &kind.latency);
        }
        ServerTick {
            server: server.to_owned(),
            ops: self.ops(),
            attempts: counts_of(&self.attempts),
            latency: sparse(&all),
            service: sparse(&self.service),
            ..ServerTick::default()
        }
    }
}

/// Requests by their ends.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// Ops that no schedule asked for: the fills.
    pub unasked: u64,
    /// By end, in the order of [`Requests::ENDS`].
    pub ends: [u64; 5],
    /// From the intended start; `None`: none has ended.
    pub latency: Option<Box<Latency>>,
}

impl Requests {
    /// How a request may end, and its name in labels.
    pub const ENDS: [(End, &'static str); 5] = [
        (End::Hit, "hit"),
        (End::Loaded, "loaded"),
        (End::TimedOut, "timed_out"),
        (End::Refused, "refused"),
        (End::Shed, "shed"),
    ];

    /// One ended so, so long after its intended start.
    pub(crate) fn ended(&mut self, how: End, latency_us: u64) {
        for ((end, _), n) in Self::ENDS.into_iter().zip(&mut self.ends) {
            *n += u64::from(end == how);
        }
        let latency = self.latency.get_or_insert_with(|| Box::new(latency()));
        latency.saturating_record(latency_us.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.unasked += other.unasked;
        for (mine, theirs) in self.ends.iter_mut().zip(other.ends) {
            *mine += theirs;
        }
        if let Some(theirs) = &other.latency {
            add_latency(self.latency.get_or_insert_with(|| Box::new(latency())), theirs);
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.unasked, self.ends) = (0, [0; 5]);
        if let Some(latency) = &mut self.latency {
            latency.reset();
        }
    }
}

/// Non-zero classes only.
pub fn counts_of(by_class: &[u64; Outcome::ALL.len()]) -> Counts {
    let mut counts = Counts::default();
    for (class, n) in Outcome::ALL.into_iter().zip(by_class) {
        counts.add(class, *n);
    }
    counts
}

fn add_all(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

/// Adds all samples of `theirs`.
pub(crate) fn add_latency(mine: &mut Latency, theirs: &Latency) {
    if theirs.is_empty() {
        return;
    }
    if let Err(error) = mine.add(theirs) {
        // Same bounds everywhere, so this is a bug; the count must not be lost silently.
        tracing::error!(%error, "latencies could not be added");
    }
}

/// Whole microseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// As it goes into the observation stream.
pub(crate) fn sparse(latency: &Latency) -> observation::Histogram {
    let buckets = latency
        .iter_recorded()
        .map(|bucket| (latency.lowest_equivalent(bucket.value_iterated_to()), bucket.count_at_value()));
    observation::Histogram(buckets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Outcome, latency_us: u64) -> Ended {
        Ended { kind: OpKind::Get, home: 1, outcome, latency_us, service_us: latency_us / 2 }
    }

    #[test]
    fn classes_are_indexed_as_they_are_declared() {
        for (index, class) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }

    #[test]
    fn what_is_recorded_is_in_the_tick_and_sums_are_exact() {
        let mut one = Recorder::new(3);
        one.ended(ended(Outcome::Hit, 100));
        one.ended(ended(Outcome::Timeout, 250_000));
        one.attempted(2, Outcome::Timeout);
        let mut sum = Recorder::new(3);
        sum.add(&one);
        sum.add(&one);
        let tick = sum.servers[1].tick("b");
        assert_eq!((tick.ops.get(Outcome::Hit), tick.ops.get(Outcome::Timeout)), (2, 2));
        assert_eq!((tick.latency.count(), tick.service.count()), (4, 4));
        let p100 = tick.latency.quantile_us(1.0).unwrap();
        assert!((247_500..=250_000).contains(&p100), "{p100}");
        assert_eq!(sum.servers[2].tick("c").attempts.get(Outcome::Timeout), 2);
        assert_eq!(sum.outcomes().total(), 4);
        sum.clear();
        assert_eq!((sum.outcomes().total(), sum.latency_of(OpKind::Get).len()), (0, 0));
    }

    #[test]
    fn the_lag_of_every_start_is_counted_and_sums_are_exact() {
        let mut one = Recorder::new(1);
        for us in [0, 999, 1_000, 1_001, 10_000, 10_001] {
            one.started(Some(Duration::from_micros(us)));
        }
        one.started(None);
        let mut sum = Recorder::new(1);
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.started, sum.late_1ms, sum.late, sum.lag.len()), (14, 6, 2, 12));
        assert_eq!(sum.lag.count_between(0, 500), 2);
        sum.clear();
        assert_eq!((sum.started, sum.late_1ms, sum.late, sum.lag.len()), (0, 0, 0, 0));
    }

    #[test]
    fn latencies_out_of_range_are_kept_at_the_edge() {
        let mut record = Recorder::new(2);
        record.ended(ended(Outcome::Hit, 0));
        record.ended(ended(Outcome::Hit, u64::MAX));
        assert_eq!(record.latency_of(OpKind::Get).len(), 2);
    }
}
