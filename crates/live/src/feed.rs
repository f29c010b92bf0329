//! Records in, points and states out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use observation::{EventKind, PhaseKind, Record, Tick};
use serde::Serialize;
use tokio::sync::watch;

use crate::point::Open;
use crate::ring::Ring;
use crate::state::{FeedState, text};
use crate::{COARSE_POINTS, COARSE_US, FINE_POINTS, FINE_US, Reader, SERVERS_MAX};

/// Where the records come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Tells one start of the process from another.
    pub instance: u64,
    /// Unix milliseconds at 0 of the records' clock, until a [`Record::Run`] says it.
    pub wall_ms: f64,
}

/// One place whose load is shown. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    inner: Arc<Mutex<Inner>>,
    /// Counts changes.
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) origin: Origin,
    /// Counts how often everything began anew.
    pub(crate) generation: u64,
    pub(crate) fine: Ring,
    pub(crate) coarse: Ring,
    /// Latest version of what is told whole, by name.
    pub(crate) told: BTreeMap<&'static str, (u64, Arc<str>)>,
    open: [Open; 2],
    /// End of the last tick, Unix seconds.
    until: Option<f64>,
    state: FeedState,
}

impl Feed {
    /// Nothing yet.
    pub fn new(origin: Origin) -> Self {
        let inner = Inner {
            origin,
            generation: 0,
            fine: Ring::new(FINE_POINTS),
            coarse: Ring::new(COARSE_POINTS),
            told: BTreeMap::new(),
            open: [Open::default(), Open::default()],
            until: None,
            state: FeedState::default(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), changes: Arc::new(watch::Sender::new(0)) }
    }

    /// One more record, of the moment `at_us` of its clock. Quick: it may be called where time counts.
    pub fn record(&self, at_us: u64, record: &Record) {
        if self.lock().record(at_us, record) {
            self.changed();
        }
    }

    /// Tells `what` under `name`, in place of what was told before. What cannot be rendered is not told.
    pub fn tell(&self, name: &'static str, what: &impl Serialize) {
        self.lock().tell(name, what);
        self.changed();
    }

    /// Does anybody look?
    pub fn is_watched(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    /// A new reader. `after`: the last id that it has seen of a stream like this one, if any.
    pub fn subscribe(&self, after: Option<&str>) -> Reader {
        Reader::new(self.clone(), self.changes.subscribe(), after)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Inner {
    /// Unix seconds.
    fn at(&self, at_us: u64) -> f64 {
        (self.origin.wall_ms + at_us as f64 / 1e3) / 1e3
    }

    /// Is there something to be told at once?
    fn record(&mut self, at_us: u64, record: &Record) -> bool {
        let at = self.at(at_us);
        match record {
            Record::Tick(tick) => return self.tick(at, tick),
            Record::Dose(dose) => {
                if self.state.counts(&dose.target) {
                    self.open.iter_mut().for_each(|open| open.touched(dose.chunks_touched, dose.chunks));
                }
                return false;
            }
            Record::Canary(canary) => {
                if let Some(slow_us) = self.state.slow_us(&canary.target) {
                    let suffered = canary.took_us.is_none_or(|took| took >= slow_us);
                    self.open.iter_mut().for_each(|open| open.canary(suffered));
                }
                return false;
            }
            Record::Event(event) => {
                if let (EventKind::Breaker { to, .. }, Some(server)) = (&event.event, &event.server)
                    && let Some(n) = self.place(server)
                {
                    self.open.iter_mut().for_each(|open| open.breaker(n, *to));
                }
                return false;
            }
            Record::Hello(hello) => {
                if self.state.hello(hello) && self.fine.next() > 0 {
                    // Columns of other servers: nothing of before fits beside them.
                    self.generation += 1;
                    (self.fine, self.coarse) = (Ring::new(FINE_POINTS), Ring::new(COARSE_POINTS));
                    self.open = [Open::default(), Open::default()];
                    self.until = None;
                }
            }
            Record::Run(run) => {
                self.origin.wall_ms = run.wall_ms as f64;
                self.state.run(run);
            }
            Record::Phase(phase) => self.state.phase(phase.phase, at),
            Record::Fault(fault) => self.state.fault(fault, at),
            Record::End(_) => self.state.phase(PhaseKind::Idle, at),
            _ => return false,
        }
        let state = std::mem::take(&mut self.state);
        self.tell("state", &state);
        self.state = state;
        true
    }

    fn place(&self, server: &str) -> Option<usize> {
        self.state.servers.iter().position(|known| known == server)
    }

    fn tick(&mut self, at: f64, tick: &Tick) -> bool {
        let begin = at - tick.period_us as f64 / 1e6;
        let declared = self.state.declared();
        let names = std::mem::take(&mut self.state.servers);
        let mut ended = false;
        let rings = [(FINE_US, &mut self.fine), (COARSE_US, &mut self.coarse)];
        for ((step_us, ring), open) in rings.into_iter().zip(&mut self.open) {
            // What was not observed is no zero, and no straight line either.
            let gap = self.until.is_some_and(|until| begin > until + COARSE_US as f64 / 1e6);
            if gap {
                let until = self.until.unwrap_or(begin);
                ring.push(open.end(until, None));
                ring.push(Open::default().end(until + 1e-3, None));
                ring.push(Open::default().end(begin, None));
            }
            let index = |name: &str| {
                let shown = names.iter().position(|known| known == name || *known == text(name));
                shown.filter(|n| *n < SERVERS_MAX)
            };
            open.tick(tick, index);
            if open.is_whole(step_us, tick) {
                ring.push(open.end(at, declared));
                ended = true;
            }
        }
        self.state.servers = names;
        self.until = Some(self.until.map_or(at, |until| until.max(at)));
        ended
    }

    fn tell(&mut self, name: &'static str, what: &impl Serialize) {
        let Ok(json) = serde_json::to_string(what) else { return };
        let version = self.told.get(name).map_or(0, |(version, _)| version + 1);
        self.told.insert(name, (version, json.into()));
    }
}
