//! What must hold between the replies of several ops, one file an oracle: `stale` reads, `resurrected` deletes and
//! lost `counters`. Whether one value is right by itself is asked in [`crate::values`].
//!
//! Order is judged on a logical clock whose ticks are the versions of the values: one op is *before* another only if
//! its end was recorded before the other was planned. Ops that overlap may have taken effect in either order, and a server
//! may lose a key at any moment. A finding is what no order of effects and losses explains, so it is always a real one, as
//! long as no other program writes the same keys. `counter_worlds` and `value_worlds` visit all orders of a few ops.

#[cfg(test)]
mod counter_worlds;
mod counters;
mod history;
#[cfg(test)]
mod live;
mod resurrected;
mod stale;
#[cfg(test)]
mod value_worlds;
#[cfg(test)]
mod worlds;

pub(crate) use counters::Token;
pub(crate) use history::Superseded;

use std::sync::atomic::{AtomicU64, Ordering};

use observation::Outcome;

use crate::values::Violation;
use counters::{Counters, Reading};
use history::{Deed, Histories, Moment};

/// What the oracles have found in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OracleCounts {
    /// Reads of a version although a newer one was acknowledged before the read began.
    pub stale: u64,
    /// The longest time between that acknowledgement and such a read, µs. At least: of a key's acknowledged writes
    /// only the last ones are known.
    pub stale_worst_us: u64,
    /// Reads of a version although a later delete was acknowledged before the read began.
    pub resurrected: u64,
    /// Counters that began anew: evicted, expired, or their server restarted.
    pub counter_resets: u64,
}

impl OracleCounts {
    /// Adds everything of `other`.
    pub fn add(&mut self, other: &OracleCounts) {
        self.stale += other.stale;
        self.stale_worst_us = self.stale_worst_us.max(other.stale_worst_us);
        self.resurrected += other.resurrected;
        self.counter_resets += other.counter_resets;
    }
}

/// What is known of the effect of a write, delete or count that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It was done before its end.
    acknowledged: bool,
    /// It may be done at any later time.
    may_come_late: bool,
}

impl Fate {
    /// From the op's end and those of its attempts. `acknowledges`: a success of this op is one of the server.
    pub(crate) fn new(
        outcome: Outcome,
        mut attempts: impl Iterator<Item = Outcome>,
        acknowledges: bool,
    ) -> Self {
        use Outcome::*;
        let done = matches!(outcome, Stored | Deleted | NotFound);
        let unclear = |outcome| {
            !matches!(
                outcome,
                Stored | NotStored | Deleted | NotFound | Connect | PoolExhausted | BreakerOpen
            )
        };
        Self {
            acknowledged: done && acknowledges,
            may_come_late: (done && !acknowledges) || unclear(outcome) || attempts.any(unclear),
        }
    }
}

/// Memory of what is known of this number of keys, bytes at most.
pub(crate) fn memory(keys: usize) -> u64 {
    history::memory(keys)
}

/// The oracles of one load, shared by its drivers.
#[derive(Debug)]
pub struct Oracles {
    /// The logical clock; a write's tick is its version.
    ticks: AtomicU64,
    histories: Histories,
    counters: Counters,
    /// Does the client hear from the server that a set or delete was done?
    acknowledged: bool,
}

