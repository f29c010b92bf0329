//! What connections do under each toxic and each API call: the same cases against our server and against the stock one, on
//! real sockets. `../data/dataplane-measurements.jsonl` is what was measured on Toxiproxy 2.12.0; each case names its
//! measurement. Where ours differs on purpose, the case says so and why.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and skip loudly"
)]

/// Declares each function as a case: one test on our server, one on the stock one.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            #[tokio::test]
            async fn ours() {
                super::$case(&crate::servers::Server::ours(1).await).await;
            }

            #[tokio::test]
            async fn stock() {
                if let Some(stock) = crate::servers::Server::stock(&[]).await {
                    super::$case(&stock).await;
                }
            }
        }
    )*};
}

mod changes;
mod connections;
mod delays;
mod dice;
mod endings;
mod in_flight;
mod odd_values;
mod pieces;
mod servers;
mod sockets;
mod upstreams;

/// Every measurement has a case.
#[test]
fn every_measured_behaviour_has_a_case() {
    let cases = [
        include_str!("changes.rs"),
        include_str!("connections.rs"),
        include_str!("delays.rs"),
        include_str!("dice.rs"),
        include_str!("endings.rs"),
        include_str!("odd_values.rs"),
        include_str!("pieces.rs"),
    ]
    .concat();
    let measured = include_str!("../data/dataplane-measurements.jsonl");
    let names: Vec<String> = measured
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["experiment"].to_string())
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert_eq!(names.len(), 48);
    for name in names {
        assert!(cases.contains(&format!("`{name}`")), "no case names the measurement {name}");
    }
}
