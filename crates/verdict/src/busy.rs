//! Nobody is blamed for what a machine that was busy with something else may have done.
//!
//! A source counts a start as late when it came to it too late itself; what waited for a slow client is dropped, not late. So where
//! many starts were late, slow replies, timeouts and what follows from them are no finding about the client. A pass stands: the
//! client held although the machine was busy.

use crate::timeline::Timeline;
use crate::{Criterion, Result};

/// As in the baseline, this share of the starts may be late.
const LATE: f64 = 0.01;

/// Counts that no slowness explains.
const TIMELESS: [&str; 5] = ["acknowledged-writes", "dead-server-calls", "flapping", "probes", "sockets"];
/// What is asked of the time after the fault; the rest is asked of the fault.
const AFTER: [&str; 4] = ["recovery", "stays-recovered", "goodput-after", "fails-back"];

/// Makes a failure inconclusive where the generator was late in the phase that it is about.
pub(crate) fn excuse(timeline: &Timeline<'_>, criteria: &mut [Criterion]) {
    let late = |window: Option<(u64, u64)>| {
        let sum = window.map(|(from, to)| timeline.sum(from, to));
        sum.filter(|sum| sum.offered > 0).map_or(0.0, |sum| sum.late as f64 / sum.offered as f64)
    };
    let end = timeline.end.map(|end| end.at_us);
    let (under, after) = (late(timeline.fault_window()), late(timeline.lifted().zip(end)));
    for criterion in criteria.iter_mut().filter(|criterion| criterion.result == Result::Fail) {
        let late = if AFTER.contains(&criterion.id) { after } else { under };
        if late > LATE && !TIMELESS.contains(&criterion.id) {
            criterion.result = Result::Inconclusive;
            criterion.measured += &format!(
                "; but {:.1} % of the starts came over 10 ms late meanwhile: the machine was busy",
                100.0 * late
            );
        }
    }
}
