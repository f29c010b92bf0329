//! The one record of a run: what was asked, what was answered, what the breakers did, and what of it was wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memcache_client::breaker::BreakerState;
use memcache_client::{CloseReason, Observer, Outcome, Transition};

use crate::counters::Counters;
use crate::trace::Trace;
use crate::value;

/// Failures that are kept; one is enough, the first say most.
const FAILURES_MAX: usize = 20;

/// What is known of a run so far.
#[derive(Debug)]
pub struct Ledger {
    /// Simulated time.
    pub(crate) now: Duration,
    trace: Trace,
    failures: Vec<String>,
    versions: BTreeMap<String, u64>,
    pub(crate) counters: Counters,
    breakers: BTreeMap<(usize, usize), (u64, BreakerState)>,
    max_ejected: usize,
    /// From when on no breaker may open.
    peace: Option<Duration>,
    /// Ops that began, that ended, that were dropped.
    pub(crate) ops: [u64; 3],
    pub(crate) transitions: u64,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
}

/// Shared by all tasks of a run; they share a thread too.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run has left behind.
pub(crate) struct Balance {
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(max_ejected: usize, keep_lines: bool) -> Self {
        Self {
            now: Duration::ZERO,
            trace: Trace::new(keep_lines),
            failures: Vec::new(),
            versions: BTreeMap::new(),
            counters: Counters::default(),
            breakers: BTreeMap::new(),
            max_ejected,
            peace: None,
            ops: [0; 3],
            transitions: 0,
            outcomes: BTreeMap::new(),
        }
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.trace.line(format!("{:>6} {text}", self.now.as_millis()));
    }

    pub(crate) fn fail(&mut self, text: &str) {
        self.note(&format!("FAILURE {text}"));
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(format!("at {:?}: {text}", self.now));
        }
    }

    pub(crate) fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.fail(&otherwise());
        }
    }

    pub(crate) fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// The version of the next value of `key`.
    pub(crate) fn next_version(&mut self, key: &str) -> u64 {
        let version = self.versions.entry(key.to_owned()).or_default();
        *version += 1;
        *version
    }

    /// Is this a value that somebody has once written, or tried to write, to `key`?
    pub(crate) fn check_value(&mut self, key: &str, value: &[u8]) {
        let last = self.versions.get(key).copied().unwrap_or(0);
        match value::version(key, value) {
            Ok(version) if (1..=last).contains(&version) => {}
            Ok(version) => self.fail(&format!("{key} has version {version}; the last written is {last}")),
            Err(shown) => self.fail(&format!("{key} has the value {shown}")),
        }
    }

    /// From now on no breaker may open, and those of all servers that are visited must be closed.
    pub(crate) fn begin_peace(&mut self, is_visited: impl Fn(usize) -> bool) {
        self.peace = Some(self.now);
        let ejected = self
            .breakers
            .iter()
            .filter(|((_, server), (_, state))| *state != BreakerState::Closed && is_visited(*server));
        let text = ejected.fold(String::new(), |mut text, ((client, server), (_, state))| {
            let _ = write!(text, " c{client} s{server} {}", state.name());
            text
        });
        self.check(text.is_empty(), || format!("breakers are not closed long after the last fault:{text}"));
    }

    fn transition(&mut self, client: usize, server: usize, transition: &Transition) {
        let Transition { sequence, from, to, reason } = transition;
        self.transitions += 1;
        self.note(&format!("c{client} s{server} breaker {} -> {}: {reason}", from.name(), to.name()));
        let known =
            self.breakers.insert((client, server), (*sequence, *to)).unwrap_or((0, BreakerState::Closed));
        let way = matches!(
            (from, to),
            (BreakerState::Closed, BreakerState::Open)
                | (BreakerState::Open, BreakerState::HalfOpen)
                | (BreakerState::HalfOpen, BreakerState::Open | BreakerState::Closed)
        );
        self.check(way && known == (sequence - 1, *from), || {
            format!("c{client} s{server} went from {from:?} to {to:?} ({sequence}), and was {known:?}")
        });
        let ejected = |(at, (_, state)): &(&(usize, usize), &(u64, BreakerState))| {
            at.0 == client && *state != BreakerState::Closed
        };
        let ejected = self.breakers.iter().filter(ejected).count();
        let max = self.max_ejected;
        self.check(ejected <= max, || format!("c{client} has ejected {ejected} servers; {max} is the most"));
        let late = self.peace.is_some() && *to == BreakerState::Open;
        self.check(!late, || format!("c{client} s{server} opened in peace: {reason}"));
    }

    pub(crate) fn close(&mut self) -> Balance {
        let [began, ended, dropped] = self.ops;
        self.check(began == ended + dropped, || {
            format!("{began} ops began, {ended} ended, {dropped} were dropped")
        });
        let trace = std::mem::replace(&mut self.trace, Trace::new(false));
        let failures = std::mem::take(&mut self.failures);
        Balance { hash: trace.hash(), lines: trace.into_lines(), failures }
    }
}

/// Writes what one client tells into the ledger.
pub(crate) struct Witness {
    pub(crate) client: usize,
    pub(crate) ledger: Shared,
}

impl Witness {
    fn note(&self, server: usize, text: &str) {
        self.ledger.lock().note(&format!("c{} s{server} {text}", self.client));
    }
}

impl Observer for Witness {
    fn breaker(&self, server: usize, transition: &Transition) {
        self.ledger.lock().transition(self.client, server, transition);
    }

    fn probe(&self, server: usize, outcome: Outcome, took: Duration) {
        self.note(server, &format!("probe {outcome:?} {took:?}"));
    }

    fn dial(&self, server: usize, error: Option<String>, took: Duration) {
        self.note(server, &format!("dial {} {took:?}", error.as_deref().unwrap_or("ok")));
    }

    fn closed(&self, server: usize, reason: CloseReason) {
        self.note(server, &format!("closed {}", reason.name()));
    }
}
