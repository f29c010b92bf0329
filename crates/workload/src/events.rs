//! What the client tells while it works, as events of the observation stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memcache_client::{CloseReason, Key, Observer, Outcome, Transition};
use observation::hub::Hub;
use observation::{Event, EventKind, Record};

use crate::convert;
use crate::metrics::Metrics;
use crate::values::Violation;

/// Wrong values that are told one by one; beyond, they are only counted. One is enough to fail a run.
const VIOLATIONS_TOLD: u64 = 1_000;

/// Publishes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSink {
    hub: Hub,
    servers: Arc<[String]>,
    metrics: Arc<Mutex<Metrics>>,
    violations: Arc<AtomicU64>,
}

impl EventSink {
    pub(crate) fn new(hub: Hub, servers: Vec<String>, metrics: Arc<Mutex<Metrics>>) -> Self {
        Self { hub, servers: servers.into(), metrics, violations: Arc::default() }
    }

    /// A read carried a wrong value.
    pub(crate) fn wrong_value(&self, home: usize, key: &Key, violation: &Violation) {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).wrong_value(violation.kind);
        if self.violations.fetch_add(1, Ordering::Relaxed) >= VIOLATIONS_TOLD {
            return;
        }
        tracing::error!(%key, expected = violation.expected, got = violation.got, "wrong value");
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

    fn publish(&self, server: usize, event: EventKind) {
        let at_us = self.hub.clock().now_us();
        self.hub.publish(&Record::Event(Event { at_us, server: self.servers.get(server).cloned(), event }));
    }
}

impl Observer for EventSink {
    fn breaker(&self, server: usize, transition: &Transition) {
        let (from, to) = (convert::state(transition.from), convert::state(transition.to));
        let reason = transition.reason.to_string();
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
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.publish(server, EventKind::Probe { outcome: convert::outcome(outcome), took_us });
    }

    fn dial(&self, server: usize, error: Option<String>, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.publish(server, EventKind::Dial { ok: error.is_none(), took_us, error });
    }

    fn closed(&self, server: usize, reason: CloseReason) {
        self.publish(server, EventKind::Closed { reason: reason.name().to_owned() });
    }
}
