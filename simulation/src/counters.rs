//! What a counter may hold, from what was asked of it and what was answered.
//!
//! A reset is a delete, or a restart of the server. Every incr adds one; a new counter begins with the one that made it.

use std::collections::BTreeMap;

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counters: BTreeMap<String, Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    /// Incrs begun.
    begun: u64,
    /// Incrs that were answered: they are applied and will not be again.
    answered: u64,
    /// Of those begun, how many cannot be in the counter since the last reset.
    gone: u64,
    /// Grows whenever something may have been reset.
    epoch: u64,
    /// Incrs that began and were answered within this epoch.
    sure: u64,
    deletes_running: u32,
    /// A delete whose end is unknown: it may still come.
    delete_may_come: bool,
}

/// An incr or a delete that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    gone: u64,
    epoch: u64,
    sure: u64,
    answered: u64,
}

impl Counter {
    fn running(&self) -> Running {
        Running { gone: self.gone, epoch: self.epoch, sure: self.sure, answered: self.answered }
    }

    fn turn(&mut self) {
        self.epoch += 1;
        self.sure = 0;
    }
}

impl Counters {
    fn counter(&mut self, key: &str) -> &mut Counter {
        self.counters.entry(key.to_owned()).or_default()
    }

    pub(crate) fn incr_begins(&mut self, key: &str) -> Running {
        let counter = self.counter(key);
        counter.begun += 1;
        counter.running()
    }

    /// The server says that the counter is at `value` now.
    pub(crate) fn incr_answered(&mut self, key: &str, before: Running, value: u64) -> Result<(), String> {
        let counter = self.counter(key);
        counter.answered += 1;
        let most = counter.begun - before.gone;
        let quiet = counter.deletes_running == 0 && !counter.delete_may_come && before.epoch == counter.epoch;
        let least = if quiet { before.sure + 1 } else { 1 };
        counter.sure += u64::from(quiet);
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("counter {key} is {value}, which is not within {least}..={most}"))
    }

    pub(crate) fn delete_begins(&mut self, key: &str) -> Running {
        let counter = self.counter(key);
        counter.deletes_running += 1;
        counter.turn();
        counter.running()
    }

    /// `Some(true)`: the home server has removed the counter; `Some(false)`: nobody has, and nobody will.
    pub(crate) fn delete_ended(&mut self, key: &str, before: Running, removed: Option<bool>) {
        let counter = self.counter(key);
        counter.deletes_running -= 1;
        counter.turn();
        match removed {
            Some(true) => counter.gone = counter.gone.max(before.answered),
            Some(false) => {}
            None => counter.delete_may_come = true,
        }
    }

    /// The server of these counters has lost everything.
    pub(crate) fn lost(&mut self, concerns: impl Fn(&str) -> bool) {
        for (_, counter) in self.counters.iter_mut().filter(|(key, _)| concerns(key)) {
            counter.gone = counter.gone.max(counter.answered);
            counter.turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_was_asked_and_less_than_was_answered_are_wrong() {
        let mut counters = Counters::default();
        let first = counters.incr_begins("c");
        assert!(counters.incr_answered("c", first, 1).is_ok());
        let second = counters.incr_begins("c");
        assert!(counters.incr_answered("c", second, 3).is_err());
        let third = counters.incr_begins("c");
        assert!(counters.incr_answered("c", third, 2).is_err());
    }

    #[test]
    fn a_reset_takes_what_was_answered_before_and_nothing_else() {
        let mut counters = Counters::default();
        for value in 1..=5 {
            let running = counters.incr_begins("c");
            counters.incr_answered("c", running, value).unwrap();
        }
        let flying = counters.incr_begins("c");
        counters.lost(|key| key == "c");
        let next = counters.incr_begins("c");
        assert!(counters.incr_answered("c", next, 2).is_ok());
        let next = counters.incr_begins("c");
        assert!(counters.incr_answered("c", next, 4).is_err());
        // Began before the reset: applied before it, or after.
        assert!(counters.incr_answered("c", flying, 6).is_ok());
    }
}
