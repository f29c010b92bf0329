//! What loadgen exports of its load. Everything is brought up to date once a tick, from the same numbers that go
//! into the observation stream; nothing is done per op.

#[cfg(test)]
mod cardinality;
mod histogram;

use std::collections::VecDeque;

use observation::{IntegrityKind, Outcome};
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::mix::OpKind;
use crate::op_log::OpLogReport;
use crate::oracles::OracleCounts;
use crate::recorder::{Recorder, Requests};
use histogram::LatencyHistograms;

/// Ticks in the window of the rates: the last second.
const RATE_TICKS: usize = 10;

/// Handles of all load metrics.
#[derive(Debug)]
pub struct Metrics {
    servers: Vec<String>,
    rates: RateMetrics,
    ops: OpMetrics,
    starts: StartMetrics,
    findings: FindingMetrics,
    op_log: OpLogMetrics,
    requests: RequestMetrics,
}

impl Metrics {
    /// Registers everything with all label sets at 0, so that a rate sees the first event.
    pub fn register(registry: &Registry, servers: &[String]) -> Result<Self, prometheus::Error> {
        let registrar = Registrar(registry);
        Ok(Self {
            servers: servers.to_vec(),
            rates: RateMetrics::register(&registrar)?,
            ops: OpMetrics::register(&registrar, servers)?,
            starts: StartMetrics::register(&registrar)?,
            findings: FindingMetrics::register(&registrar)?,
            op_log: OpLogMetrics::register(&registrar)?,
            requests: RequestMetrics::register(&registrar)?,
        })
    }

    /// The open loop's target; 0 for a closed loop.
    pub fn set_target_rate(&self, ops_per_s: f64) {
        self.starts.target_rate.set(ops_per_s);
    }

    /// Brings everything up to date with what was recorded in the last `seconds`.
    pub fn tick(&mut self, interval: &Recorder, seconds: f64) {
        self.starts.add(interval);
        self.findings.add(&interval.oracles);
        self.ops.add(interval, &self.servers);
        let outcomes = interval.outcomes();
        self.rates.roll(TickRate { seconds, ok: outcomes.ok(), errors: outcomes.errors() });
    }

    /// What a look-aside load and its database did in the last interval.
    pub fn requests(&self, record: &observation::LookAside) {
        self.requests.add(record);
    }

    /// What became of the ops of the op log so far.
    pub fn set_op_log(&self, report: OpLogReport) {
        self.op_log.set(report);
    }

    /// Attempts in flight at one server now.
    pub fn set_in_flight(&self, server: usize, n: u64) {
        if let Some(name) = self.servers.get(server) {
            self.ops.in_flight.with_label_values(&[name]).set(n as i64);
        }
    }

    /// A wrong value was read.
    pub fn wrong_value(&self, kind: IntegrityKind) {
        self.findings.wrong_values.with_label_values(&[integrity_name(kind)]).inc();
    }
}

/// Rates of the last second.
#[derive(Debug)]
struct RateMetrics {
    operations_per_second: Gauge,
    goodput_per_second: Gauge,
    error_rate: Gauge,
    window: VecDeque<TickRate>,
}

#[derive(Debug, Clone, Copy, Default)]
struct TickRate {
    seconds: f64,
    ok: u64,
    errors: u64,
}

impl RateMetrics {
    fn register(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            operations_per_second: registrar.gauge(
                "memcache_operations_per_second",
                "Ops that ended in the last second, whatever their outcome.",
            )?,
            goodput_per_second: registrar.gauge(
                "memcache_goodput_operations_per_second",
                "Ops that succeeded in the last second; a miss is a success.",
            )?,
            error_rate: registrar.gauge(
                "memcache_error_rate",
                "Share (0-1) of the ops of the last second that failed; 0 without ops.",
            )?,
            window: VecDeque::with_capacity(RATE_TICKS),
        })
    }

    fn roll(&mut self, tick: TickRate) {
        if self.window.len() == RATE_TICKS {
            self.window.pop_front();
        }
        self.window.push_back(tick);
        let (mut seconds, mut ok, mut errors) = (0.0, 0, 0);
        for tick in &self.window {
            seconds += tick.seconds;
            ok += tick.ok;
            errors += tick.errors;
        }
        let ended = ok + errors;
        let seconds = f64::max(seconds, 1e-3);
        self.operations_per_second.set(ended as f64 / seconds);
        self.goodput_per_second.set(ok as f64 / seconds);
        self.error_rate.set(if ended == 0 { 0.0 } else { errors as f64 / ended as f64 });
    }
}

