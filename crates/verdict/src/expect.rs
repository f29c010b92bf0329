//! What this client should do under this fault: computed from its settings, the fault and the load, never a habit.

use std::collections::BTreeMap;

use observation::{BreakerSettings, LoadKind, OnOpen, Settings};
use serde::Serialize;

use crate::measure::Measures;
use crate::timeline::{FaultLife, Timeline};

/// First retransmission timeout of the loss-like delay, ms.
const RTO_MS: f64 = 206.0;
/// The same at most under real loss: losses inflate the estimate of the round trip, measured as 200-400 ms.
const RTO_MAX_MS: f64 = 400.0;
/// What a scenario calls loss that the kernel gives.
pub(crate) const KERNEL_LOSS: &str = "loss_kernel";
/// A latency within this share of the timeout may or may not be one, on a machine with other work.
const TIMEOUT_BLUR: f64 = 0.15;
/// Beyond these probabilities a trip must, or must not, happen.
const MUST: f64 = 0.99;
const MUST_NOT: f64 = 0.01;

/// Should a breaker open?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trip {
    /// Yes.
    Must,
    /// It depends on chance; nothing is asked.
    May,
    /// No.
    MustNot,
}

/// What to expect of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expectation {
    /// By faulted server.
    pub trips: BTreeMap<String, Trip>,
    /// Why.
    pub trips_because: String,
    /// Longest time to trip, ms, where a trip must come quickly.
    pub time_to_trip_ms: Option<f64>,
    /// Least share of the baseline's goodput under the fault.
    pub goodput_retained: f64,
    /// Largest share of failed ops under the fault, once it is settled.
    pub error_share: f64,
    /// Why both.
    pub goodput_because: String,
    /// Longest time from fault off to recovery, ms.
    pub recovery_ms: f64,
    /// Why.
    pub recovery_because: String,
}

/// What a fault does to one attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Effect {
    /// Probability that it times out.
    timeout: f64,
    /// Mean time it holds its connection, beyond the healthy one, ms.
    held_ms: f64,
    /// A reply is slow by the client's slow rule: with what probability.
    slow: f64,
    /// Connections are refused.
    refused: bool,
    /// `timeout` is sharp; otherwise only bounds can be asked for.
    known: bool,
}

/// Whatever an attempt may meet; nothing can be computed.
const UNKNOWN: Effect = Effect { timeout: 0.0, held_ms: 0.0, slow: 0.0, refused: false, known: false };

