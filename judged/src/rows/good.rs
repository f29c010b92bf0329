//! Clients that are right, in ways that a hasty judge takes for wrong. They must pass.

use memcache_client::Codec;

use super::*;

fn row(id: &'static str, about: &'static str, scenario: ScenarioFile, setup: fn() -> Setup) -> Row {
    Row {
        id: id.to_owned(),
        about,
        scenario,
        setup,
        meddler: Meddler::Nobody,
        is_twin: false,
        wanted: Wanted::Pass,
    }
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("G1", "defaults", LOSS, Setup::default),
        row("G2", "no jitter", LOSS, || Setup::default().with_breaker(|breaker| breaker.open_jitter = 0.0)),
        row("G3", "full jitter", LOSS, || Setup::default().with_breaker(|breaker| breaker.open_jitter = 1.0)),
        row("G4", "pool of 1", LOSS, || {
            Setup { rate: 120.0, ..Setup::default() }.with_client(|client| client.pool.max = 1)
        }),
        row("G5", "pool of 64", LOSS, || Setup::default().with_client(|client| client.pool.max = 64)),
        row("G6", "slow but legal: half of the op timeout", LATENCY_HALF, || Setup {
            rate: 450.0,
            ..Setup::default()
        }),
        row("G7", "lowest legal load", LOSS, || Setup { rate: 30.0, ..Setup::default() }),
        row("G8", "legal retries", LOSS, || {
            Setup::default().with_client(|client| (client.retries, client.retry_budget) = (2, 0.2))
        }),
        // The breaker opens once, and stays open for most of what a recovery may take.
        row("G9", "recovers at 0.8 of its limit", LOSS_SHORT, || {
            Setup::default().with_breaker(|breaker| {
                (breaker.open, breaker.open_jitter) = (Duration::from_secs(16), 0.0);
            })
        }),
        row("G10", "another codec", LOSS, || {
            Setup::default().with_client(|client| client.codec = Codec::MemcacheAsync)
        }),
    ]
}