/// Ends of ops and attempts.
#[derive(Debug)]
struct OpMetrics {
    operations: IntCounterVec,
    results: IntCounterVec,
    attempts: IntCounterVec,
    latency: LatencyHistograms,
    service: LatencyHistograms,
    in_flight: IntGaugeVec,
}

impl OpMetrics {
    fn register(registrar: &Registrar<'_>, servers: &[String]) -> Result<Self, prometheus::Error> {
        let by_op = servers
            .iter()
            .flat_map(|server| OpKind::ALL.map(|kind| vec![server.clone(), kind.name().to_owned()]));
        let by_server = servers.iter().map(|server| vec![server.clone()]);
        let metrics = Self {
            operations: registrar.counters(
                "memcache_operations_total",
                "Ops by status: success or error.",
                &["status"],
            )?,
            results: registrar.counters(
                "memcache_operation_results_total",
                "Ops by their key's home server, kind and outcome class.",
                &["server", "op", "result"],
            )?,
            attempts: registrar.counters(
                "memcache_attempts_total",
                "Attempts (refusals of breaker and pool included) by server and outcome class.",
                &["server", "result"],
            )?,
            latency: registrar.latencies(
                "memcache_operation_duration_seconds",
                "Latency of ops from their intended start, by home server and kind.",
                &["server", "op"],
                by_op.collect(),
            )?,
            service: registrar.latencies(
                "memcache_service_duration_seconds",
                "Latency of ops from their actual start, by home server; the difference is queueing.",
                &["server"],
                by_server.collect(),
            )?,
            in_flight: registrar.registered(IntGaugeVec::new(
                Opts::new("memcache_operations_in_flight", "Attempts in flight."),
                &["server"],
            )?)?,
        };
        metrics.initialise(servers);
        Ok(metrics)
    }

    fn initialise(&self, servers: &[String]) {
        for status in ["success", "error"] {
            self.operations.with_label_values(&[status]);
        }
        for server in servers {
            self.in_flight.with_label_values(&[server]);
            for class in Outcome::ALL {
                self.attempts.with_label_values(&[server, class.name()]);
                for kind in OpKind::ALL {
                    self.results.with_label_values(&[server, kind.name(), class.name()]);
                }
            }
        }
    }

    fn add(&mut self, interval: &Recorder, servers: &[String]) {
        for (index, (name, server)) in servers.iter().zip(&interval.servers).enumerate() {
            for (kind, record) in OpKind::ALL.into_iter().zip(&server.kinds) {
                for (class, n) in nonzero(&record.outcomes) {
                    self.results.with_label_values(&[name.as_str(), kind.name(), class.name()]).inc_by(n);
                }
                self.latency.add(index * OpKind::ALL.len() + kind.index(), &record.latency);
            }
            for (class, n) in nonzero(&server.attempts) {
                self.attempts.with_label_values(&[name.as_str(), class.name()]).inc_by(n);
            }
            self.service.add(index, &server.service);
        }
        let outcomes = interval.outcomes();
        self.operations.with_label_values(&["success"]).inc_by(outcomes.ok());
        self.operations.with_label_values(&["error"]).inc_by(outcomes.errors());
    }
}

/// What the schedule asked for, and how well the generator kept to it.
#[derive(Debug)]
struct StartMetrics {
    target_rate: Gauge,
    offered: IntCounter,
    late: IntCounter,
    dropped: IntCounter,
    lag: LatencyHistograms,
}

impl StartMetrics {
    fn register(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            target_rate: registrar.gauge(
                "loadgen_target_operations_per_second",
                "Rate that the open loop is asked for; 0 in a closed loop.",
            )?,
            offered: registrar
                .counter("loadgen_offered_operations_total", "Ops that the schedule asked for.")?,
            late: registrar
                .counter("loadgen_late_starts_total", "Starts more than 10 ms behind their intended time.")?,
            dropped: registrar.counter(
                "loadgen_dropped_operations_total",
                "Ops never started, because too many were in flight or the generator was stalled.",
            )?,
            lag: registrar.latencies(
                "loadgen_start_lag_seconds",
                "How far starts of the open loop lay behind their intended time.",
                &[],
                vec![Vec::new()],
            )?,
        })
    }

    fn add(&mut self, interval: &Recorder) {
        self.offered.inc_by(interval.offered);
        self.late.inc_by(interval.late);
        self.dropped.inc_by(interval.dropped);
        self.lag.add(0, &interval.lag);
    }
}

