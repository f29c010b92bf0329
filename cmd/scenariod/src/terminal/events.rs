//! Events of a phase, counted: what comes again and again is told once.

use std::collections::BTreeMap;

use observation::{BreakerState, Event, EventKind};

/// Since the phase began.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    servers: BTreeMap<String, OfServer>,
    stale: u64,
    resurrected: u64,
    resets: u64,
    overloads: u64,
}

#[derive(Debug, Clone, Default)]
struct OfServer {
    opened: u64,
    closed: u64,
    failed_probes: u64,
    /// Why the breaker opened first.
    reason: Option<String>,
}

impl Events {
    pub(super) fn add(&mut self, event: &Event) {
        match &event.event {
            EventKind::Breaker { to: BreakerState::Open, reason, .. } => {
                let server = self.server(event);
                server.opened += 1;
                server.reason.get_or_insert_with(|| reason.clone());
            }
            EventKind::Breaker { to: BreakerState::Closed, .. } => self.server(event).closed += 1,
            EventKind::Probe { outcome, .. } if outcome.is_error() => self.server(event).failed_probes += 1,
            EventKind::StaleRead { .. } => self.stale += 1,
            EventKind::Resurrected { .. } => self.resurrected += 1,
            EventKind::CounterReset { .. } => self.resets += 1,
            EventKind::Overload { .. } => self.overloads += 1,
            _ => {}
        }
    }

    fn server(&mut self, event: &Event) -> &mut OfServer {
        self.servers.entry(event.server.clone().unwrap_or_default()).or_default()
    }

    /// `None`: nothing happened.
    pub(super) fn words(&self) -> Option<String> {
        let mut words: Vec<String> =
            self.servers.iter().filter_map(|(name, of)| Some(format!("{name}: {}", of.words()?))).collect();
        let others = [
            (self.stale, "stale read", "stale reads"),
            (self.resurrected, "deleted value came back", "deleted values came back"),
            (self.resets, "counter began again", "counters began again"),
            (
                self.overloads,
                "second in which the generator was late",
                "seconds in which the generator was late",
            ),
        ];
        words.extend(others.into_iter().filter_map(|(n, one, more)| counted(n, one, more)));
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl OfServer {
    fn words(&self) -> Option<String> {
        let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        let parts = [
            (self.opened > 0).then(|| format!("breaker opened {}{reason}", times(self.opened))),
            counted(self.failed_probes, "probe failed", "probes failed"),
            (self.closed > 0).then(|| format!("breaker closed {}", times(self.closed))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn counted(n: u64, one: &str, more: &str) -> Option<String> {
    (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { more }))
}

#[cfg(test)]
mod tests {
    use observation::Outcome;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { at_us: 0, server: Some("memcached1".into()), event: kind }
    }

    #[test]
    fn a_phase_is_told_in_one_line_and_a_quiet_one_not_at_all() {
        let mut events = Events::default();
        assert_eq!(events.words(), None);
        events.add(&event(EventKind::Probe { outcome: Outcome::Stored, took_us: 1 }));
        assert_eq!(events.words(), None, "a probe that succeeded is what it should be");
        for n in 0..11 {
            let reason = format!("reason {n}");
            events.add(&event(EventKind::Breaker {
                from: BreakerState::Closed,
                to: BreakerState::Open,
                reason,
            }));
            events.add(&event(EventKind::Probe { outcome: Outcome::Timeout, took_us: 1 }));
        }
        let stale = EventKind::StaleRead { key: "k".into(), got: 1, newer: 2, age_us: 3, elsewhere: true };
        events.add(&event(stale));
        assert_eq!(
            events.words().unwrap(),
            "memcached1: breaker opened 11 times (reason 0), 11 probes failed; 1 stale read"
        );
    }
}
