//! Rules that a reviewer should not have to remember.

use std::path::{Path, PathBuf};

use crate::architecture::workspace;

/// Longest source file without a reason.
const LINES_MAX: usize = 600;

fn sources() -> Vec<PathBuf> {
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
                found.push(path);
            }
        }
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap().display().to_string()
}

#[test]
fn no_file_is_too_long() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; at most {LINES_MAX}", shown(&path));
    }
}

#[test]
fn names_say_what_is_inside() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "common", "helper", "helpers", "misc", "imp", "base"].contains(&stem),
            "{}: name it by what it holds",
            shown(&path)
        );
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no module documentation", shown(&path));
    }
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    // Split, so that this file does not find itself.
    let forbidden = [concat!("#[al", "low("), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in forbidden {
            assert!(!text.contains(word), "{} contains {word}", shown(&path));
        }
    }
}

#[test]
fn only_one_implementation_of_a_target_names_our_client() {
    let load = workspace().join("crates/workload/src");
    let ours = load.join("target/ours");
    for path in sources().into_iter().filter(|path| path.starts_with(&load) && !path.starts_with(&ours)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_test = ["fixture.rs", "live.rs", "cardinality.rs"].iter().any(|name| path.ends_with(name));
        assert!(is_test || !code.contains("memcache_client"), "{}: use crate::target", shown(&path));
    }
}
