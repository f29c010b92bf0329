//! Runs the named failure tests of the client and the load engine, and writes what they measured into
//! `docs/client-guarantees.md`: `cargo run -p end-to-end --bin guarantees`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Ids of the catalogue that concern the client or the load engine, in order.
const IDS: &[&str] = &[
    "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9",
    "C10", "C11", "C12", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "E1", "E2",
    "E3", "E4", "E5", "E5b", "E6", "E7", "E8", "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "H1a",
    "H1b", "H2", "H3", "H4", "H5", "H6", "H7", "M5", "R-C1", "R-C2", "R-C3", "R-C4", "R-C5", "R-C6", "R-C7",
    "R-C8", "R-C9", "R-C10", "R-C11", "R-C12", "R-C13", "R-C14", "R-C15", "R-C16", "R-C17", "R-C18", "R-C19",
    "R-L1", "R-L2", "R-L3", "R-L4", "R-L5", "R-L6", "R-L7", "R-L8",
];

/// What another test or command shows.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "E2",
        "`crates/memcache-client/tests/random_cancel.rs`: 110 000 ops, 1 % dropped, over 1 000 late replies",
    ),
    (
        "R-C1",
        "`crates/memcache-client/tests/cancel_matrix.rs`: every op × every poll × 1 024 gates, both modes",
    ),
    (
        "R-C2",
        "`pool::tests::no_slot_is_lost_by_any_number_of_cancelled_waiters`, `crates/memcache-client/tests/cancel_matrix.rs`",
    ),
    ("R-C3", "D7; `bench soak`"),
    ("R-C4", "`crates/memcache-client/tests/shuttle.rs`, `crates/memcache-client/tests/breaker_model.rs`"),
    ("R-C6", "C4; `crates/memcache-client/tests/shuttle.rs`"),
    ("R-C7", "C2, C10"),
    ("R-C19", "D11"),
    ("R-L1", "`workload`: `arrivals::pacer` tests; `loadgen check-generator`"),
    ("R-L2", "`workload`: `load::tests`; `loadgen check-generator`"),
    ("R-L3", "`workload`: `recorder::tests::latencies_out_of_range_are_kept_at_the_edge`"),
    (
        "R-L4",
        "`workload`: `metrics::cardinality` (100 servers); `scenario`: `metrics::tests` (1 000 scenarios)",
    ),
    ("R-L5", "`bench soak` (20 minutes and more; 72 hours were not run)"),
    (
        "R-L6",
        "`clippy.toml` bans the wall clock for durations; a suspended machine: `observation::clock` and `verdict` tests",
    ),
    ("R-L7", "`observation`: a restart of the source makes a run inconclusive (`verdict` tests)"),
    ("R-L8", "`workload`: `op_log` tests on a full device"),
];

struct Shown {
    test: String,
    passed: bool,
    figures: Vec<String>,
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let args = [
        "test",
        "-p",
        "memcache-client",
        "--features",
        "tls",
        "--test",
        "guarantees",
        "--no-fail-fast",
        "--",
        "--show-output",
    ];
    let output =
        Command::new(env!("CARGO")).args(args).current_dir(&root).env("RUST_BACKTRACE", "0").output();
    let output = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return fail(&format!("cargo: {error}")),
    };
    let shown = read(&output);
    if shown.is_empty() {
        return fail("the tests printed no figures; run `cargo test -p memcache-client --test guarantees`");
    }
    let path = root.join("docs/client-guarantees.md");
    if let Err(error) = std::fs::write(&path, table(&shown)) {
        return fail(&format!("{}: {error}", path.display()));
    }
    if shown.values().all(|shown| shown.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stderr, reason = "a command for developers")]
fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// By id: the test, how it ended, its figures.
fn read(output: &str) -> BTreeMap<String, Shown> {
    let mut shown = BTreeMap::new();
    for line in output.lines() {
        let Some((name, ended)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) else {
            continue;
        };
        if let Some(id) = id_of(name) {
            shown.insert(id, Shown { test: name.to_owned(), passed: ended == "ok", figures: Vec::new() });
        }
    }
    for line in output.lines() {
        let Some((id, figure)) = line.strip_prefix("FIGURE ").and_then(|line| line.split_once(": ")) else {
            continue;
        };
        if let Some(shown) = shown.get_mut(id) {
            shown.figures.push(figure.to_owned());
        }
    }
    shown
}

/// `breaker::c10_recovery_...` is C10, `routing::rc10_...` is R-C10.
fn id_of(test: &str) -> Option<String> {
    let name = test.rsplit("::").next()?;
    let word = name.split('_').next()?;
    let (head, digits) = word.split_at(word.find(|c: char| c.is_ascii_digit())?);
    let head = match head {
        "rc" => "R-C".to_owned(),
        one if one.len() == 1 => one.to_uppercase(),
        _ => return None,
    };
    Some(head + digits)
}

fn table(shown: &BTreeMap<String, Shown>) -> String {
    let mut text = String::from(
        "# What the client survives\n\nMade by `cargo run -p end-to-end --bin guarantees`, which runs the tests and takes their \
         figures. Each row is one failure of the\ncatalogue; the limit in brackets is what the catalogue asks, scaled in time \
         where its own length would not fit a test\nrun. The figures are those of one run on a shared machine.\n\n\
         | Id | Test (`crates/memcache-client/tests/guarantees/`) | Result | Measured |\n|---|---|---|---|\n",
    );
    for id in IDS {
        let row = match (shown.get(*id), ELSEWHERE.iter().find(|(other, _)| other == id)) {
            (Some(shown), _) => {
                let result = if shown.passed { "ok" } else { "**failed**" };
                let figures =
                    if shown.figures.is_empty() { "-".to_owned() } else { shown.figures.join("; ") };
                format!("| {id} | `{}` | {result} | {figures} |\n", shown.test)
            }
            (None, Some((_, by))) => format!("| {id} | {by} | see there | |\n"),
            (None, None) => format!("| {id} | none yet | | |\n"),
        };
        let _ = text.write_str(&row);
    }
    text
}
