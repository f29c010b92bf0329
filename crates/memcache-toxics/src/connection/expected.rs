//! The requests whose replies are due, in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::command::Command;
use crate::parse::Why;
use crate::parse::reply::{Fit, Reply};

/// Requests without a reply at most; more is no client that reads.
const DUE_MAX: usize = 16 * 1024;

/// A reply that is due.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) command: Command,
    /// It may never come.
    pub(super) quiet: bool,
    /// What a meta reply echoes of the request.
    pub(super) echo: Bytes,
    /// The fault acts on it.
    pub(super) chosen: bool,
    /// Size of the request's value.
    pub(super) size: Option<u64>,
    pub(super) from: From,
}

/// Who gives it.
#[derive(Debug)]
pub(super) enum From {
    Server,
    /// The fault, as soon as it is its turn.
    Fault(Instead),
    /// The fault, when the server has answered the `mn` that went in the request's place: only that says that quiet
    /// requests before it will not be answered any more.
    FaultAfterServer(Instead),
}

/// What the fault says in the server's place.
#[derive(Debug, Clone)]
pub(super) struct Instead {
    pub(super) bytes: Bytes,
    pub(super) then_close: bool,
}

impl Expected {
    /// Quiet requests that cannot be told apart stay one entry, which any number of replies may fit.
    fn stands_for(&self, other: &Self) -> bool {
        self.quiet
            && other.quiet
            && self.command == other.command
            && self.echo.is_empty()
            && other.echo.is_empty()
            && !self.chosen
            && !other.chosen
    }
}

#[derive(Debug, Default)]
pub(super) struct Due {
    expected: VecDeque<Expected>,
    /// So many of them at most have been answered already: their reply was taken for that of a quiet request.
    doubts: usize,
}

/// A reply line and the request that it belongs to.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) expected: Expected,
    pub(super) fit: Fit,
}

impl Due {
    pub(super) fn push(&mut self, expected: Expected) -> Result<(), Why> {
        if self.expected.back().is_some_and(|last| last.stands_for(&expected)) {
            return Ok(());
        }
        if self.expected.len() >= DUE_MAX {
            return Err(Why::TooMany);
        }
        self.expected.push_back(expected);
        Ok(())
    }

    /// Will another reply come for sure?
    pub(super) fn has_certain(&self) -> bool {
        self.expected.iter().any(|expected| !expected.quiet)
    }

    /// May one of them never be answered?
    fn has_quiet(&self) -> bool {
        self.expected.iter().any(|expected| expected.quiet)
    }

    /// Does the fault owe one of them?
    pub(super) fn owes(&self) -> bool {
        self.expected.iter().any(|expected| !matches!(expected.from, From::Server))
    }

    /// The fault's own reply, if it is its turn.
    pub(super) fn turn_of_fault(&mut self) -> Option<Instead> {
        let expected = self.expected.pop_front_if(|expected| matches!(expected.from, From::Fault(_)))?;
        match expected.from {
            From::Fault(instead) => Some(instead),
            From::Server | From::FaultAfterServer(_) => None,
        }
    }

    /// May it be unknown whose turn it is?
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubts > 0 || self.has_quiet()
    }

    /// Whose reply begins with this line: the first request that it fits. Those before it must be quiet, and are not answered
    /// any more, or be among those that a reply was taken from. (Several quiet requests without key and opaque that it fits
    /// cannot be told apart: the first is taken.)
    pub(super) fn answered_by(&mut self, reply: &Reply<'_>) -> Option<Matched> {
        let (mut found, mut doubts) = (None, self.doubts);
        for (at, expected) in self.expected.iter().enumerate() {
            match reply.fits(expected.command, expected.quiet, &expected.echo) {
                Fit::No if expected.quiet => {}
                // What the fault owes is never given up.
                Fit::No if doubts > 0 && matches!(expected.from, From::Server) => doubts -= 1,
                Fit::No => return None,
                fit => {
                    found = Some((at, fit));
                    break;
                }
            }
        }
        let (at, fit) = found?;
        let ambiguous = self.is_ambiguous(reply, at);
        self.expected.drain(..at);
        let expected = self.expected.pop_front()?;
        if expected.quiet && expected.echo.is_empty() && !expected.chosen {
            // It may stand for more of its kind.
            let (command, echo, from) = (expected.command, Bytes::new(), From::Server);
            self.expected.push_front(Expected {
                command,
                quiet: true,
                echo,
                chosen: false,
                size: None,
                from,
            });
        }
        // Behind an `mn` that is answered nothing has been.
        let certain = expected.command == Command::Mn && reply.is_no_op();
        self.doubts = if certain { 0 } else { (doubts + usize::from(ambiguous)).min(self.expected.len()) };
        Some(Matched { expected, fit })
    }

    /// Is the request there quiet, and may the reply be that of a later one?
    fn is_ambiguous(&self, reply: &Reply<'_>, at: usize) -> bool {
        let quiet = self.expected.get(at).is_some_and(|expected| expected.quiet);
        if !quiet || reply.has_opaque() {
            return false;
        }
        let mut passes = self.doubts;
        for expected in self.expected.iter().skip(at + 1) {
            if reply.fits(expected.command, expected.quiet, &expected.echo) != Fit::No {
                return true;
            }
            if !expected.quiet {
                let Some(left) = passes.checked_sub(1) else { return false };
                passes = left;
            }
        }
        false
    }
}