/// What was wrong with replies.
#[derive(Debug)]
struct FindingMetrics {
    wrong_values: IntCounterVec,
    stale: IntCounter,
    stale_worst: Gauge,
    resurrected: IntCounter,
    counter_resets: IntCounter,
}

impl FindingMetrics {
    fn register(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            wrong_values: registrar.counters(
                "memcache_wrong_values_total",
                "Reads whose value was not what was written for that key. Must stay 0.",
                &["kind"],
            )?,
            stale: registrar.counter(
                "loadgen_stale_reads_total",
                "Reads of a version although a newer one was acknowledged before the read began.",
            )?,
            stale_worst: registrar.gauge(
                "loadgen_stale_read_age_seconds_max",
                "Longest time between that acknowledgement and a stale read, since start.",
            )?,
            resurrected: registrar.counter(
                "loadgen_resurrected_reads_total",
                "Reads of a version although a later delete was acknowledged before the read began.",
            )?,
            counter_resets: registrar.counter(
                "loadgen_incr_resets_total",
                "Counters that began anew: evicted, expired, or their server restarted.",
            )?,
        };
        for kind in INTEGRITY_KINDS {
            metrics.wrong_values.with_label_values(&[integrity_name(kind)]);
        }
        Ok(metrics)
    }

    fn add(&self, found: &OracleCounts) {
        self.stale.inc_by(found.stale);
        self.stale_worst.set(self.stale_worst.get().max(found.stale_worst_us as f64 / 1e6));
        self.resurrected.inc_by(found.resurrected);
        self.counter_resets.inc_by(found.counter_resets);
    }
}

/// What the op log lost.
#[derive(Debug)]
struct OpLogMetrics {
    dropped: IntCounter,
    lost: IntCounter,
}

impl OpLogMetrics {
    fn register(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            dropped: registrar.counter(
                "loadgen_op_log_dropped_total",
                "Ops that are not in the op log, because its writer was behind.",
            )?,
            lost: registrar.counter(
                "loadgen_op_log_lost_total",
                "Ops that are not in the op log, because its file could not be written.",
            )?,
        })
    }

    fn set(&self, report: OpLogReport) {
        for (counter, total) in [(&self.dropped, report.dropped), (&self.lost, report.lost)] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }
}

/// A look-aside load and its database.
#[derive(Debug)]
struct RequestMetrics {
    requests: IntCounterVec,
    queries: IntCounterVec,
    queued: Gauge,
    capacity: Gauge,
}

impl RequestMetrics {
    fn register(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: registrar.counters(
                "loadgen_requests_total",
                "Requests of a look-aside load by their end.",
                &["end"],
            )?,
            queries: registrar.counters(
                "loadgen_database_queries_total",
                "Queries to the simulated database: demanded, and of them refused, served, served in vain, expired.",
                &["what"],
            )?,
            queued: registrar
                .gauge("loadgen_database_queued_queries", "Queries that wait in the simulated database.")?,
            capacity: registrar.gauge(
                "loadgen_database_capacity_ratio",
                "Capacity of the simulated database as a share (0-1) of its normal one; 0 without one.",
            )?,
        };
        metrics.add(&observation::LookAside::default());
        Ok(metrics)
    }

    fn add(&self, record: &observation::LookAside) {
        let (of, database) = (record, record.database);
        let ends = [of.hits, of.loaded, of.timed_out, of.refused, of.shed];
        for ((_, end), n) in Requests::ENDS.into_iter().zip(ends) {
            self.requests.with_label_values(&[end]).inc_by(n);
        }
        for (what, n) in [
            ("demanded", database.demanded),
            ("refused", database.refused),
            ("served", database.served),
            ("in_vain", database.in_vain),
            ("expired", database.expired),
        ] {
            self.queries.with_label_values(&[what]).inc_by(n);
        }
        self.queued.set(database.queued as f64);
        self.capacity.set(database.capacity);
    }
}

const INTEGRITY_KINDS: [IntegrityKind; 6] = [
    IntegrityKind::WrongKey,
    IntegrityKind::WrongLength,
    IntegrityKind::Corrupt,
    IntegrityKind::Foreign,
    IntegrityKind::LostIncrements,
    IntegrityKind::ExtraIncrements,
];

