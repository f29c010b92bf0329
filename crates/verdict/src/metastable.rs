//! Does a system stay down after what brought it down is gone? A pure function of the journal of one cell (a load, a
//! trigger, a protection), and of several cells together.

use observation::journal::{Journal, Source};
use observation::metastable::CellPhase;
use observation::{NoteCode, Outcome, Record};
use serde::Serialize;

use crate::pair::BeforeAfter;

/// The end of the hold that is judged, s.
const JUDGED_S: u64 = 10;
/// A baseline has at least so many seconds.
const BASELINE_S: usize = 2;
/// Share of the time that records must tell of.
pub(crate) const COVERED: f64 = 0.95;
/// A machine that slept for so long in all says nothing, µs.
const SUSPENDED_US: u64 = 100_000;
/// Share of the baseline's goodput up to which a system is stuck.
const STUCK: f64 = 0.5;
/// Share of the baseline's goodput from which on it has recovered.
pub(crate) const RECOVERED: f64 = 0.95;
/// What is stuck does not grow by more than this share of the baseline's goodput a second.
const SLOPE: f64 = 0.01;
/// The load must be back within this share, and what Poisson arrivals spread (three standard deviations).
pub(crate) const LOAD_BACK: f64 = 0.02;
/// Share of the starts that may be late or dropped; beyond, the cell shows the machine.
pub(crate) const MISSED: f64 = 0.05;
/// Goodput must be back for so many seconds in a row before it counts as recovered.
const STEADY: usize = 3;

/// What a cell came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// At the end of the hold the goodput is 0.95 of the baseline's or more.
    Recovered,
    /// It is between, or still rises.
    Degraded,
    /// It is half or less, the load is what it was before, and it does not rise.
    Stuck,
    /// The cell says nothing: no healthy baseline, or the load was not back.
    Invalid,
}

impl CellState {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            CellState::Recovered => "recovered",
            CellState::Degraded => "degraded",
            CellState::Stuck => "stuck",
            CellState::Invalid => "invalid",
        }
    }
}

/// One second of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Second {
    /// Requests that the schedule asked for.
    pub offered: f64,
    /// Requests that got what they asked for.
    pub good: f64,
    /// Requests that the cache answered.
    pub hits: f64,
    /// All that ended.
    pub ended: f64,
    /// Queries that the database was asked.
    pub demanded: f64,
    /// Starts that the generator came to too late, or dropped.
    pub missed: f64,
    /// Longest wait of a queued query at the end of a tick, µs.
    pub oldest_us: u64,
    /// Time that records tell of, µs.
    pub covered_us: u64,
}

/// What a cell came to, in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cell {
    /// Verdict.
    pub state: CellState,
    /// Why, if it is invalid.
    pub why: Option<String>,
    /// Goodput of the baseline as a share of what was offered.
    pub baseline: f64,
    /// Goodput of the last 10 s of the hold, as a share of the baseline's.
    pub end: f64,
    /// Growth of that share per second.
    pub slope_per_s: f64,
    /// Seconds from the end of the trigger until the goodput was back for 3 s; absent: never.
    pub recovery_s: Option<u64>,
    /// Hit ratio of the baseline, and of the end of the hold.
    pub hit_ratio: BeforeAfter,
    /// Queries that the database was asked for each request, baseline and end of the hold.
    pub queries_per_request: BeforeAfter,
    /// Longest wait of a queued query at the end of the hold, µs.
    pub oldest_us: u64,
    /// Goodput after relief and ramp, as a share of the baseline's; absent: there was none.
    pub after_ramp: Option<f64>,
    /// Reads of the whole run that gave a value that was never written there.
    pub wrong_values: u64,
}

/// When each phase began, on the run's clock.
pub fn phases(journal: &Journal) -> Vec<(CellPhase, u64)> {
    let notes = journal.entries.iter().filter_map(|entry| match (&entry.record, entry.source) {
        (Record::Note(note), Source::Runner) if note.code == NoteCode::MetastablePhase => {
            Some((CellPhase::from(note.text.as_str()), note.at_us))
        }
        _ => None,
    });
    notes.collect()
}

