//! Nobody is blamed for what a machine that stood still may have done.
//!
//! A source counts a start as late when it came to it too late itself; what waited for a slow client is dropped, not late. And a canary
//! goes past all client code: where one is slow at a server without a fault, the server or its proxy stood still. So where starts were late
//! or canaries slow, timeouts, slow replies and what follows from them are no finding about the client. A failure stands if it is
//! there even when these moments are read in the client's favour. So does every pass: the client held although the machine was busy.

use observation::{BreakerState, Tick};

use crate::criteria;
use crate::expect::Expectation;
use crate::measure::{Measures, op_limit_ms};
use crate::statistics::median;
use crate::timeline::Timeline;
use crate::{Criterion, Ruling};

/// In a tick in which more than this share of the starts was late, the machine stood still.
const LATE: f64 = 0.05;
/// A canary of a server without a fault that took longer, and more than three times as long as is usual: something stood still, µs. The
/// usual one takes 1 ms, some 20 ms beside other work.
const SLOW_CANARY: u64 = 150_000;
const USUAL_TIMES: u64 = 3;
/// What the fault held is let go when it is lifted, and canaries that were sent this shortly after it may wait behind that, µs.
const LINGER: u64 = 1_500_000;
/// What was under way before such a moment, and what it leaves behind, belong to it, µs.
const BEFORE: u64 = 300_000;
const AFTER: u64 = 1_000_000;

/// Ticks that stand for a longer one at most.
const TICKS_MAX: u64 = 100;

/// Counts that no slowness explains.
const TIMELESS: [&str; 6] =
    ["acknowledged-writes", "amplification", "dead-server-calls", "flapping", "probes", "sockets"];

/// Makes a failure inconclusive that the moments in which the machine stood still may explain.
pub(crate) fn excuse(
    timeline: &Timeline<'_>,
    measures: &Measures,
    expected: &Expectation,
    judged: &mut [Criterion],
) {
    let excusable =
        |criterion: &&mut Criterion| criterion.result == Ruling::Fail && !TIMELESS.contains(&criterion.id);
    if !judged.iter_mut().any(|criterion| excusable(&criterion)) {
        return;
    }
    let stalls = stalls(timeline);
    if stalls.is_empty() {
        return;
    }
    let Some(read) = in_favour(timeline, &stalls) else { return };
    let again = criteria::criteria(&read, &Measures::of(&read), expected).criteria;
    // A trip that came late cannot be read as one in time: it is excused for no more than what stood still until then.
    let excused_trip = || {
        let ((on, _), bounds) = timeline.fault_window().zip(expected.time_to_trip_ms)?;
        let last = measures.time_to_trip_ms.values().flatten().copied().fold(0.0, f64::max);
        let before = stalls.iter().filter(|stall| stall.from <= on + (bounds.most * 1e3) as u64);
        let stood: u64 = before.map(|stall| stall.stood_us + BEFORE).sum();
        Some(stood > 0 && last <= bounds.most + stood as f64 / 1e3)
    };
    let stands = |id: &str| {
        let fails = || again.iter().any(|other| other.id == id && other.result == Ruling::Fail);
        match id {
            "time-to-trip" => !excused_trip().unwrap_or(false),
            // No stall makes an op slower than by its own length: ops that hung end in a burst, and a burst is a stall.
            "op-deadline" => fails() || !explains(timeline, measures, &stalls),
            _ => fails(),
        }
    };
    let stood: u64 = stalls.iter().map(|stall| stall.stood_us).sum();
    for criterion in judged.iter_mut().filter(excusable) {
        if !stands(criterion.id) {
            criterion.result = Ruling::Inconclusive;
            criterion.measured += &format!(
                "; but not without {} ms in which the machine stood still: ops began late, or canaries of healthy servers were slow",
                stood / 1000
            );
        }
    }
}

/// What is left out: `(from, to]`, and for how long of it something stood still.
struct Stall {
    from: u64,
    to: u64,
    stood_us: u64,
}