impl Oracles {
    /// For `keys` keys of values and `counters` counters; versions begin with `first`. `acknowledged`: the client waits
    /// for the server's answer to a set or delete.
    pub fn new(first: u64, keys: usize, counters: usize, acknowledged: bool) -> Self {
        Self {
            ticks: AtomicU64::new(first),
            histories: Histories::new(first, keys),
            counters: Counters::new(counters),
            acknowledged,
        }
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    /// A read is about to begin; gives its tick.
    pub(crate) fn plan_read(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// A write of key `number` is about to begin; gives its tick, the version.
    pub(crate) fn plan_write(&self, number: usize) -> u64 {
        let tick = self.tick();
        self.histories.begin(number, tick, Deed::Write);
        tick
    }

    /// A delete of key `number` is about to begin; gives its tick.
    pub(crate) fn plan_delete(&self, number: usize) -> u64 {
        let tick = self.tick();
        self.histories.begin(number, tick, Deed::Delete);
        tick
    }

    /// A write or delete of key `number` that began at tick `began` has ended, at `at_us`; `elsewhere`: it was
    /// served by another than the key's home server.
    pub(crate) fn changed(&self, number: usize, began: u64, fate: Fate, elsewhere: bool, at_us: u64) {
        let end = Moment { tick: self.tick(), at_us, elsewhere };
        self.histories.end(number, began, fate, end);
    }

    /// Is a success of a set or delete the server's?
    pub(crate) fn acknowledges(&self) -> bool {
        self.acknowledged
    }

    /// A read of key `number` that began at tick `asked` gave `version`: was a newer one acknowledged, was it deleted?
    pub(crate) fn read(&self, number: usize, version: u64, asked: u64) -> ReadFindings {
        if self.histories.is_newest(number, version) {
            return ReadFindings::default();
        }
        self.histories.look(number, version, |history, written| ReadFindings {
            stale: stale::judge(history, written, asked),
            resurrected: resurrected::judge(history, written, asked),
        })
    }

    /// A count of counter `number` is about to begin.
    pub(crate) fn plan_incr(&self, number: usize) -> Token {
        self.counters.begin(number)
    }

    /// A count of counter `number` has ended; `value` is what the server answered.
    pub(crate) fn counted(
        &self,
        number: usize,
        token: Token,
        fate: Fate,
        value: Option<u64>,
    ) -> CountFindings {
        let reading = match value {
            Some(value) => Reading::Value(value),
            None if fate.may_come_late => Reading::Unknown,
            None => Reading::NotApplied,
        };
        self.counters.end(number, token, reading)
    }
}

/// What is wrong with a read whose value is right by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadFindings {
    /// By which write it was superseded.
    pub(crate) stale: Option<Superseded>,
    /// By which delete.
    pub(crate) resurrected: Option<Superseded>,
}

/// What a counter's value says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CountFindings {
    /// It lost or gained counts.
    pub(crate) violation: Option<Violation>,
    /// It began anew.
    pub(crate) reset: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKED: Fate = Fate { acknowledged: true, may_come_late: false };
    const UNKNOWN: Fate = Fate { acknowledged: false, may_come_late: true };

    fn oracles() -> Oracles {
        Oracles::new(1_000, 4, 1, true)
    }

    fn write(oracles: &Oracles, at_us: u64) -> u64 {
        let version = oracles.plan_write(2);
        oracles.changed(2, version, ACKED, false, at_us);
        version
    }

    #[test]
    fn a_read_is_stale_only_if_the_newer_write_was_acknowledged_before_it_began() {
        let oracles = oracles();
        let old = write(&oracles, 10);
        let early = oracles.plan_read();
        let new = write(&oracles, 50);
        assert_eq!(oracles.read(2, old, early), ReadFindings::default());
        let late = oracles.plan_read();
        let found = oracles.read(2, old, late);
        assert_eq!(found.stale, Some(Superseded { by: new, at_us: 50, elsewhere: false }));
        assert_eq!(found.resurrected, None);
        assert_eq!(oracles.read(2, new, late), ReadFindings::default());
        // Somebody else's version, and one of the future.
        assert_eq!(oracles.read(2, 7, late), ReadFindings::default());
        assert_eq!(oracles.read(2, 1 << 60, late), ReadFindings::default());
    }

    #[test]
    fn of_two_writes_that_overlap_either_may_be_the_last() {
        let oracles = oracles();
        let (a, b) = (oracles.plan_write(2), oracles.plan_write(2));
        oracles.changed(2, b, ACKED, false, 10);
        assert_eq!(oracles.read(2, a, oracles.plan_read()), ReadFindings::default());
        oracles.changed(2, a, ACKED, false, 20);
        for version in [a, b] {
            assert_eq!(oracles.read(2, version, oracles.plan_read()), ReadFindings::default());
        }
        write(&oracles, 30);
        for version in [a, b] {
            assert!(oracles.read(2, version, oracles.plan_read()).stale.is_some());
        }
    }

