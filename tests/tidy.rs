//! Rules that a reviewer should not have to remember.

mod functions;
mod sleeps;

use std::path::{Path, PathBuf};

use crate::architecture::workspace;

/// Longest source file without a reason.
const LINES_MAX: usize = 600;

/// All source files with their text, by their path from the workspace's root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "cmd", "benches/src", "judged", "simulation", "tests"]
        .iter()
        .map(|folder| workspace().join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(workspace()).unwrap().display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines; at most {LINES_MAX}");
    }
}

#[test]
fn names_say_what_is_inside() {
    for (path, _) in sources() {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "common", "helper", "helpers", "misc", "imp", "base"].contains(&stem),
            "{path}: name it by what it holds"
        );
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{path} has no module documentation");
    }
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    // Split, so that this file does not find itself.
    let forbidden = [concat!("#[al", "low("), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for (path, text) in sources() {
        for word in forbidden {
            assert!(!text.contains(word), "{path} contains {word}");
        }
    }
}

#[test]
fn durations_are_read_in_one_place() {
    // Split, so that this file does not find itself.
    let words = [concat!("parse_", "duration"), concat!("humantime::", "Duration")];
    let apart = |path: &str| path == "crates/duration/src/lib.rs";
    for (path, text) in sources().into_iter().filter(|(path, _)| !apart(path)) {
        for word in words {
            assert!(
                !text.contains(word),
                "{path} contains {word}: use the crate `duration`, which has limits"
            );
        }
    }
}

#[test]
fn only_one_implementation_of_a_target_names_our_client() {
    let ours = "crates/workload/src/target/ours/";
    let of_load = |path: &str| path.starts_with("crates/workload/src/") && !path.starts_with(ours);
    for (path, text) in sources().into_iter().filter(|(path, _)| of_load(path)) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_test = ["fixture.rs", "live.rs", "cardinality.rs"].iter().any(|name| path.ends_with(name));
        assert!(is_test || !code.contains("memcache_client"), "{path}: use crate::target");
    }
}
