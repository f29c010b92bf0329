//! How much of its work a client can still do under the fault.

use observation::{LoadKind, OnOpen};

use super::odds::Odds;
use super::{Load, Situation, Trip};

/// What is left.
pub(super) struct Bound {
    pub(super) ratio: Option<f64>,
    pub(super) retained: f64,
    pub(super) error_share: f64,
    pub(super) because: String,
}

/// Goodput that is lost although everything is right: noise of the machine, and the moments of detection.
const GOODPUT_TOLERANCE: f64 = 0.07;
/// Errors on top of the computed share.
const ERROR_TOLERANCE: f64 = 0.02;

pub(super) fn goodput(situation: &Situation<'_>, odds: Odds, load: Load, trip: Trip) -> Bound {
    let (settings, f) = (situation.settings, situation.faulted_share);
    let x = load.reaching(settings, odds);
    let served = if load.offered > 0.0 { x / load.offered } else { 1.0 };
    let closed_breaker = 1.0 - f * (1.0 - served * (1.0 - odds.timeout));
    let failover = settings.routing.on_open == OnOpen::Failover;
    let open_breaker = if failover { 1.0 } else { 1.0 - f };
    let (ratio, why) = match trip {
        _ if !odds.known && !odds.refused => {
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
                odds.timeout * 100.0
            ),
        ),
        Trip::May => (open_breaker.min(closed_breaker), "the breaker may be open or closed".to_owned()),
    };
    // A short fault is mostly its own detection.
    let slow_window =
        settings.breaker.as_ref().and_then(|breaker| breaker.slow).map_or(0, |rule| rule.window_ms);
    let detection = settings.op_timeout_ms.max(slow_window) as f64 / situation.fault_ms.max(1.0);
    let detection = if trip == Trip::MustNot { 0.0 } else { (f * detection).min(f) };
    if settings.load.kind == LoadKind::Closed && !odds.known && !odds.refused {
        let because = "closed loop: how long this fault holds the workers cannot be computed, and it may be all the time";
        return Bound { ratio: None, retained: 0.0, error_share: 1.0, because: because.to_owned() };
    }
    if settings.load.kind == LoadKind::Closed {
        // Workers that wait at the faulted server do not ask elsewhere: S / (S + f d).
        let s = load.service_ms.max(0.01);
        let waiting = s / (s + f * odds.held_ms);
        let ratio = if trip == Trip::Must { open_breaker } else { waiting.min(closed_breaker) };
        let because = format!("closed loop: {s:.2} ms healthy, {:.0} ms at a share of {f:.2}", odds.held_ms);
        return Bound { ratio: Some(ratio), retained: ratio * 0.5, error_share: 1.0, because };
    }
    let known = odds.known || odds.refused;
    Bound {
        ratio: known.then_some(ratio),
        retained: (ratio - detection - GOODPUT_TOLERANCE).max(0.0),
        error_share: (1.0 - ratio + detection + ERROR_TOLERANCE).min(1.0),
        because: format!(
            "open loop, share of faulted keys {f:.3}: {why}; expected {ratio:.3} before tolerances"
        ),
    }
}