/// The seconds between two moments; what is left at the end is dropped.
pub fn seconds(journal: &Journal, from_us: u64, to_us: u64) -> Vec<Second> {
    let whole = to_us.saturating_sub(from_us) / 1_000_000;
    let mut seconds = vec![Second::default(); usize::try_from(whole).unwrap_or(0)];
    for entry in &journal.entries {
        let period_us = match &entry.record {
            Record::LookAside(record) => record.period_us,
            Record::Tick(tick) => tick.period_us,
            _ => continue,
        };
        // A tick belongs to the second that its middle lies in.
        let middle = entry.at_us.saturating_sub(period_us / 2);
        let Some(index) = middle.checked_sub(from_us) else { continue };
        let Some(second) = seconds.get_mut(usize::try_from(index / 1_000_000).unwrap_or(usize::MAX)) else {
            continue;
        };
        if let Record::Tick(tick) = &entry.record {
            second.missed += (tick.late + tick.dropped) as f64;
        }
        let Record::LookAside(record) = &entry.record else { continue };
        second.offered += record.offered as f64;
        second.good += record.good() as f64;
        second.hits += record.hits as f64;
        second.ended += record.ended() as f64;
        second.demanded += record.database.demanded as f64;
        second.oldest_us = second.oldest_us.max(record.database.oldest_us);
        second.covered_us += record.period_us;
    }
    seconds
}

/// The seconds that a cell is judged by.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// What it is compared with.
    pub baseline: Vec<Second>,
    /// From the begin of the trigger to the end of the hold.
    pub disturbed: Vec<Second>,
    /// After the trigger.
    pub hold: Vec<Second>,
    /// The end of the hold.
    pub judged: Vec<Second>,
    /// After relief and ramp.
    pub ramped: Vec<Second>,
}

/// What the journal of a cell says.
pub fn cell(journal: &Journal) -> Cell {
    let phases = phases(journal);
    let at = |wanted: CellPhase| phases.iter().position(|(phase, _)| *phase == wanted);
    let span = |wanted: CellPhase| {
        let begin = at(wanted)?;
        Some((phases[begin].1, phases.get(begin + 1)?.1))
    };
    let between = |span: Option<(u64, u64)>| span.map_or(Vec::new(), |(from, to)| seconds(journal, from, to));
    let (baseline, hold) = (span(CellPhase::Baseline), span(CellPhase::Hold));
    let trigger = phases.get(at(CellPhase::Trigger).unwrap_or(usize::MAX)).map(|(_, at_us)| *at_us);
    let last = hold.map(|(from, to)| (from.max(to.saturating_sub(JUDGED_S * 1_000_000)), to));
    let mut cell = of(&Parts {
        baseline: between(baseline),
        disturbed: between(trigger.zip(hold).map(|(from, (_, to))| (from, to))),
        hold: between(hold),
        judged: between(last),
        ramped: between(span(CellPhase::After)),
    });
    let after_hold = at(CellPhase::Hold).and_then(|index| phases.get(index + 1));
    let watched = baseline.zip(hold).map(|((from, _), (_, to))| (from, to));
    let why = void(journal)
        .or_else(|| {
            after_hold
                .is_some_and(|(phase, _)| *phase == CellPhase::Stopped)
                .then(|| "it was stopped".to_owned())
        })
        .or_else(|| unseen(journal, watched?));
    if why.is_some() {
        (cell.why, cell.state) = (why, CellState::Invalid);
    }
    cell.wrong_values = wrong_values(journal);
    cell
}

/// Why its runner says that it says nothing.
pub(crate) fn void(journal: &Journal) -> Option<String> {
    journal.entries.iter().find_map(|entry| match (&entry.record, entry.source) {
        (Record::Note(note), Source::Runner) if note.code == NoteCode::MetastableVoid => {
            Some(note.text.clone())
        }
        _ => None,
    })
}

