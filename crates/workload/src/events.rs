//! What the client tells while it works, and what is found in its replies, as events of the observation stream.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use observation::hub::Hub;
use observation::{BreakerState, Event, EventKind, Outcome, Record};
use tokio::time::Instant;

use crate::flight::{Finding, FlightRecorder, Ring};
use crate::metrics::{Metrics, integrity_name};
use crate::oracles::Superseded;
use crate::recorder::micros;
use crate::target::{Key, Observer};
use crate::values::Violation;

/// Wrong values that are told one by one, and as many of the other findings; beyond, they are only counted. One is
/// enough to fail a run.
const VIOLATIONS_TOLD: u64 = 1_000;
/// Findings other than wrong values that are logged; the stream has more.
const FINDINGS_LOGGED: u64 = 20;

/// A read of a version that is not the last one any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BadRead {
    /// What came.
    pub(crate) version: u64,
    /// From another than the key's home server.
    pub(crate) elsewhere: bool,
    /// Begin of the read, on the run's clock.
    pub(crate) at_us: u64,
}

impl BadRead {
    /// How long the version had been superseded.
    pub(crate) fn age_us(&self, by: Superseded) -> u64 {
        self.at_us.saturating_sub(by.at_us)
    }
}

/// Publishes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSink {
    hub: Hub,
    servers: Arc<[String]>,
    metrics: Arc<Mutex<Metrics>>,
    flights: FlightRecorder,
    violations: Arc<AtomicU64>,
    findings: Arc<AtomicU64>,
}

impl EventSink {
    pub(crate) fn new(
        hub: Hub,
        servers: Vec<String>,
        metrics: Arc<Mutex<Metrics>>,
        flights: FlightRecorder,
    ) -> Self {
        let (violations, findings) = Default::default();
        Self { hub, servers: servers.into(), metrics, flights, violations, findings }
    }

    /// A reply carried a wrong value; `ring` has what came before.
    pub(crate) fn wrong_value(&self, home: usize, key: &Key, violation: &Violation, ring: &Ring) {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).wrong_value(violation.kind);
        if self.violations.fetch_add(1, Ordering::Relaxed) >= VIOLATIONS_TOLD {
            return;
        }
        let flight = self.flights.dump(
            ring,
            Finding {
                at_us: self.hub.clock().now_us(),
                found: integrity_name(violation.kind),
                key: key.to_string(),
                expected: violation.expected.clone(),
                got: violation.got.clone(),
                mild: false,
            },
        );
        let flight = flight.map(|path| path.display().to_string());
        tracing::error!(%key, expected = violation.expected, got = violation.got, flight, "wrong value");
        self.publish(
            home,
            EventKind::Integrity {
                violation: violation.kind,
                key: key.to_string(),
                expected: violation.expected.clone(),
                got: violation.got.clone(),
            },
        );
    }

    /// `instant` on the clock of the stream.
    pub(crate) fn at_us(&self, instant: Instant) -> u64 {
        self.hub.clock().at(instant)
    }

    /// A read gave an older version than one that was acknowledged before it.
    pub(crate) fn stale(&self, home: usize, key: &Key, read: BadRead, by: Superseded, ring: &Ring) {
        let flight = || Finding {
            at_us: read.at_us,
            found: "stale_read",
            key: key.to_string(),
            expected: format!("version {} or later", by.by),
            got: format!("version {}", read.version),
            mild: true,
        };
        let event = || EventKind::StaleRead {
            key: key.to_string(),
            got: read.version,
            newer: by.by,
            age_us: read.age_us(by),
            elsewhere: read.elsewhere || by.elsewhere,
        };
        self.finding("stale read", home, event, || self.flights.dump(ring, flight()));
    }

    /// A read gave a version that had been deleted before it.
    pub(crate) fn resurrected(&self, home: usize, key: &Key, read: BadRead, by: Superseded, ring: &Ring) {
        let flight = || Finding {
            at_us: read.at_us,
            found: "resurrected",
            key: key.to_string(),
            expected: format!("nothing that was written before the delete of tick {}", by.by),
            got: format!("version {}", read.version),
            mild: true,
        };
        let event = || EventKind::Resurrected {
            key: key.to_string(),
            got: read.version,
            age_us: read.age_us(by),
            elsewhere: read.elsewhere || by.elsewhere,
        };
        self.finding("a deleted value came back", home, event, || self.flights.dump(ring, flight()));
    }

    /// A counter began again.
    pub(crate) fn counter_reset(&self, home: usize, key: &Key, value: Option<u64>) {
        let event = || EventKind::CounterReset { key: key.to_string(), value };
        self.finding("a counter began again", home, event, || None);
    }

    fn finding(
        &self,
        what: &str,
        home: usize,
        event: impl FnOnce() -> EventKind,
        dump: impl FnOnce() -> Option<PathBuf>,
    ) {
        let n = self.findings.fetch_add(1, Ordering::Relaxed);
        if n >= VIOLATIONS_TOLD {
            return;
        }
        let event = event();
        let flight = dump().map(|path| path.display().to_string());
        if n < FINDINGS_LOGGED || flight.is_some() {
            tracing::warn!(?event, flight, "{what}");
        }
        self.publish(home, event);
    }

    fn publish(&self, server: usize, event: EventKind) {
        let at_us = self.hub.clock().now_us();
        self.hub.publish(&Record::Event(Event { at_us, server: self.servers.get(server).cloned(), event }));
    }
}

impl Observer for EventSink {
    fn breaker(&self, server: usize, from: BreakerState, to: BreakerState, reason: String) {
        tracing::info!(
            server = self.servers.get(server).map(String::as_str),
            from = from.name(),
            to = to.name(),
            reason,
            "breaker"
        );
        self.publish(server, EventKind::Breaker { from, to, reason });
    }

    fn probe(&self, server: usize, outcome: Outcome, took: Duration) {
        self.publish(server, EventKind::Probe { outcome, took_us: micros(took) });
    }

    fn dial(&self, server: usize, error: Option<String>, took: Duration) {
        self.publish(server, EventKind::Dial { ok: error.is_none(), took_us: micros(took), error });
    }

    fn closed(&self, server: usize, reason: &str) {
        self.publish(server, EventKind::Closed { reason: reason.to_owned() });
    }
}
