//! Should the breaker open, and when?

use observation::{BreakerSettings, Settings};

use super::odds::Odds;
use super::{Bounds, Load, Trip};

/// Beyond these probabilities a trip must, or must not, happen.
const MUST: f64 = 0.99;
const MUST_NOT: f64 = 0.01;

/// Asked for only where the mildest and the harshest odds agree.
pub(super) fn trip_within(
    odds: [Odds; 2],
    settings: &Settings,
    load: Load,
    faulted: usize,
) -> (Trip, String) {
    let [mild, harsh] = odds.map(|odds| trip(settings, odds, load, faulted));
    match mild.0 == harsh.0 {
        true if odds[0] == odds[1] => mild,
        true => (mild.0, format!("at the least {}; at the most {}", mild.1, harsh.1)),
        false => (Trip::May, format!("between {} and {}", mild.1, harsh.1)),
    }
}

fn trip(settings: &Settings, odds: Odds, load: Load, faulted: usize) -> (Trip, String) {
    let Some(breaker) = &settings.breaker else { return (Trip::MustNot, "there is no breaker".to_owned()) };
    if faulted > settings.routing.max_ejected as usize {
        let max = settings.routing.max_ejected;
        return (Trip::May, format!("{faulted} servers are faulted, and at most {max} may be ejected"));
    }
    if odds.refused {
        return match breaker.trip_on_refused {
            true => (Trip::Must, "a refused connect opens the breaker".to_owned()),
            false => (Trip::May, "refused connects count by the ratio rule only".to_owned()),
        };
    }
    if !odds.known {
        return (Trip::May, "the share of timeouts cannot be computed for this fault".to_owned());
    }
    let (q, t) = (odds.timeout, settings.op_timeout_ms);
    let x = load.reaching(settings, odds);
    let probability = trip_probability(breaker, q, x, load.seconds - t as f64 / 1e3);
    let text = format!(
        "P(op > {t} ms) = {q:.4}, {x:.0} ops/s reach the server for {:.1} s: P(trip) = {probability:.3}",
        load.seconds
    );
    match probability {
        p if p >= MUST => (Trip::Must, text),
        _ if odds.slow > 0.0 => slow_trip(breaker, odds, x, load, text),
        p if p <= MUST_NOT => (Trip::MustNot, text),
        _ => (Trip::May, text),
    }
}

/// What the slow rule does, where the others leave the breaker closed or in doubt.
fn slow_trip(breaker: &BreakerSettings, odds: Odds, x: f64, load: Load, others: String) -> (Trip, String) {
    let Some(rule) = breaker.slow else { return (Trip::May, others) };
    let window = rule.window_ms as f64 / 1e3;
    let text = format!(
        "{others}; {:.0} % of the replies take more than {} ms, the slow rule asks for {:.0} % of {} in {window} s",
        odds.slow * 100.0,
        rule.threshold_ms,
        rule.share * 100.0,
        rule.min_calls
    );
    // The window forgets the healthy calls of before within its own length.
    let settled = load.seconds > 2.0 * window && x * window > 2.0 * f64::from(rule.min_calls);
    (if odds.slow >= 1.0 && settled { Trip::Must } else { Trip::May }, text)
}

/// Probability of a trip within `seconds` at `x` ops/s of which a share `q` times out.
fn trip_probability(breaker: &BreakerSettings, q: f64, x: f64, seconds: f64) -> f64 {
    if seconds <= 0.0 || q <= 0.0 {
        return 0.0;
    }
    let consecutive = breaker.consecutive_timeouts.map_or(0.0, |k| {
        let ops = x * seconds - f64::from(k);
        match q {
            1.0 => f64::from(u8::from(ops >= 0.0)),
            // Runs of k are rare and independent: a Poisson process of rate x (1-q) q^k.
            q => 1.0 - (-ops.max(0.0) * (1.0 - q) * q.powi(k as i32)).exp(),
        }
    });
    let ratio = breaker.ratio.map_or(0.0, |rule| {
        let window = rule.window_ms as f64 / 1e3;
        // Healthy calls from before the fault are in the window too: the share in it is diluted.
        let needed = rule.failure_ratio * window;
        let calls = x * seconds;
        match q * seconds.min(window) {
            failed if calls < f64::from(rule.min_calls) || failed < needed * 0.9 => 0.0,
            failed if failed > needed * 1.1 => 1.0,
            _ => 0.5,
        }
    });
    1.0 - (1.0 - consecutive) * (1.0 - ratio)
}

/// Margin for a loaded machine, ms.
const MARGIN_MS: f64 = 500.0;
/// Share of runs whose trip comes within the upper bound, where it comes by chance.
const LATEST: f64 = 0.999;

