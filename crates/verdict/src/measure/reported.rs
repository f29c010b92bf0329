//! What a client reports at all: a number about anything else is no number.

use observation::BreakerState;
use serde::Serialize;

use crate::timeline::{Sum, Timeline};

/// Of what the client tells in the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reported {
    /// It declares a breaker, or one was not closed.
    pub breakers: bool,
    /// A half-open probe ended.
    pub probes: bool,
    /// A dial ended.
    pub dials: bool,
    /// A connection was closed.
    #[serde(skip)]
    pub(crate) closes: bool,
    /// A pool had a connection.
    pub pool: bool,
    /// An attempt ended.
    pub attempts: bool,
    /// How long ops take from their actual start.
    pub service: bool,
}

impl Reported {
    pub(super) fn of(timeline: &Timeline<'_>, whole: &Sum) -> Self {
        let declares = timeline.hello.is_some_and(|hello| hello.settings.breaker.is_some());
        let servers = || timeline.ticks.iter().flat_map(|(_, tick)| &tick.servers);
        let shows = || servers().any(|server| server.breaker != BreakerState::Closed);
        Self {
            breakers: declares || !timeline.breakers.is_empty() || shows(),
            probes: !timeline.probes.is_empty(),
            dials: timeline.connections.iter().any(|change| change.dial),
            closes: timeline.connections.iter().any(|change| !change.dial),
            pool: servers().any(|server| server.pool.total > 0),
            attempts: whole.attempts.values().any(|attempts| attempts.total() > 0),
            service: whole.service.values().any(|service| service.count() > 0),
        }
    }
}
