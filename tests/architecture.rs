//! The arrows of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Workspace crates that each member may depend on. What is not listed is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    ("address", &[]),
    ("alarm", &[]),
    ("capacity", &[]),
    ("database", &[]),
    ("descriptors", &[]),
    ("duration", &[]),
    ("look-aside", &["database", "duration"]),
    ("memcache-client", &["address"]),
    ("memcached-fake", &["descriptors"]),
    ("toxiproxy", &["address", "alarm", "descriptors"]),
    ("memcache-toxics", &["toxiproxy"]),
    ("observation", &[]),
    ("page", &[]),
    ("live", &["observation", "page", "telemetry"]),
    ("telemetry", &["descriptors"]),
    ("workload", &["alarm", "database", "duration", "look-aside", "memcache-client", "observation"]),
    ("scenario", &["address", "duration", "toxiproxy", "observation"]),
    ("verdict", &["observation"]),
    ("report", &["verdict", "capacity", "observation", "page"]),
    (
        "lab",
        &["workload", "toxiproxy", "memcache-toxics", "memcached-fake", "memcache-client", "observation"],
    ),
    (
        "loadgen",
        &[
            "address",
            "workload",
            "capacity",
            "database",
            "descriptors",
            "duration",
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
            "duration",
            "workload",
            "memcache-client",
            "toxiproxy",
            "observation",
        ],
    ),
    (
        "scenariod",
        &[
            "address",
            "metastable",
            "descriptors",
            "duration",
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
    ("bench", &["duration", "memcache-client", "workload", "observation", "toxiproxy"]),
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

/// What a manifest depends on, of the members of the workspace.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let is_member = |name: &String| ALLOWED.iter().any(|(member, _)| member == name);
    section(manifest, "dependencies").into_iter().filter(is_member).collect()
}

#[test]
fn what_is_allowed_is_needed() {
    for path in manifests() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let needs = dependencies(&text);
        for allowed in ALLOWED.iter().filter(|(member, _)| *member == name).flat_map(|(_, may)| *may) {
            assert!(needs.contains(*allowed), "{name} does not depend on {allowed}: strike it from ALLOWED");
        }
    }
}

#[test]
fn the_arrows_that_are_drawn_are_there() {
    let page = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let needs: BTreeMap<String, BTreeSet<String>> = manifests()
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
            (name.to_owned(), dependencies(&text))
        })
        .collect();
    let arrows = page.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(" → "));
    for (from, to) in arrows {
        let Some(needs) = needs.get(from) else { panic!("ARCHITECTURE.md: there is no crate {from}") };
        for one in to.trim_matches(['{', '}']).split(", ") {
            assert!(needs.contains(one), "ARCHITECTURE.md: {from} → {one} is drawn, but not in its manifest");
        }
    }
}

/// Binaries whose flags become settings in one place: no other module knows clap.
const FLAGS_APART: [&str; 1] = ["scenariod"];

#[test]
fn clap_is_known_where_flags_are_read_alone() {
    for binary in FLAGS_APART {
        let source = workspace().join("cmd").join(binary).join("src");
        let mut folders = vec![source.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let inside = path.strip_prefix(&source).unwrap().to_str().unwrap();
                if inside.starts_with("cli") || inside.starts_with("args") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // A test may type a command line.
                let code = text.split("mod tests {").next().unwrap();
                let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                // main reads the flags and hands on what they mean.
                let types = if inside == "main.rs" { &["clap::"][..] } else { &["clap::", "cli::"] };
                let known: Vec<&str> =
                    code.filter(|line| types.iter().any(|word| line.contains(word))).collect();
                assert_eq!(known, Vec::<&str>::new(), "cmd/{binary}/src/{inside} knows clap");
            }
        }
    }
}

#[test]
fn features_that_spoil_the_client_are_for_the_tests_that_need_them_alone() {
    for path in manifests() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let spoils: [(&str, &[&str]); 2] =
            [("seeded-bugs", &["memcache-client", "judged"]), ("\"shuttle\"", &["memcache-client"])];
        for (feature, may) in spoils {
            assert!(may.contains(&name) || !text.contains(feature), "{} asks for {feature}", path.display());
        }
        assert!(!text.contains("default = ["), "{}", path.display());
    }
}

#[test]
fn the_judge_can_do_no_io() {
    let text = std::fs::read_to_string(workspace().join("crates/verdict/Cargo.toml")).unwrap();
    let names = section(&text, "dependencies");
    let pure: BTreeSet<String> = ["observation", "schemars", "serde", "thiserror"].map(str::to_owned).into();
    assert!(names.is_subset(&pure), "{names:?}");
}