/// When a trip that must come may come at the earliest, and must have come, ms after fault on.
pub(super) fn time_to_trip(
    settings: &Settings,
    odds: Odds,
    load: Load,
    trip: Trip,
) -> Option<(Bounds, String)> {
    let breaker = settings.breaker.as_ref()?;
    if trip != Trip::Must {
        return None;
    }
    if odds.refused {
        let because = format!("the first refused connect, and {MARGIN_MS} ms for a loaded machine");
        return Some((Bounds { least: 0.0, most: MARGIN_MS }, because));
    }
    let t = settings.op_timeout_ms as f64;
    let x = load.reaching(settings, Odds { held_ms: 0.0, ..odds }).max(0.001);
    let rules = [consecutive(settings, breaker, odds, x), ratio(breaker, odds, x, t), slow(breaker, odds, x)];
    let (bounds, because) = rules.into_iter().flatten().min_by(|a, b| a.0.most.total_cmp(&b.0.most))?;
    // An op that was sent before the fault may wait for its reply already.
    let least = (bounds.least - load.service_ms).max(0.0);
    let because = format!("{because}; {MARGIN_MS} ms for a loaded machine");
    Some((Bounds { least, most: bounds.most + MARGIN_MS }, because))
}

fn consecutive(
    settings: &Settings,
    breaker: &BreakerSettings,
    odds: Odds,
    x: f64,
) -> Option<(Bounds, String)> {
    let k = breaker.consecutive_timeouts?;
    if odds.timeout <= 0.0 {
        return None;
    }
    let wait_ms = if odds.timeout >= 1.0 {
        f64::from(k) / x * 1e3
    } else {
        // Runs of k come as a Poisson process.
        let rate = x * (1.0 - odds.timeout) * odds.timeout.powi(k as i32);
        -(1.0 - LATEST).ln() / rate * 1e3
    };
    // A small pool meets its timeouts one after another.
    let waves = (f64::from(k) / f64::from(settings.pool_max.max(1))).ceil();
    let t = settings.op_timeout_ms as f64 * waves;
    let times = if waves > 1.0 { format!(" {waves} times") } else { String::new() };
    let because =
        format!("op timeout {} ms{times}, and {k} timeouts in a row at {x:.0} ops/s", settings.op_timeout_ms);
    Some((Bounds { least: t, most: t + wait_ms }, because))
}

/// Healthy calls in the window dilute the failures: the share is reached after `ratio * window / q`.
fn ratio(breaker: &BreakerSettings, odds: Odds, x: f64, t: f64) -> Option<(Bounds, String)> {
    let rule = breaker.ratio?;
    if odds.timeout <= rule.failure_ratio {
        return None;
    }
    let window = rule.window_ms as f64;
    let diluted = rule.failure_ratio * window / odds.timeout;
    let samples = f64::from(rule.min_calls) / x * 1e3;
    let because = format!(
        "op timeout {t} ms, and {:.0} % of a window of {window} ms of which {:.0} % fail",
        rule.failure_ratio * 100.0,
        odds.timeout * 100.0
    );
    Some((Bounds { least: t, most: t + 1.1 * diluted.max(samples) }, because))
}

fn slow(breaker: &BreakerSettings, odds: Odds, x: f64) -> Option<(Bounds, String)> {
    let rule = breaker.slow.filter(|_| odds.slow >= 1.0)?;
    let (threshold, window) = (rule.threshold_ms as f64, rule.window_ms as f64);
    let samples = f64::from(rule.min_calls) / x * 1e3;
    let because = format!("slow rule: {threshold} ms, within two windows of {window} ms");
    Some((Bounds { least: threshold, most: threshold + (2.0 * window).max(samples) }, because))
}

/// How often an open breaker tries again under a fault of which every probe fails: once per open time and probe.
pub(super) fn probe_cycles(
    settings: &Settings,
    odds: Odds,
    load: Load,
    trip: Trip,
) -> Option<(Bounds, String)> {
    let breaker = settings.breaker.as_ref()?;
    if trip != Trip::Must || !(odds.refused || odds.timeout >= 1.0) {
        return None;
    }
    let probe = if odds.refused { 0.0 } else { settings.op_timeout_ms as f64 };
    let (shortest, longest) = (breaker.open_ms as f64, breaker.open_max_ms.unwrap_or(breaker.open_ms) as f64);
    let (jitter, fault) = (breaker.open_jitter, load.seconds * 1e3);
    // An op must come by to be the probe.
    let wait = 1e3 / load.offered.max(0.001);
    let slowest = longest.max(shortest) * (1.0 + jitter) + probe + wait + MARGIN_MS;
    let quickest = (shortest * (1.0 - jitter) + probe).max(1.0);
    let least = ((fault - probe - MARGIN_MS) / slowest - 1.0).floor().max(0.0);
    let because = format!(
        "an open time of {} ms ± {:.0} %, and {probe:.0} ms until a probe fails, over {fault:.0} ms",
        if longest > shortest { format!("{shortest}-{longest}") } else { format!("{shortest}") },
        jitter * 100.0
    );
    Some((Bounds { least, most: (fault / quickest).ceil() + 1.0 }, because))
}
