//! End-to-end tests of the two binaries, and the rules of the house. One binary: on few cores linking dominates.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and skip loudly"
)]

mod addresses;
mod architecture;
mod bad_input;
#[path = "../crates/report/tests/pages/browser.rs"]
#[expect(dead_code, reason = "pictures are for the tests of the pages themselves")]
mod browser;
mod compose;
mod dashboards;
mod deployment;
mod docs_references;
mod durations;
mod foreign_source;
mod harness;
mod integrity;
mod kernel_loss;
mod kernel_rules;
mod lab;
mod live_page;
mod metastable;
mod metrics_docs;
mod overload;
mod packaging;
mod prometheus;
mod published_clients;
mod reverts;
mod scenarios;
mod suite;
mod tidy;