/// What is missing of the observations between two moments.
fn unseen(journal: &Journal, (from_us, to_us): (u64, u64)) -> Option<String> {
    let mut suspended_us: u64 = 0;
    for entry in &journal.entries {
        match &entry.record {
            Record::Gap(gap) if gap.from_us < to_us && gap.to_us > from_us => {
                return Some(format!("observations are missing: {}", gap.reason));
            }
            Record::Host(host) if (from_us..=to_us).contains(&entry.at_us) => {
                suspended_us = suspended_us.saturating_add(host.suspended_us.unwrap_or(0));
            }
            _ => {}
        }
    }
    (suspended_us >= SUSPENDED_US).then(|| format!("the machine slept for {} ms", suspended_us / 1_000))
}

/// Reads of the whole run that gave a value that was never written there.
pub fn wrong_values(journal: &Journal) -> u64 {
    let ticks = journal.entries.iter().filter_map(|entry| match &entry.record {
        Record::Tick(tick) => Some(tick),
        _ => None,
    });
    ticks.flat_map(|tick| &tick.servers).map(|server| server.ops.get(Outcome::WrongValue)).sum()
}

/// The same of seconds.
pub fn of(parts: &Parts) -> Cell {
    let Parts { baseline, disturbed, hold, judged, ramped } = parts;
    let sum = |seconds: &[Second], what: fn(&Second) -> f64| seconds.iter().map(what).sum::<f64>();
    let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let goodput = |seconds: &[Second]| ratio(sum(seconds, |s| s.good), sum(seconds, |s| s.offered));
    let hits = |seconds: &[Second]| ratio(sum(seconds, |s| s.hits), sum(seconds, |s| s.ended));
    let queries = |seconds: &[Second]| ratio(sum(seconds, |s| s.demanded), sum(seconds, |s| s.offered));
    let before = goodput(baseline);
    let share = |second: &Second| ratio(ratio(second.good, second.offered), before);
    let end = ratio(goodput(judged), before);
    let slope = slope(&judged.iter().map(share).collect::<Vec<_>>());
    let steady = |three: &[Second]| three.iter().all(|second| share(second) >= RECOVERED);
    let recovery_s = hold.windows(STEADY).position(steady).map(|at| at as u64);
    let (offered, expected) = (sum(judged, |s| s.offered), per_second(baseline) * judged.len() as f64);
    // Both are counts of a Poisson process.
    let spread = 3.0 * (expected + expected * ratio(judged.len() as f64, baseline.len() as f64)).sqrt();
    let missed = |seconds: &[Second]| ratio(sum(seconds, |s| s.missed), sum(seconds, |s| s.offered));
    let missed = [baseline, disturbed, judged].map(|part| missed(part)).into_iter().fold(0.0, f64::max);
    let covered =
        |seconds: &[Second]| ratio(sum(seconds, |s| s.covered_us as f64 / 1e6), seconds.len() as f64);
    let why = if baseline.len() < BASELINE_S {
        Some(format!("the baseline was not reached, or is shorter than {BASELINE_S} s"))
    } else if (judged.len() as u64) < JUDGED_S {
        Some(format!("the hold was not reached, or is shorter than the {JUDGED_S} s that are judged"))
    } else if covered(baseline).min(covered(judged)) < COVERED {
        Some("observations are missing from the baseline or from the end of the hold".to_owned())
    } else if missed > MISSED {
        let percent = missed * 100.0;
        Some(format!("the generator was the limit: {percent:.0} % of its starts were late or dropped"))
    } else if before < RECOVERED {
        Some(format!("the baseline was not healthy: goodput {before:.2} of what was offered"))
    } else if (offered - expected).abs() > expected * LOAD_BACK + spread {
        Some(format!("the load was not back: {offered:.0} requests where the baseline says {expected:.0}"))
    } else {
        None
    };
    let state = match end {
        _ if why.is_some() => CellState::Invalid,
        end if end >= RECOVERED => CellState::Recovered,
        end if end <= STUCK && slope <= SLOPE => CellState::Stuck,
        _ => CellState::Degraded,
    };
    Cell {
        state,
        why,
        baseline: before,
        end,
        slope_per_s: slope,
        recovery_s,
        hit_ratio: BeforeAfter { before: hits(baseline), after: hits(judged) },
        queries_per_request: BeforeAfter { before: queries(baseline), after: queries(judged) },
        oldest_us: judged.iter().map(|second| second.oldest_us).max().unwrap_or(0),
        after_ramp: (!ramped.is_empty()).then(|| ratio(goodput(ramped), before)),
        wrong_values: 0,
    }
}

