//! The least load at which chance decides no criterion. More would only take processor time from the client that is judged.

use crate::criteria::OPS_MIN;

/// Length of a tick, s: events come no finer in a report of counts.
const TICK_S: f64 = 0.1;
/// Ops beyond a p99 that is compared with another.
const BEYOND: u32 = 10;
/// Share of ticks, or seconds, in which enough ops must come.
const SURE: f64 = 0.999;
/// A rate is rounded up to a multiple of this, ops/s.
const STEP: f64 = 100.0;

/// Ops/s that a run needs, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadNeeded {
    /// Over all servers.
    pub ops_per_s: f64,
    /// From which needs it was computed, the largest first.
    pub because: String,
}

impl LoadNeeded {
    /// For a client whose breaker opens at `timeouts_in_a_row`, over `servers`, under faults of which the shortest lasts `shortest_s`; 0:
    /// there is no fault.
    pub fn of(timeouts_in_a_row: Option<u32>, servers: usize, shortest_s: f64) -> Self {
        let mut needs = vec![p99()];
        needs.extend(timeouts_in_a_row.map(|k| trip(k, servers)));
        needs.extend(shares(shortest_s));
        needs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let ops_per_s = needs.first().map_or(STEP, |(rate, _)| (rate / STEP).ceil() * STEP);
        let because: Vec<String> = needs.into_iter().map(|(_, why)| why).collect();
        Self { ops_per_s, because: because.join("; ") }
    }
}

/// A need: ops/s over all servers, and for what.
type Need = (f64, String);

/// The p99 of each second is compared: it must not be the chance of a single op.
fn p99() -> Need {
    let rate = mean_for(100 * BEYOND);
    (rate, format!("{BEYOND} ops beyond the p99 of each second: {rate:.0} ops/s"))
}

/// Timeouts in a row must come one after another without a wait, or the time to trip tells of the load.
fn trip(k: u32, servers: usize) -> Need {
    let rate = mean_for(k) / TICK_S * servers as f64;
    let tick_ms = TICK_S * 1e3;
    (rate, format!("{k} timeouts in a row at each of {servers} servers within {tick_ms} ms: {rate:.0}"))
}

/// Shares of the ops under the fault are asked for from [`OPS_MIN`] on.
fn shares(shortest_s: f64) -> Option<Need> {
    // Within a tick nothing is counted apart, however many ops there are.
    let least_s = shortest_s.max(TICK_S);
    let rate = mean_for(OPS_MIN) / least_s;
    let why = format!("shares of {OPS_MIN} ops under a fault of {least_s} s: {rate:.0}");
    (shortest_s > 0.0).then_some((rate, why))
}

/// Mean of a Poisson variable that is `least` or more in [`SURE`] of all cases.
fn mean_for(least: u32) -> f64 {
    let mut mean = f64::from(least);
    while tail(mean, least) < SURE {
        mean += 0.01 * f64::from(least.max(1));
    }
    mean
}

/// P(N >= least) of a Poisson variable of this mean.
fn tail(mean: f64, least: u32) -> f64 {
    // In logarithms: e^-mean is 0 for a large mean.
    let mut log_p = -mean;
    let mut below = 0.0;
    for n in 0..least {
        below += log_p.exp();
        log_p += (mean / f64::from(n + 1)).ln();
    }
    1.0 - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_need_decides_and_is_told_first() {
        let usual = LoadNeeded::of(Some(5), 3, 15.0);
        assert_eq!(usual.ops_per_s, 1_200.0);
        assert_eq!(
            usual.because,
            "10 ops beyond the p99 of each second: 1110 ops/s; 5 timeouts in a row at each of 3 servers within 100 ms: \
             444; shares of 200 ops under a fault of 15 s: 17"
        );
        // Each server must have its share.
        assert_eq!(LoadNeeded::of(Some(5), 30, 15.0).ops_per_s, 4_500.0);
        assert_eq!(LoadNeeded::of(None, 30, 15.0).ops_per_s, 1_200.0);
    }

    #[test]
    fn a_short_fault_needs_more_and_one_shorter_than_a_tick_no_more_than_that() {
        assert_eq!(LoadNeeded::of(Some(5), 3, 0.1).ops_per_s, 2_500.0);
        assert_eq!(LoadNeeded::of(Some(5), 3, 0.01), LoadNeeded::of(Some(5), 3, 0.1));
        assert_eq!(LoadNeeded::of(Some(5), 3, 0.0).ops_per_s, 1_200.0, "a control run has no fault");
    }

    #[test]
    fn a_mean_is_large_enough_and_hardly_larger() {
        for least in [1, 5, 200] {
            let mean = mean_for(least);
            assert!(
                tail(mean, least) >= SURE && tail(mean - 0.02 * f64::from(least), least) < SURE,
                "{least}: {mean}"
            );
        }
        // P(N >= 1) = 1 - e^-m.
        assert!((mean_for(1) - 6.91).abs() < 0.02);
    }
}
