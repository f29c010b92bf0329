//! The seconds that the statistics are about.

use observation::LoadKind;

use crate::statistics::Second;
use crate::timeline::{Sum, Timeline, share};

/// Ops of a second at least for a p99.
const P99_SAMPLES: u64 = 100;
/// Length of a second, µs.
const SECOND_US: u64 = 1_000_000;

/// Successful ops/s. In an open loop as a share of what was offered, at the baseline's rate: the randomness of arrivals is
/// the load's, not the client's.
pub(super) fn goodput(timeline: &Timeline<'_>, sum: &Sum, offered: f64) -> f64 {
    let open = timeline.hello.is_some_and(|hello| hello.settings.load.kind == LoadKind::Open);
    match open && sum.offered > 0 {
        true => share(sum.all().ok(), sum.offered) * offered,
        false => sum.goodput(),
    }
}

/// Whole seconds from `from` on; those that ticks do not cover for 80 % have a goodput of NaN. `offered`: the baseline's, ops/s.
pub(crate) fn seconds(timeline: &Timeline<'_>, from: u64, to: u64, offered: f64) -> Vec<Second> {
    let count = to.saturating_sub(from) / SECOND_US;
    let of = |n: u64| {
        let begin = from + n * SECOND_US;
        let sum = timeline.sum(begin, begin + SECOND_US);
        let seen = sum.seconds >= 0.8;
        let p99 = (sum.latency.count() >= P99_SAMPLES).then(|| sum.latency.quantile_us(0.99)).flatten();
        Second {
            goodput: if seen { goodput(timeline, &sum, offered) } else { f64::NAN },
            offered: sum.offered as f64,
            error_share: sum.error_share(),
            p99_ms: p99.map(|us| us as f64 / 1e3),
            late_share: share(sum.late, sum.offered),
            dropped_share: share(sum.dropped, sum.offered),
        }
    };
    (0..count).map(of).collect()
}
