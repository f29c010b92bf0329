//! Is a stream of observations whole? What is missing becomes a [`Gap`], what comes twice is known again.

use std::collections::VecDeque;

use crate::ndjson::LineError;
use crate::{Gap, GapReason, Tick};

/// Ticks that are remembered, so that a source that repeats them is not counted twice: some 7 minutes.
const REMEMBERED: usize = 4096;
/// Time without a tick that is a gap. Ticks may be out of order by less.
const HOLE_US: u64 = 1_000_000;
/// Bad lines without a good one between them are told at most this often.
const TELL_US: u64 = 1_000_000;
/// Characters of an error that a gap repeats.
const REASON_MAX: usize = 200;

/// What a tick is to those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A new one.
    New,
    /// It was there already.
    Again,
    /// New, and there is none for the time before it; moments are those of the source.
    After(Gap),
}

/// Remembers the ticks of one start of a source.
#[derive(Debug, Clone, Default)]
pub struct Ticks {
    recent: VecDeque<u64>,
    end_us: Option<u64>,
}

impl Ticks {
    /// The next tick in the order of arrival.
    pub fn seen(&mut self, tick: &Tick) -> Seen {
        if self.recent.contains(&tick.at_us) {
            return Seen::Again;
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(tick.at_us);
        let begin = tick.at_us.saturating_sub(tick.period_us);
        let end = self.end_us.unwrap_or(begin);
        self.end_us = Some(end.max(tick.at_us));
        if begin <= end.saturating_add(HOLE_US) {
            return Seen::New;
        }
        Seen::After(Gap { from_us: end, to_us: begin, reason: GapReason::NoTicks { us: begin - end } })
    }

    /// The stream was broken and goes on: what is missing between has been told.
    pub fn resume(&mut self) {
        self.end_us = None;
    }
}

/// Turns lines that cannot be read into gaps; moments are the reader's.
#[derive(Debug, Clone)]
pub struct BadLines {
    /// Until here everything is known, or told to be missing.
    known_us: u64,
    told_us: Option<u64>,
    untold: u64,
}

impl BadLines {
    /// From now on.
    pub fn new(now_us: u64) -> Self {
        Self { known_us: now_us, told_us: None, untold: 0 }
    }

    /// A line could not be read.
    pub fn bad(&mut self, now_us: u64, error: &LineError) -> Option<Gap> {
        self.untold += 1;
        let due = self.told_us.is_none_or(|told| now_us >= told.saturating_add(TELL_US));
        // The error may quote the line.
        due.then(|| self.tell(now_us, &error.to_string().chars().take(REASON_MAX).collect::<String>()))
    }

    /// A line could be read.
    pub fn good(&mut self, now_us: u64) -> Option<Gap> {
        let gap = (self.untold > 0).then(|| self.tell(now_us, "and so on"));
        self.known_us = now_us;
        gap
    }

    fn tell(&mut self, now_us: u64, why: &str) -> Gap {
        let reason = GapReason::UnreadStream { lines: self.untold, why: why.to_owned() };
        // Never of no length, or it would be no gap.
        let from_us = self.known_us.min(now_us.saturating_sub(1));
        *self = Self { known_us: now_us, told_us: Some(now_us), untold: 0 };
        Gap { from_us, to_us: now_us.max(1), reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tick(at_us: u64) -> Tick {
        Tick { at_us, period_us: 100_000, ..Tick::default() }
    }

    #[test]
    fn a_hole_is_a_gap_and_a_repetition_is_known_again() {
        let mut ticks = Ticks::default();
        for at_us in [500_000, 600_000, 800_000, 700_000] {
            assert_eq!(ticks.seen(&tick(at_us)), Seen::New, "{at_us}");
        }
        assert_eq!(ticks.seen(&tick(600_000)), Seen::Again);
        assert_eq!(ticks.seen(&tick(1_900_000)), Seen::New, "1 s is no hole yet");
        let reason = GapReason::NoTicks { us: 1_100_000 };
        let gap = Gap { from_us: 1_900_000, to_us: 3_000_000, reason };
        assert_eq!(ticks.seen(&tick(3_100_000)), Seen::After(gap));
        ticks.resume();
        assert_eq!(ticks.seen(&tick(9_000_000)), Seen::New, "the break was told");
        assert_eq!(ticks.seen(&tick(3_100_000)), Seen::Again, "a source may repeat after a break");
    }

    #[test]
    fn bad_lines_are_told_at_once_and_then_once_a_second() {
        let mut lines = BadLines::new(1_000_000);
        assert_eq!(lines.good(1_500_000), None);
        let gap = lines.bad(1_600_000, &LineError::TooLong).unwrap();
        assert_eq!((gap.from_us, gap.to_us), (1_500_000, 1_600_000));
        let said = gap.reason.to_string();
        assert!(said.starts_with("a line of the stream could not be read: a line of more"), "{said}");
        let told: Vec<Gap> =
            (0..300u64).filter_map(|n| lines.bad(1_600_000 + n * 10_000, &LineError::TooLong)).collect();
        assert_eq!(told.iter().map(|gap| gap.to_us).collect::<Vec<_>>(), [2_600_000, 3_600_000]);
        let rest = lines.good(4_700_000).unwrap();
        assert_eq!((rest.from_us, rest.to_us), (3_600_000, 4_700_000));
        assert_eq!(lines.good(4_800_000), None);
        let now = BadLines::new(0).bad(0, &LineError::TooLong).unwrap();
        assert!(now.from_us < now.to_us);
    }

    proptest! {
        #[test]
        fn whatever_comes_no_tick_counts_twice_and_no_gap_is_empty(
            ticks in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50),
        ) {
            let mut memory = Ticks::default();
            let mut new = Vec::new();
            for (at_us, period_us) in ticks {
                match memory.seen(&Tick { at_us, period_us, ..Tick::default() }) {
                    Seen::Again => prop_assert!(new.contains(&at_us)),
                    Seen::New => { prop_assert!(!new.contains(&at_us)); new.push(at_us); }
                    Seen::After(gap) => {
                        prop_assert!(gap.to_us - gap.from_us > HOLE_US);
                        new.push(at_us);
                    }
                }
            }
        }
    }
}
