//! The arrows of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Workspace crates that each member may depend on. What is not listed is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    ("alarm", &[]),
    ("capacity", &[]),
    ("database", &[]),
    ("look-aside", &["database"]),
    ("memcache-client", &[]),
    ("memcached-fake", &[]),
    ("toxiproxy", &["alarm"]),
    ("memcache-toxics", &["toxiproxy"]),
    ("observation", &[]),
    ("page", &[]),
    ("live", &["observation", "page", "telemetry"]),
    ("telemetry", &[]),
    ("workload", &["alarm", "database", "look-aside", "memcache-client", "observation"]),
    ("scenario", &["toxiproxy", "observation"]),
    ("verdict", &["observation"]),
    ("report", &["verdict", "capacity", "observation", "page"]),
    (
        "lab",
        &["workload", "toxiproxy", "memcache-toxics", "memcached-fake", "memcache-client", "observation"],
    ),
    (
        "loadgen",
        &[
            "workload",
            "capacity",
            "database",
            "look-aside",
            "report",
            "telemetry",
            "live",
            "memcache-client",
            "observation",
        ],
    ),
    (
        "metastable",
        &[
            "lab",
            "scenario",
            "look-aside",
            "database",
            "workload",
            "memcache-client",
            "toxiproxy",
            "observation",
        ],
    ),
    (
        "scenariod",
        &[
            "metastable",
            "lab",
            "scenario",
            "verdict",
            "report",
            "live",
            "telemetry",
            "toxiproxy",
            "memcache-toxics",
            "workload",
            "memcache-client",
            "observation",
        ],
    ),
    ("simulation", &["memcache-client", "memcached-fake"]),
    ("end-to-end", &[]),
    (
        "judged",
        &[
            "lab",
            "scenario",
            "verdict",
            "report",
            "telemetry",
            "toxiproxy",
            "workload",
            "memcache-client",
            "observation",
        ],
    ),
    ("bench", &["memcache-client", "workload", "observation", "toxiproxy"]),
];

/// Root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifests() -> Vec<PathBuf> {
    let apart = ["tests", "benches", "judged", "simulation"]
        .map(|folder| workspace().join(folder).join("Cargo.toml"));
    let mut found = apart.to_vec();
    for folder in ["crates", "cmd"] {
        for entry in std::fs::read_dir(workspace().join(folder)).unwrap() {
            found.push(entry.unwrap().path().join("Cargo.toml"));
        }
    }
    found
}

/// Names under `[dependencies]` (dev-dependencies may point anywhere but up to a binary).
fn section(manifest: &str, wanted: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == format!("[{wanted}]");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.insert(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

#[test]
fn arrows_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for path in manifests() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name =
            text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"').to_owned();
        let may = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the list of rooms"));
        for dependency in section(&text, "dependencies") {
            if allowed.contains_key(dependency.as_str()) {
                assert!(may.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
            }
        }
        for dependency in section(&text, "dev-dependencies") {
            assert!(!["loadgen", "scenariod"].contains(&dependency.as_str()), "{name} depends on a binary");
        }
    }
}

#[test]
fn bugs_are_seeded_for_those_who_judge_the_judge_alone() {
    for path in manifests() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let may = ["memcache-client", "judged"].contains(&name);
        assert!(may || !text.contains("seeded-bugs"), "{} asks for a client with bugs", path.display());
        assert!(!text.contains("default = [\"seeded-bugs\"]"), "{}", path.display());
    }
}

#[test]
fn the_judge_can_do_no_io() {
    let text = std::fs::read_to_string(workspace().join("crates/verdict/Cargo.toml")).unwrap();
    let names = section(&text, "dependencies");
    let pure: BTreeSet<String> = ["observation", "schemars", "serde", "thiserror"].map(str::to_owned).into();
    assert!(names.is_subset(&pure), "{names:?}");
}