fn per_second(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.offered).sum::<f64>() / (seconds.len().max(1) as f64)
}

/// Least squares; 0 for fewer than two values.
fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n.max(1.0));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let x = x as f64 - mean_x;
        xy += x * (y - mean_y);
        xx += x * x;
    }
    if xx > 0.0 { xy / xx } else { 0.0 }
}

/// What the cells together say of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stability {
    /// Every run recovered.
    Stable,
    /// Some runs stayed down and most did not.
    Vulnerable,
    /// Most runs stayed down, and at a lower load all recovered: the load alone keeps it down.
    Metastable,
    /// Most runs did not come back whole.
    Degraded,
    /// Too little that is valid, or it stays down at the lower load too: it is broken, not metastable.
    Inconclusive,
}

impl Stability {
    /// In capitals, for people.
    pub fn name(self) -> &'static str {
        match self {
            Stability::Stable => "STABLE",
            Stability::Vulnerable => "VULNERABLE",
            Stability::Metastable => "METASTABLE",
            Stability::Degraded => "DEGRADED",
            Stability::Inconclusive => "INCONCLUSIVE",
        }
    }
}

/// Of the runs with the full trigger, and those with it at a lower load.
pub fn stability(full: &[CellState], lower_load: &[CellState]) -> Stability {
    let valid: Vec<CellState> = full.iter().copied().filter(|state| *state != CellState::Invalid).collect();
    let count = |state| valid.iter().filter(|other| **other == state).count();
    let most = |n: usize| n * 2 > valid.len();
    let (stuck, degraded) = (count(CellState::Stuck), count(CellState::Degraded));
    if valid.is_empty() || !most_are_valid(full) {
        Stability::Inconclusive
    } else if most(stuck) {
        let recovers =
            !lower_load.is_empty() && lower_load.iter().all(|state| *state == CellState::Recovered);
        if recovers { Stability::Metastable } else { Stability::Inconclusive }
    } else if most(stuck + degraded) {
        Stability::Degraded
    } else if stuck + degraded > 0 {
        Stability::Vulnerable
    } else {
        Stability::Stable
    }
}

fn most_are_valid(states: &[CellState]) -> bool {
    states.iter().filter(|state| **state != CellState::Invalid).count() * 2 > states.len()
}

