//! How an attempt at a faulted server may end, by the client's timeouts.

use observation::effect::Meets;

/// First retransmission timeout of the loss-like delay, ms.
const RTO_MS: f64 = 206.0;
/// The same at most under real loss: losses inflate the estimate of the round trip, measured as 200-400 ms.
const RTO_MAX_MS: f64 = 400.0;
/// A latency within this share of the timeout may or may not be one, on a machine with other work.
const TIMEOUT_BLUR: f64 = 0.15;

/// What one attempt has to reckon with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Odds {
    /// Probability that it times out.
    pub(super) timeout: f64,
    /// Mean time it holds its connection, beyond the healthy one, ms.
    pub(super) held_ms: f64,
    /// A reply is slow by the client's slow rule: with what probability.
    pub(super) slow: f64,
    /// Connections are refused.
    pub(super) refused: bool,
    /// `timeout` is sharp; otherwise only bounds can be asked for.
    pub(super) known: bool,
}

/// Whatever an attempt may meet; nothing can be computed.
pub(super) const UNKNOWN: Odds = Odds { timeout: 0.0, held_ms: 0.0, slow: 0.0, refused: false, known: false };
/// Nothing happens to it.
pub(super) const UNHARMED: Odds = Odds { known: true, ..UNKNOWN };

/// The mildest and the harshest odds under a fault; mostly the same. `slow_ms`: from when on the client's slow rule counts a reply.
pub(super) fn odds(meets: Meets, timeout_ms: f64, slow_ms: f64) -> [Odds; 2] {
    match meets {
        Meets::LossDelay { loss, burst } => {
            [Odds { known: burst <= 1.0, ..under_loss(loss, timeout_ms, slow_ms) }; 2]
        }
        Meets::LostPackets { loss } => {
            let mild = under_loss(loss, timeout_ms, slow_ms);
            [mild, under_lost_packets(loss, mild, timeout_ms, slow_ms)]
        }
        Meets::Late { latency_ms, jitter_ms } => {
            [under_latency(latency_ms, jitter_ms, timeout_ms, slow_ms); 2]
        }
        // A share of connections: a client that drops a dead one draws again, so only 1 is sure.
        Meets::Hangs { share } => {
            [Odds { timeout: share, held_ms: share * timeout_ms, known: share >= 1.0, ..UNHARMED }; 2]
        }
        Meets::Refused => [Odds { refused: true, ..UNHARMED }; 2],
        Meets::Unknown => [UNKNOWN; 2],
    }
}

fn under_loss(loss: f64, timeout_ms: f64, slow_ms: f64) -> Odds {
    let timeout = timeout_probability(loss, timeout_ms);
    let slow = if slow_ms.is_finite() { timeout_probability(loss, slow_ms) } else { 0.0 };
    Odds { timeout, held_ms: mean_delay(loss, timeout_ms), slow, ..UNHARMED }
}

/// The law of the delay gives the least. At most every first loss takes as long as an inflated estimate of the round trip allows, and
/// the connection that follows a timeout loses packets of its own handshake.
fn under_lost_packets(loss: f64, mild: Odds, timeout_ms: f64, slow_ms: f64) -> Odds {
    let any = 1.0 - (1.0 - loss).powi(2);
    let inflated = |limit: f64| {
        if limit < RTO_MAX_MS { any } else { timeout_probability(loss, limit * RTO_MS / RTO_MAX_MS) }
    };
    let timeout = inflated(timeout_ms);
    let slow = if slow_ms.is_finite() { inflated(slow_ms) } else { 0.0 };
    Odds {
        timeout: (timeout * (1.0 + any)).min(1.0),
        held_ms: (mild.held_ms * RTO_MAX_MS / RTO_MS).min(timeout_ms),
        slow,
        ..mild
    }
}

fn under_latency(latency_ms: f64, jitter_ms: f64, timeout_ms: f64, slow_ms: f64) -> Odds {
    let near = |limit: f64| {
        (latency_ms + jitter_ms > limit * (1.0 - TIMEOUT_BLUR))
            && (latency_ms - jitter_ms < limit * (1.0 + TIMEOUT_BLUR))
    };
    let beyond = |limit: f64| f64::from(u8::from(latency_ms >= limit));
    let known = !near(timeout_ms) && !near(slow_ms);
    let (timeout, slow) = (beyond(timeout_ms), beyond(slow_ms));
    Odds { timeout, held_ms: latency_ms.min(timeout_ms), slow, known, ..UNHARMED }
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