/// As in labels.
pub(crate) fn integrity_name(kind: IntegrityKind) -> &'static str {
    match kind {
        IntegrityKind::WrongKey => "wrong_key",
        IntegrityKind::WrongLength => "wrong_length",
        IntegrityKind::Corrupt => "corrupt",
        IntegrityKind::Foreign => "foreign",
        IntegrityKind::LostIncrements => "lost_increments",
        IntegrityKind::ExtraIncrements => "extra_increments",
        IntegrityKind::Unknown => "unknown",
    }
}

fn nonzero(by_class: &[u64; Outcome::ALL.len()]) -> impl Iterator<Item = (Outcome, u64)> {
    Outcome::ALL.into_iter().zip(by_class.iter().copied()).filter(|(_, n)| *n > 0)
}

/// Makes metrics and registers them.
struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.registered(Gauge::new(name, help)?)
    }

    fn latencies(
        &self,
        name: &str,
        help: &str,
        labels: &[&'static str],
        series: Vec<Vec<String>>,
    ) -> Result<LatencyHistograms, prometheus::Error> {
        self.registered(LatencyHistograms::new(name, help, labels.to_vec(), series)?)
    }

    fn registered<C>(&self, collector: C) -> Result<C, prometheus::Error>
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Ended;

    fn value(registry: &Registry, line_start: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line =
            text.lines().find(|line| line.starts_with(line_start)).unwrap_or_else(|| panic!("{line_start}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn the_error_rate_is_back_to_zero_one_second_after_the_last_error() {
        let registry = Registry::new();
        let mut metrics = Metrics::register(&registry, &["a".to_owned()]).unwrap();
        let mut interval = Recorder::new(1);
        let end = |outcome| Ended { kind: OpKind::Get, home: 0, outcome, latency_us: 1_000, service_us: 500 };
        interval.ended(end(Outcome::Hit));
        interval.ended(end(Outcome::Timeout));
        metrics.tick(&interval, 0.1);
        assert_eq!(value(&registry, "memcache_error_rate "), 0.5);
        let mut healthy = Recorder::new(1);
        healthy.ended(end(Outcome::Miss));
        for _ in 0..9 {
            metrics.tick(&healthy, 0.1);
            assert!(value(&registry, "memcache_error_rate ") > 0.0);
        }
        metrics.tick(&healthy, 0.1);
        assert_eq!(value(&registry, "memcache_error_rate "), 0.0);
        assert!((value(&registry, "memcache_operations_per_second ") - 10.0).abs() < 1e-9);
        for _ in 0..10 {
            metrics.tick(&Recorder::new(1), 0.1);
        }
        assert_eq!(value(&registry, "memcache_error_rate "), 0.0);
        assert_eq!(value(&registry, "memcache_operations_total{status=\"error\"}"), 1.0);
    }

    #[test]
    fn histograms_hold_what_was_recorded() {
        let registry = Registry::new();
        let mut metrics = Metrics::register(&registry, &["a".to_owned(), "b".to_owned()]).unwrap();
        let mut interval = Recorder::new(2);
        for latency_us in [90, 240_000, 100_000_000] {
            let ended = Ended {
                kind: OpKind::Set,
                home: 1,
                outcome: Outcome::Stored,
                latency_us,
                service_us: latency_us,
            };
            interval.ended(ended);
        }
        interval.started(Some(std::time::Duration::from_micros(700)));
        metrics.tick(&interval, 0.1);
        metrics.tick(&interval, 0.1);
        assert_eq!(value(&registry, "loadgen_start_lag_seconds_bucket{le=\"0.0005\"}"), 0.0);
        assert_eq!(value(&registry, "loadgen_start_lag_seconds_bucket{le=\"0.001\"}"), 2.0);
        let name = "memcache_operation_duration_seconds";
        let bucket =
            |le: &str| value(&registry, &format!("{name}_bucket{{server=\"b\",op=\"set\",le=\"{le}\"}}"));
        assert_eq!((bucket("0.0001"), bucket("0.2"), bucket("0.25"), bucket("+Inf")), (2.0, 2.0, 4.0, 6.0));
        assert_eq!(value(&registry, &format!("{name}_count{{server=\"b\",op=\"set\"}}")), 6.0);
        assert_eq!(value(&registry, &format!("{name}_count{{server=\"a\",op=\"get\"}}")), 0.0);
    }
}
