//! What a client tells while it works.

use std::time::Duration;

use crate::breaker::Transition;
use crate::outcome::Outcome;

/// Hears of everything that has a moment of its own. Called outside of locks, on the task of the op: it must be quick
/// and must not call the client. Two transitions of one breaker may be told out of order when they are microseconds
/// apart; `sequence` says which is the later.
pub trait Observer: Send + Sync {
    /// A breaker changed its state.
    fn breaker(&self, server: usize, transition: &Transition) {
        let _ = (server, transition);
    }

    /// A half-open probe ended.
    fn probe(&self, server: usize, outcome: Outcome, took: Duration) {
        let _ = (server, outcome, took);
    }

    /// A dial ended; `error` says why it failed.
    fn dial(&self, server: usize, error: Option<String>, took: Duration) {
        let _ = (server, error, took);
    }

    /// A connection was closed.
    fn closed(&self, server: usize, reason: CloseReason) {
        let _ = (server, reason);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloseReason {
    /// No whole reply in time.
    Timeout,
    /// The caller dropped the op under it.
    Cancelled,
    /// A reply that is not allowed, or bytes that nobody asked for.
    Protocol,
    /// It broke, or the server closed it.
    Reset,
    /// It was idle for too long.
    Idle,
    /// It had lived for long enough.
    Lifetime,
    /// The client was closed.
    Drain,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [CloseReason; 7] = [
        CloseReason::Timeout,
        CloseReason::Cancelled,
        CloseReason::Protocol,
        CloseReason::Reset,
        CloseReason::Idle,
        CloseReason::Lifetime,
        CloseReason::Drain,
    ];

    /// Its name in labels and records.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Timeout => "timeout",
            CloseReason::Cancelled => "cancelled",
            CloseReason::Protocol => "protocol",
            CloseReason::Reset => "reset",
            CloseReason::Idle => "idle",
            CloseReason::Lifetime => "lifetime",
            CloseReason::Drain => "drain",
        }
    }
}
