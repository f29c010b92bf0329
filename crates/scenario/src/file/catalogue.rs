//! The scenarios that come with the tool, one TOML file each. The order here is the order of `--list`.

use super::model::{ModelError, Scenario};

const FILES: &[(&str, &str)] = &[
    ("packet-loss-2-pct", include_str!("catalogue/packet-loss-2-pct.toml")),
    ("packet-loss-5-pct", include_str!("catalogue/packet-loss-5-pct.toml")),
    ("packet-loss-10-pct", include_str!("catalogue/packet-loss-10-pct.toml")),
    ("packet-loss-20-pct", include_str!("catalogue/packet-loss-20-pct.toml")),
    ("packet-loss-50-pct", include_str!("catalogue/packet-loss-50-pct.toml")),
    ("packet-loss-100-pct", include_str!("catalogue/packet-loss-100-pct.toml")),
    ("latency-200ms-100ms", include_str!("catalogue/latency-200ms-100ms.toml")),
    ("latency-200ms-1s", include_str!("catalogue/latency-200ms-1s.toml")),
    ("latency-200ms-5s", include_str!("catalogue/latency-200ms-5s.toml")),
    ("latency-200ms-10s", include_str!("catalogue/latency-200ms-10s.toml")),
    ("latency-200ms-40s", include_str!("catalogue/latency-200ms-40s.toml")),
    ("latency-200ms-2m", include_str!("catalogue/latency-200ms-2m.toml")),
    (
        "multi-failure-2-servers-packet-loss",
        include_str!("catalogue/multi-failure-2-servers-packet-loss.toml"),
    ),
    ("multi-failure-2-servers-latency", include_str!("catalogue/multi-failure-2-servers-latency.toml")),
    ("kernel-loss-5-pct", include_str!("catalogue/kernel-loss-5-pct.toml")),
    ("kernel-loss-10-pct", include_str!("catalogue/kernel-loss-10-pct.toml")),
];

/// How the names of scenarios begin that need the kernel.
const KERNEL: &str = "kernel-";

/// Why scenarios cannot be chosen.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// No scenario of that name.
    #[error("there is no scenario {name:?}; did you mean {nearest:?}? `scenariod --list` shows all")]
    Unknown {
        /// As asked.
        name: String,
        /// The nearest that exists.
        nearest: String,
    },
    /// A pattern that fits none.
    #[error("no scenario fits {0:?}; `scenariod --list` shows all")]
    NoMatch(String),
    /// An embedded file is broken; a test keeps that from happening.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// All scenarios, in the order of `--list`.
pub fn all() -> Result<Vec<Scenario>, ModelError> {
    FILES.iter().map(|(name, text)| Scenario::parse(text, &format!("{name}.toml"))).collect()
}

/// The scenarios that are meant by names, globs and `all`; alphabetical within a pattern, none twice. Those that need the
/// kernel are not in `all`, because few are permitted to run them and a refusal would end the others too: a name, or a glob
/// that begins with `kernel-`, asks for them.
pub fn select(patterns: &[String]) -> Result<Vec<Scenario>, SelectError> {
    let mut known = all()?;
    known.sort_by(|a, b| a.name.cmp(&b.name));
    let mut chosen: Vec<Scenario> = Vec::new();
    for pattern in patterns {
        let is_glob = pattern.contains(['*', '?', '[', '{']);
        let fits = |scenario: &&Scenario| {
            let many = pattern == "all" || (is_glob && glob_match::glob_match(pattern, &scenario.name));
            scenario.name == *pattern
                || (many && (!scenario.needs_permission() || pattern.starts_with(KERNEL)))
        };
        let fitting: Vec<&Scenario> = known.iter().filter(fits).collect();
        if fitting.is_empty() {
            return Err(match is_glob {
                true => SelectError::NoMatch(pattern.clone()),
                false => SelectError::Unknown { name: pattern.clone(), nearest: nearest(pattern, &known) },
            });
        }
        for scenario in fitting {
            if !chosen.iter().any(|other| other.name == scenario.name) {
                chosen.push(scenario.clone());
            }
        }
    }
    Ok(chosen)
}

fn nearest(name: &str, known: &[Scenario]) -> String {
    let distance = |scenario: &&Scenario| strsim::damerau_levenshtein(name, &scenario.name);
    known.iter().min_by_key(distance).map(|scenario| scenario.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_parses_and_is_named_as_its_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/file/catalogue");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(
                FILES.iter().any(|(listed, _)| *listed == name),
                "{name}.toml is not listed in catalogue.rs"
            );
            files += 1;
        }
        assert_eq!(files, FILES.len());
        for (scenario, (name, _)) in all().unwrap().iter().zip(FILES) {
            assert_eq!(scenario.name, *name);
            assert_eq!(scenario.needs_permission(), name.starts_with(KERNEL), "{name}");
        }
        assert_eq!(FILES.len(), 16);
    }

    fn names(patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        select(&patterns).unwrap().into_iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn names_globs_and_all() {
        let all = names(&["all"]);
        assert!(all.len() == 14 && all.is_sorted());
        assert_eq!(names(&["packet-loss-5-pct"]), ["packet-loss-5-pct"]);
        assert_eq!(names(&["latency-*"]).len(), 6);
        assert_eq!(names(&["multi-*", "packet-loss-2-pct", "all"]).len(), 14);
        assert_eq!((names(&["*"]).len(), names(&["*-loss-*"]).len()), (14, 6));
        assert_eq!(names(&["kernel-*"]), ["kernel-loss-10-pct", "kernel-loss-5-pct"]);
        assert_eq!(names(&["all", "kernel-loss-5-pct"]).len(), 15);
        let unknown = select(&["packet-los-100-pct".to_owned()]).unwrap_err().to_string();
        assert!(unknown.contains("did you mean \"packet-loss-100-pct\"?"), "{unknown}");
        assert!(select(&["x*".to_owned()]).is_err());
    }
}
