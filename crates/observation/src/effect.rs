//! What a fault should do to a request that meets it: the same for the runner, who shows it, and the judge.

use std::collections::BTreeMap;

/// What a scenario calls loss by the kernel's packet filter.
pub const KERNEL_LOSS: &str = "loss_kernel";
/// A reply slower than this is delayed, unless the fault says otherwise, µs.
pub const SLOW_US: u64 = 100_000;

/// Share (0-1) of requests on connections of their own that a fault should touch; `None`: it cannot be said.
/// `meaning` and `params` are those of a [`crate::Fault`].
pub fn declared_share(meaning: &str, params: &BTreeMap<String, f64>) -> Option<f64> {
    let param = |name: &str| params.get(name).copied();
    if let Some(loss) = param("loss") {
        // Request and reply; and as a connection of its own is opened by packets, really lost ones count twice.
        let packets = if meaning == KERNEL_LOSS { 4 } else { 2 };
        return Some(1.0 - (1.0 - loss).powi(packets));
    }
    param("share").or(param("latency_ms").map(|_| 1.0)).or((meaning == "down").then_some(1.0))
}

/// A reply that takes this much longer than usual is one that the fault has delayed, µs.
pub fn slow_us(params: &BTreeMap<String, f64>) -> u64 {
    params.get("latency_ms").map_or(SLOW_US, |latency| (latency * 500.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_share_is_declared_where_it_can_be_said() {
        let loss = params(&[("loss", 0.1), ("burst", 1.0)]);
        assert!((declared_share("loss", &loss).unwrap() - 0.19).abs() < 1e-9);
        assert!((declared_share(KERNEL_LOSS, &loss).unwrap() - 0.3439).abs() < 1e-9);
        assert_eq!(declared_share("stall", &params(&[("share", 0.25)])), Some(0.25));
        assert_eq!(declared_share("latency", &params(&[("latency_ms", 200.0)])), Some(1.0));
        assert_eq!(declared_share("down", &params(&[])), Some(1.0));
        assert_eq!(declared_share("bandwidth", &params(&[("rate_kb_per_s", 5.0)])), None);
    }

    #[test]
    fn half_of_a_latency_shows_it() {
        assert_eq!(slow_us(&params(&[("latency_ms", 200.0)])), 100_000);
        assert_eq!(slow_us(&params(&[("latency_ms", 50.0)])), 25_000);
        assert_eq!(slow_us(&params(&[])), SLOW_US);
    }
}