    #[test]
    fn a_write_with_an_unknown_end_makes_both_versions_right_for_ever() {
        let oracles = oracles();
        let old = write(&oracles, 10);
        let lost = oracles.plan_write(2);
        oracles.changed(2, lost, UNKNOWN, false, 20);
        for version in [old, lost] {
            assert_eq!(oracles.read(2, version, oracles.plan_read()), ReadFindings::default());
        }
        write(&oracles, 30);
        // It may be carried out later than the newer one; the old one cannot.
        assert_eq!(oracles.read(2, lost, oracles.plan_read()), ReadFindings::default());
        assert!(oracles.read(2, old, oracles.plan_read()).stale.is_some());
    }

    #[test]
    fn a_value_that_was_deleted_must_not_come_back() {
        let oracles = oracles();
        let old = write(&oracles, 10);
        let early = oracles.plan_read();
        let delete = oracles.plan_delete(2);
        let during = oracles.plan_write(2);
        assert_eq!(oracles.read(2, old, early), ReadFindings::default());
        oracles.changed(2, delete, ACKED, true, 40);
        oracles.changed(2, during, ACKED, false, 41);
        assert_eq!(oracles.read(2, old, early), ReadFindings::default());
        let found = oracles.read(2, old, oracles.plan_read());
        assert_eq!(found.resurrected, Some(Superseded { by: delete, at_us: 40, elsewhere: true }));
        assert_eq!(oracles.read(2, during, oracles.plan_read()), ReadFindings::default());
        // One whose end is unknown proves nothing.
        let unknown = oracles.plan_delete(2);
        oracles.changed(2, unknown, UNKNOWN, false, 50);
        assert_eq!(oracles.read(2, during, oracles.plan_read()), ReadFindings::default());
    }

    #[test]
    fn versions_beyond_the_memory_are_still_judged() {
        let oracles = oracles();
        let oldest = write(&oracles, 1);
        let slow = oracles.plan_write(2);
        let lost = oracles.plan_write(2);
        oracles.changed(2, lost, UNKNOWN, false, 2);
        for n in 0..100 {
            write(&oracles, 10 + n);
        }
        assert!(oracles.read(2, oldest, oracles.plan_read()).stale.is_some());
        assert_eq!(oracles.read(2, lost, oracles.plan_read()), ReadFindings::default());
        assert_eq!(oracles.read(2, slow, oracles.plan_read()), ReadFindings::default());
        oracles.changed(2, slow, ACKED, false, 500);
        assert_eq!(oracles.read(2, slow, oracles.plan_read()), ReadFindings::default());
    }

    #[test]
    fn only_what_was_heard_of_the_server_is_acknowledged() {
        use Outcome::*;
        let fate = |outcome, attempts: &[Outcome], acknowledges| {
            let fate = Fate::new(outcome, attempts.iter().copied(), acknowledges);
            (fate.acknowledged, fate.may_come_late)
        };
        for outcome in [Stored, Deleted, NotFound] {
            assert_eq!(fate(outcome, &[outcome], true), (true, false));
            assert_eq!(fate(outcome, &[outcome], false), (false, true));
        }
        assert_eq!(fate(Stored, &[BreakerOpen, Stored], true), (true, false));
        assert_eq!(fate(Stored, &[Timeout, Stored], true), (true, true));
        for outcome in [NotStored, Connect, PoolExhausted, BreakerOpen] {
            assert_eq!(fate(outcome, &[outcome], true), (false, false));
        }
        for outcome in [Timeout, Reset, Protocol, ServerError, Cancelled] {
            assert_eq!(fate(outcome, &[outcome], true), (false, true));
        }
        assert_eq!(fate(BreakerOpen, &[Timeout, BreakerOpen], true), (false, true));
    }

    #[test]
    fn a_count_that_was_refused_after_an_attempt_without_an_answer_may_still_come() {
        use Outcome::*;
        for (attempts, lost) in [(&[Connect][..], true), (&[Timeout, Connect], false)] {
            let oracles = oracles();
            let count = |fate, value| oracles.counted(0, oracles.plan_incr(0), fate, value).violation;
            assert_eq!(count(ACKED, Some(10)), None);
            assert_eq!(count(Fate::new(Connect, attempts.iter().copied(), true), None), None);
            // 11 is the refused one's, if it may have been done.
            assert_eq!(count(ACKED, Some(12)).is_some(), lost, "{attempts:?}");
        }
    }
}