/// How many of the valid runs did not recover, and how many are valid.
pub fn not_recovered(states: &[CellState]) -> (usize, usize) {
    let valid = states.iter().filter(|state| **state != CellState::Invalid).count();
    let not = states.iter().filter(|state| matches!(state, CellState::Stuck | CellState::Degraded)).count();
    (not, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(offered: f64, good: f64) -> Second {
        let covered_us = 1_000_000;
        Second {
            offered,
            good,
            ended: offered,
            hits: good,
            demanded: offered - good,
            covered_us,
            ..Second::default()
        }
    }

    fn parts(hold: &[Second]) -> Parts {
        let judged = hold[hold.len().saturating_sub(10)..].to_vec();
        Parts {
            baseline: vec![second(1_000.0, 1_000.0); 10],
            disturbed: hold.to_vec(),
            hold: hold.to_vec(),
            judged,
            ramped: Vec::new(),
        }
    }

    fn cell(hold: &[Second]) -> Cell {
        of(&parts(hold))
    }

    fn held(good: impl Fn(usize) -> f64) -> Vec<Second> {
        (0..20).map(|at| second(1_000.0, good(at))).collect()
    }

    #[test]
    fn the_bounds_of_the_states_are_where_they_are_documented() {
        for (good, state) in [
            (0.0, CellState::Stuck),
            (500.0, CellState::Stuck),
            (510.0, CellState::Degraded),
            (940.0, CellState::Degraded),
            (950.0, CellState::Recovered),
            (1_000.0, CellState::Recovered),
        ] {
            assert_eq!(cell(&held(|_| good)).state, state, "{good}");
        }
        // 15 to 30 %, rising by 1.5 % a second: it comes back, slowly.
        assert_eq!(cell(&held(|at| 15.0 * at as f64)).state, CellState::Degraded);
        assert_eq!(cell(&held(|at| 300.0 - 15.0 * at as f64)).state, CellState::Stuck);
        let back = cell(&held(|at| if at < 4 { 100.0 } else { 990.0 }));
        assert_eq!((back.state, back.recovery_s), (CellState::Recovered, Some(4)));
        assert_eq!(cell(&held(|at| if at % 3 == 0 { 0.0 } else { 1_000.0 })).recovery_s, None);
    }

    #[test]
    fn a_cell_without_a_baseline_or_with_another_load_says_nothing() {
        let sick = Parts { baseline: vec![second(1_000.0, 900.0); 10], ..parts(&held(|_| 0.0)) };
        assert!(of(&sick).why.unwrap().contains("the baseline was not healthy"));
        let less: Vec<Second> = (0..20).map(|_| second(900.0, 0.0)).collect();
        assert!(cell(&less).why.unwrap().contains("the load was not back: 9000"));
        assert_eq!(cell(&[]).state, CellState::Invalid);
        let late: Vec<Second> = held(|_| 0.0).into_iter().map(|s| Second { missed: 60.0, ..s }).collect();
        assert!(cell(&late).why.unwrap().contains("the generator was the limit: 6 %"));
        // Only while it was triggered: then the trigger was another.
        let mut spiked = parts(&held(|_| 1_000.0));
        spiked.disturbed.push(Second { missed: 5_000.0, ..second(8_000.0, 1_000.0) });
        assert!(of(&spiked).why.unwrap().contains("the generator was the limit"));
        assert!(cell(&held(|_| 0.0)[..9]).why.unwrap().contains("shorter than the 10 s that are judged"));
        let unseen: Vec<Second> =
            held(|_| 0.0).into_iter().map(|s| Second { covered_us: 900_000, ..s }).collect();
        assert!(cell(&unseen).why.unwrap().contains("observations are missing"));
    }

    #[test]
    fn a_system_is_metastable_only_if_the_load_alone_keeps_it_down() {
        use CellState::*;
        assert_eq!(stability(&[Stuck, Stuck, Stuck], &[Recovered]), Stability::Metastable);
        assert_eq!(stability(&[Stuck, Stuck, Recovered], &[Recovered, Recovered]), Stability::Metastable);
        assert_eq!(stability(&[Stuck, Stuck, Stuck], &[Stuck]), Stability::Inconclusive);
        assert_eq!(stability(&[Stuck, Stuck, Stuck], &[]), Stability::Inconclusive);
        assert_eq!(stability(&[Stuck, Recovered, Recovered], &[Recovered]), Stability::Vulnerable);
        assert_eq!(stability(&[Degraded, Stuck, Recovered], &[Recovered]), Stability::Degraded);
        assert_eq!(stability(&[Recovered], &[]), Stability::Stable);
        assert_eq!(stability(&[Invalid, Invalid, Stuck], &[Recovered]), Stability::Inconclusive);
        assert_eq!(not_recovered(&[Stuck, Degraded, Recovered, Invalid]), (2, 3));
    }
}