/// From the fault on: before it the baseline's own rules hold.
fn stalls(timeline: &Timeline<'_>) -> Vec<Stall> {
    let Some((on, _)) = timeline.fault_window() else { return Vec::new() };
    let late = timeline.ticks.iter().filter(|(at, tick)| *at > on && is_late(tick));
    let late = late.map(|(at, tick)| (at.saturating_sub(tick.period_us), *at));
    let mut moments: Vec<(u64, u64)> = late.chain(slow_canaries(timeline, on)).collect();
    moments.sort_unstable();
    let mut stalls: Vec<Stall> = Vec::new();
    // Where moments overlap, their time counts once.
    let mut counted = on;
    for (begin, end) in moments {
        let stood_us = end.saturating_sub(begin.max(counted));
        counted = counted.max(end);
        let (from, to) = (begin.saturating_sub(BEFORE).max(on), end + AFTER);
        match stalls.last_mut().filter(|last| from <= last.to) {
            Some(last) => {
                (last.to, last.stood_us) = (to.max(last.to), last.stood_us.saturating_add(stood_us))
            }
            None => stalls.push(Stall { from, to, stood_us }),
        }
    }
    stalls
}

/// Moments in which a server without a fault, or its proxy, stood still: begin and end of each slow canary.
fn slow_canaries<'a>(timeline: &'a Timeline<'_>, on: u64) -> impl Iterator<Item = (u64, u64)> + 'a {
    let healed = timeline.lifted().map_or(u64::MAX, |lifted| lifted + LINGER);
    let faulted = |target: &str| timeline.faults.iter().any(|fault| fault.target == target);
    let before = timeline.canaries.iter().filter(|canary| canary.at_us < on);
    let before: Vec<f64> = before.filter_map(|canary| Some(canary.took_us? as f64)).collect();
    let usual = median(&before).unwrap_or(0.0) as u64;
    let slow = SLOW_CANARY.max(usual.saturating_mul(USUAL_TIMES));
    let healthy = timeline
        .canaries
        .iter()
        .filter(move |canary| canary.at_us > on && (canary.at_us > healed || !faulted(&canary.target)));
    // Without an answer nothing says how long: `surroundings` counts those.
    healthy.filter_map(move |canary| {
        let took = canary.took_us.filter(|took| *took > slow)?;
        Some((canary.at_us, canary.at_us.saturating_add(took)))
    })
}

/// Is the slowest op no slower than its limit and the longest stall?
fn explains(timeline: &Timeline<'_>, measures: &Measures, stalls: &[Stall]) -> bool {
    let longest_ms = stalls.iter().map(|stall| stall.stood_us).max().unwrap_or(0) as f64 / 1e3;
    let limit = timeline.hello.and_then(|hello| op_limit_ms(&hello.settings));
    limit.is_some_and(|limit| measures.slowest_ms <= limit + longest_ms)
}

/// The same run, read in the client's favour: during a stall all was as in the last calm tick before the fault, and no breaker opened.
fn in_favour<'a>(timeline: &Timeline<'a>, stalls: &[Stall]) -> Option<Timeline<'a>> {
    let (on, _) = timeline.fault_window()?;
    let before = timeline.ticks.iter().rev().skip_while(|(at, _)| *at > on);
    let (_, usual) = *before.clone().find(|(_, tick)| !is_late(tick) && tick.period_us > 0)?;
    let calm = |at: u64| !stalls.iter().any(|stall| at > stall.from && at <= stall.to);
    let mut read = timeline.clone();
    read.ticks.clear();
    for (at, tick) in &timeline.ticks {
        if calm(*at) {
            read.ticks.push((*at, tick));
            continue;
        }
        // As many as cover the same time.
        let count = (tick.period_us + usual.period_us / 2) / usual.period_us;
        let ends = (0..count.clamp(1, TICKS_MAX)).rev().map(|n| at.saturating_sub(n * usual.period_us));
        read.ticks.extend(ends.map(|end| (end, usual)));
    }
    read.breakers.retain(|transition| transition.to != BreakerState::Open || calm(transition.at_us));
    Some(read)
}

fn is_late(tick: &Tick) -> bool {
    tick.late as f64 > LATE * tick.offered as f64
}
