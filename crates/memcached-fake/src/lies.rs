//! The liar: rules that make the fake delay, cut, forge and lose, and counts of what it has seen.
//!
//! Rules are data and change at run time; while there are none, a command costs one load of a flag.

mod act;
pub(crate) mod apply;
mod counters;
pub(crate) mod forge;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(crate) use act::Side;
pub use act::{Act, Lie, Moment, When};
pub use counters::Counters;

use crate::command::Command;

/// Names one lie of a [`Lies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LieId(u64);

/// The lies that a fake tells, in the order in which they were added.
#[derive(Debug)]
pub struct Lies {
    rules: Mutex<Rules>,
    /// Whether any lie concerns commands.
    commands: AtomicBool,
    /// Open connections beyond which none is accepted.
    limit: AtomicUsize,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    next: u64,
}

#[derive(Debug)]
struct Rule {
    id: LieId,
    lie: Lie,
    /// Times that everything but `every` held.
    held: u64,
    told: u64,
}

impl Rule {
    fn is_told(&mut self) -> bool {
        if self.lie.when.times.is_some_and(|times| self.told >= times) {
            return false;
        }
        self.held += 1;
        let told = self.held.is_multiple_of(u64::from(self.lie.when.every.max(1)));
        self.told += u64::from(told);
        told
    }
}

impl Default for Lies {
    fn default() -> Self {
        Self {
            rules: Mutex::default(),
            commands: AtomicBool::new(false),
            limit: AtomicUsize::new(usize::MAX),
            changed: Notify::new(),
        }
    }
}

impl Lies {
    /// Adds a lie behind those that are there.
    pub fn add(&self, lie: impl Into<Lie>) -> LieId {
        self.change(|rules| rules.push(lie.into()))
    }

    /// Puts these in the place of all that are there.
    pub fn set(&self, lies: impl IntoIterator<Item = Lie>) -> Vec<LieId> {
        self.change(|rules| {
            rules.rules.clear();
            lies.into_iter().map(|lie| rules.push(lie)).collect()
        })
    }

    /// Takes one away; `false`: it was not there. What it has begun, such as a hung connection, stays.
    pub fn remove(&self, id: LieId) -> bool {
        self.change(|rules| {
            let before = rules.rules.len();
            rules.rules.retain(|rule| rule.id != id);
            rules.rules.len() < before
        })
    }

    /// Takes all away. What they have begun, such as hung connections, stays.
    pub fn clear(&self) {
        self.change(|rules| rules.rules.clear());
    }

    /// How often it was told; 0 if it is not there.
    pub fn told(&self, id: LieId) -> u64 {
        self.lock().rules.iter().find(|rule| rule.id == id).map_or(0, |rule| rule.told)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().rules.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        let mut rules = self.lock();
        let changed = change(&mut rules);
        let (mut commands, mut limit) = (false, usize::MAX);
        for rule in &rules.rules {
            match rule.lie.act.side() {
                Side::Command => commands = true,
                Side::Limit(lower) => limit = limit.min(lower),
                Side::Connection => {}
            }
        }
        self.commands.store(commands, Ordering::Release);
        self.limit.store(limit, Ordering::Release);
        drop(rules);
        self.changed.notify_one();
        changed
    }

    /// The acts for this command.
    pub(crate) fn for_command(&self, command: &Command) -> Vec<Act> {
        if !self.commands.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.told_where(|lie| {
            let name = lie.when.command.as_ref();
            let prefix = lie.when.key_prefix.as_ref();
            lie.act.side() == Side::Command
                && name.is_none_or(|name| command.name() == Some(name.as_bytes()))
                && prefix.is_none_or(|prefix| command.keys().iter().any(|key| key.starts_with(prefix)))
        })
    }

    /// The acts for a new connection.
    pub(crate) fn for_connection(&self) -> Vec<Act> {
        self.told_where(|lie| lie.act.side() == Side::Connection)
    }

    fn told_where(&self, holds: impl Fn(&Lie) -> bool) -> Vec<Act> {
        let mut acts = Vec::new();
        for rule in &mut self.lock().rules {
            if holds(&rule.lie) && rule.is_told() {
                acts.push(rule.lie.act.clone());
            }
        }
        acts
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// Makes the acceptor look again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for a change that the acceptor must see.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Rules {
    fn push(&mut self, lie: Lie) -> LieId {
        let id = LieId(self.next);
        self.next += 1;
        self.rules.push(Rule { id, lie, held: 0, told: 0 });
        id
    }
}

#[cfg(test)]
mod tests;