impl Expectation {
    /// `None` when the journal has no fault or no hello.
    pub(crate) fn of(timeline: &Timeline<'_>, measures: &Measures) -> Option<Self> {
        let settings = &timeline.hello?.settings;
        let faulted = timeline.faulted();
        let first = timeline.faults.first()?;
        let threshold = slow_threshold(settings);
        // Servers that are slow together are not ejected by the slow rule.
        let servers = timeline.hello?.servers.len();
        let together = 2 * faulted.len() > servers;
        // Faults that differ add up in ways that no one of them tells.
        let alike = timeline
            .faults
            .iter()
            .all(|fault| fault.meaning == first.meaning && fault.params == first.params);
        let effects = match alike {
            true => effects(first, settings.op_timeout_ms as f64, threshold),
            false => [UNKNOWN; 2],
        };
        let [mild, harsh] =
            effects.map(|effect| if together { Effect { slow: 0.0, ..effect } } else { effect });
        let per_server = measures.baseline_offered * measures.faulted_share / faulted.len().max(1) as f64;
        let seconds = measures.fault_ms / 1e3;
        let load = Load { offered: per_server, seconds, service_ms: measures.baseline_service_ms };
        let (trip, trips_because) = trip_within([mild, harsh], settings, load, faulted.len());
        let bound = goodput(settings, harsh, load, measures, trip);
        let (recovery_ms, recovery_because) = recovery(settings, load);
        Some(Self {
            trips: faulted.iter().map(|server| (server.clone(), trip)).collect(),
            time_to_trip_ms: time_to_trip(settings, mild, load, trip),
            trips_because,
            goodput_retained: bound.retained,
            error_share: bound.error_share,
            goodput_because: bound.because,
            recovery_ms,
            recovery_because,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Load {
    /// ops/s that want the faulted server.
    offered: f64,
    /// Length of the fault.
    seconds: f64,
    /// Healthy time of an op.
    service_ms: f64,
}

/// Replies after this time are slow; infinite without such a rule.
fn slow_threshold(settings: &Settings) -> f64 {
    let rule = settings.breaker.as_ref().and_then(|breaker| breaker.slow);
    rule.map_or(f64::INFINITY, |rule| rule.threshold_ms as f64)
}

/// The least and the most that a fault may do to one attempt; mostly the same.
fn effects(fault: &FaultLife, timeout_ms: f64, slow_ms: f64) -> [Effect; 2] {
    let mild = effect(fault, timeout_ms, slow_ms);
    if fault.meaning != KERNEL_LOSS {
        return [mild; 2];
    }
    // The law gives the least. At most every first loss takes as long as an inflated estimate of the round trip allows, and
    // the connection that follows a timeout loses packets of its own handshake.
    let loss = fault.param("loss").unwrap_or(0.0);
    let any = 1.0 - (1.0 - loss).powi(2);
    let inflated = |limit: f64| {
        if limit < RTO_MAX_MS { any } else { timeout_probability(loss, limit * RTO_MS / RTO_MAX_MS) }
    };
    let timeout = inflated(timeout_ms);
    let slow = if slow_ms.is_finite() { inflated(slow_ms) } else { 0.0 };
    let harsh = Effect {
        timeout: (timeout * (1.0 + any)).min(1.0),
        held_ms: (mild.held_ms * RTO_MAX_MS / RTO_MS).min(timeout_ms),
        slow,
        ..mild
    };
    [mild, harsh]
}

fn effect(fault: &FaultLife, timeout_ms: f64, slow_ms: f64) -> Effect {
    let none = Effect { known: true, ..UNKNOWN };
    if let Some(loss) = fault.param("loss") {
        let burst = fault.param("burst").unwrap_or(1.0);
        let timeout = timeout_probability(loss, timeout_ms);
        let slow = if slow_ms.is_finite() { timeout_probability(loss, slow_ms) } else { 0.0 };
        return Effect { timeout, held_ms: mean_delay(loss, timeout_ms), slow, known: burst <= 1.0, ..none };
    }
    if let Some(latency) = fault.param("latency_ms") {
        let jitter = fault.param("jitter_ms").unwrap_or(0.0);
        let near = |limit: f64| {
            (latency + jitter > limit * (1.0 - TIMEOUT_BLUR))
                && (latency - jitter < limit * (1.0 + TIMEOUT_BLUR))
        };
        let beyond = |limit: f64| f64::from(u8::from(latency >= limit));
        let known = !near(timeout_ms) && !near(slow_ms);
        let (timeout, slow) = (beyond(timeout_ms), beyond(slow_ms));
        return Effect { timeout, held_ms: latency.min(timeout_ms), slow, known, ..none };
    }
    if let Some(share) = fault.param("share") {
        // A share of connections: a client that drops a dead one draws again, so only 1 is sure.
        return Effect { timeout: share, held_ms: share * timeout_ms, known: share >= 1.0, ..none };
    }
    match fault.meaning.as_str() {
        "down" => Effect { refused: true, ..none },
        _ => UNKNOWN,
    }
}

/// P(D > T) of one op under loss-like delay of `loss` in each direction: both directions draw K, P(K=k) = (1-p) p^k, and hold
/// for S(0) = 0, S(k) = 206 ms * 2^(k-1).
pub fn timeout_probability(loss: f64, timeout_ms: f64) -> f64 {
    delays(loss).filter(|(delay, _)| *delay > timeout_ms).map(|(_, p)| p).sum::<f64>() + residue(loss)
}

/// E[min(D, T)] of the same, ms.
fn mean_delay(loss: f64, timeout_ms: f64) -> f64 {
    delays(loss).map(|(delay, p)| delay.min(timeout_ms) * p).sum::<f64>() + residue(loss) * timeout_ms
}

/// Lost sends that are told apart; beyond, everything is later than any timeout.
const SENDS: i32 = 16;

/// Delays of one op with their probabilities.
fn delays(loss: f64) -> impl Iterator<Item = (f64, f64)> {
    let hold = |k: i32| if k == 0 { 0.0 } else { RTO_MS * 2f64.powi(k - 1) };
    let probability = move |k: i32| (1.0 - loss) * loss.powi(k);
    (0..SENDS).flat_map(move |up| {
        (0..SENDS).map(move |down| (hold(up) + hold(down), probability(up) * probability(down)))
    })
}

/// Probability that either direction loses more sends than are told apart.
fn residue(loss: f64) -> f64 {
    1.0 - (1.0 - loss.powi(SENDS)).powi(2)
}

impl Load {
    /// ops/s that reach the server: no more than its connections can carry (Little's law).
    fn reaching(self, settings: &Settings, effect: Effect) -> f64 {
        let occupancy_s = (self.service_ms + effect.held_ms).max(0.01) / 1e3;
        self.offered.min(f64::from(settings.pool_max) / occupancy_s)
    }
}

/// Asked for only where the least and the most effect agree.
fn trip_within(effects: [Effect; 2], settings: &Settings, load: Load, faulted: usize) -> (Trip, String) {
    let [mild, harsh] = effects.map(|effect| trip(settings, effect, load, faulted));
    match mild.0 == harsh.0 {
        true if effects[0] == effects[1] => mild,
        true => (mild.0, format!("at the least {}; at the most {}", mild.1, harsh.1)),
        false => (Trip::May, format!("between {} and {}", mild.1, harsh.1)),
    }
}

fn trip(settings: &Settings, effect: Effect, load: Load, faulted: usize) -> (Trip, String) {
    let Some(breaker) = &settings.breaker else { return (Trip::MustNot, "there is no breaker".to_owned()) };
    if faulted > settings.routing.max_ejected as usize {
        let max = settings.routing.max_ejected;
        return (Trip::May, format!("{faulted} servers are faulted, and at most {max} may be ejected"));
    }
    if effect.refused {
        return match breaker.trip_on_refused {
            true => (Trip::Must, "a refused connect opens the breaker".to_owned()),
            false => (Trip::May, "refused connects count by the ratio rule only".to_owned()),
        };
    }
    if !effect.known {
        return (Trip::May, "the share of timeouts cannot be computed for this fault".to_owned());
    }
    let (q, t) = (effect.timeout, settings.op_timeout_ms);
    let x = load.reaching(settings, effect);
    let probability = trip_probability(breaker, q, x, load.seconds - t as f64 / 1e3);
    let text = format!(
        "P(op > {t} ms) = {q:.4}, {x:.0} ops/s reach the server for {:.1} s: P(trip) = {probability:.3}",
        load.seconds
    );
    match probability {
        p if p >= MUST => (Trip::Must, text),
        _ if effect.slow > 0.0 => slow_trip(breaker, effect, x, load, text),
        p if p <= MUST_NOT => (Trip::MustNot, text),
        _ => (Trip::May, text),
    }
}

/// What the slow rule does, where the others leave the breaker closed or in doubt.
fn slow_trip(
    breaker: &BreakerSettings,
    effect: Effect,
    x: f64,
    load: Load,
    others: String,
) -> (Trip, String) {
    let Some(rule) = breaker.slow else { return (Trip::May, others) };
    let window = rule.window_ms as f64 / 1e3;
    let text = format!(
        "{others}; {:.0} % of the replies take more than {} ms, the slow rule asks for {:.0} % of {} in {window} s",
        effect.slow * 100.0,
        rule.threshold_ms,
        rule.share * 100.0,
        rule.min_calls
    );
    // The window forgets the healthy calls of before within its own length.
    let settled = load.seconds > 2.0 * window && x * window > 2.0 * f64::from(rule.min_calls);
    (if effect.slow >= 1.0 && settled { Trip::Must } else { Trip::May }, text)
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

fn time_to_trip(settings: &Settings, effect: Effect, load: Load, trip: Trip) -> Option<f64> {
    let breaker = settings.breaker.as_ref()?;
    if trip != Trip::Must {
        return None;
    }
    if effect.refused {
        return Some(MARGIN_MS);
    }
    let k = f64::from(breaker.consecutive_timeouts?);
    let x = load.reaching(settings, Effect { held_ms: 0.0, ..effect }).max(0.001);
    (effect.timeout >= 1.0).then_some(settings.op_timeout_ms as f64 + k / x * 1e3 + MARGIN_MS)
}

struct Bound {
    retained: f64,
    error_share: f64,
    because: String,
}

/// Goodput that is lost although everything is right: noise of the machine, and the moments of detection.
const GOODPUT_TOLERANCE: f64 = 0.07;
/// Errors on top of the computed share.
const ERROR_TOLERANCE: f64 = 0.02;

fn goodput(settings: &Settings, effect: Effect, load: Load, measures: &Measures, trip: Trip) -> Bound {
    let f = measures.faulted_share;
    let x = load.reaching(settings, effect);
    let served = if load.offered > 0.0 { x / load.offered } else { 1.0 };
    let closed_breaker = 1.0 - f * (1.0 - served * (1.0 - effect.timeout));
    let failover = settings.routing.on_open == OnOpen::Failover;
    let open_breaker = if failover { 1.0 } else { 1.0 - f };
    let (ratio, why) = match trip {
        _ if !effect.known && !effect.refused => {
            (1.0 - f, "the faulted server may lose all of its share".to_owned())
        }
        Trip::Must => {
            (open_breaker, format!("breaker open, {}", if failover { "failover" } else { "fail fast" }))
        }
        Trip::MustNot => (
            closed_breaker,
            format!(
                "breaker closed; {} connections carry {x:.0} of {:.0} ops/s at the faulted server, {:.1} % of them time out",
                settings.pool_max,
                load.offered,
                effect.timeout * 100.0
            ),
        ),
        Trip::May => (open_breaker.min(closed_breaker), "the breaker may be open or closed".to_owned()),
    };
    // A short fault is mostly its own detection.
    let slow_window =
        settings.breaker.as_ref().and_then(|breaker| breaker.slow).map_or(0, |rule| rule.window_ms);
    let detection = settings.op_timeout_ms.max(slow_window) as f64 / measures.fault_ms.max(1.0);
    let detection = if trip == Trip::MustNot { 0.0 } else { (f * detection).min(f) };
    if settings.load.kind == LoadKind::Closed && !effect.known && !effect.refused {
        let because = "closed loop: how long this fault holds the workers cannot be computed, and it may be all the time";
        return Bound { retained: 0.0, error_share: 1.0, because: because.to_owned() };
    }
    if settings.load.kind == LoadKind::Closed {
        // Workers that wait at the faulted server do not ask elsewhere: S / (S + f d).
        let s = load.service_ms.max(0.01);
        let waiting = s / (s + f * effect.held_ms);
        let ratio = if trip == Trip::Must { open_breaker } else { waiting.min(closed_breaker) };
        let because =
            format!("closed loop: {s:.2} ms healthy, {:.0} ms at a share of {f:.2}", effect.held_ms);
        return Bound { retained: ratio * 0.5, error_share: 1.0, because };
    }
    Bound {
        retained: (ratio - detection - GOODPUT_TOLERANCE).max(0.0),
        error_share: (1.0 - ratio + detection + ERROR_TOLERANCE).min(1.0),
        because: format!(
            "open loop, share of faulted keys {f:.3}: {why}; expected {ratio:.3} before tolerances"
        ),
    }
}

/// Pool, caches and the last timed-out ops, ms.
const RECOVERY_MARGIN_MS: f64 = 3_000.0;

fn recovery(settings: &Settings, load: Load) -> (f64, String) {
    let t = settings.op_timeout_ms as f64;
    match &settings.breaker {
        None => (t + RECOVERY_MARGIN_MS, format!("no breaker: timeout {t} ms + {RECOVERY_MARGIN_MS} ms")),
        Some(breaker) => {
            let longest = breaker.open_max_ms.unwrap_or(breaker.open_ms).max(breaker.open_ms);
            let open = longest as f64 * (1.0 + breaker.open_jitter) + breaker.ramp_ms as f64;
            // Each probe needs an op of that server to come by.
            let probes = f64::from(breaker.successes_to_close) / load.offered.max(0.1) * 1e3;
            let bound = open + t + probes + RECOVERY_MARGIN_MS;
            let text = format!(
                "open time {longest} ms + {:.0} %, ramp {} ms, timeout {t} ms, {} probes, {RECOVERY_MARGIN_MS} ms",
                breaker.open_jitter * 100.0,
                breaker.ramp_ms,
                breaker.successes_to_close
            );
            (bound, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_under_loss_are_those_of_the_published_table() {
        for (p, row) in [
            (0.02, [0.0396, 0.0012, 3e-5, 0.0]),
            (0.05, [0.0975, 0.0073, 5e-4, 2e-5]),
            (0.10, [0.190, 0.028, 0.0037, 4e-4]),
            (0.20, [0.360, 0.104, 0.027, 0.0057]),
            (0.50, [0.750, 0.500, 0.313, 0.172]),
        ] {
            for (timeout, expected) in [100.0, 250.0, 500.0, 1000.0].into_iter().zip(row) {
                let got = timeout_probability(p, timeout);
                assert!(
                    (got - expected).abs() <= 0.06 * expected + 1e-4,
                    "p {p}, T {timeout}: {got} not {expected}"
                );
            }
        }
        assert_eq!(timeout_probability(1.0, 250.0), 1.0);
    }
}
