//! How long a client may take to be whole again.

use observation::Settings;

use super::{Bounds, Load, Trip};

/// Pool, caches and the last timed-out ops, ms.
const MARGIN_MS: f64 = 3_000.0;

pub(super) fn recovery(settings: &Settings, load: Load, trip: Trip) -> (Bounds, String) {
    let t = settings.op_timeout_ms as f64;
    let Some(breaker) = settings.breaker.as_ref().filter(|_| trip != Trip::MustNot) else {
        let why = if settings.breaker.is_none() { "no breaker" } else { "no trip" };
        let text = format!("{why}: timeout {t} ms + {MARGIN_MS} ms for pool and caches");
        return (Bounds { least: 0.0, most: t + MARGIN_MS }, text);
    };
    let longest = breaker.open_max_ms.unwrap_or(breaker.open_ms).max(breaker.open_ms);
    let open = longest as f64 * (1.0 + breaker.open_jitter) + breaker.ramp_ms as f64;
    // Each probe needs an op of that server to come by.
    let probes = f64::from(breaker.successes_to_close) / load.offered.max(0.1) * 1e3;
    let text = format!(
        "open time {longest} ms + {:.0} %, ramp {} ms, timeout {t} ms, {} probes, {MARGIN_MS} ms for pool and caches",
        breaker.open_jitter * 100.0,
        breaker.ramp_ms,
        breaker.successes_to_close
    );
    (Bounds { least: 0.0, most: open + t + probes + MARGIN_MS }, text)
}
