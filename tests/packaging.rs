//! What others get of this project: an action for GitHub, a template for GitLab, releases, an image. Nothing here needs a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::workspace;
use crate::deployment::yaml;

mod action;
mod gitlab;
mod machine;
mod release;

const ACTIONS: [&str; 2] = ["action.yml", "ci/setup/action.yml"];
const WORKFLOWS: [&str; 2] = [".github/workflows/ci.yml", ".github/workflows/release.yml"];
/// The tag that the examples name.
const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// How the examples name this repository.
const REPOSITORY: &str = "OWNER/memcache-client-reliability";

fn text(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The steps of an action, or of all jobs of a workflow.
fn steps(file: &Value) -> Vec<Value> {
    let of_jobs = file["jobs"].as_object().into_iter().flatten().map(|(_, job)| &job["steps"]);
    let lists = of_jobs.chain([&file["runs"]["steps"]]);
    lists.filter_map(Value::as_array).flatten().cloned().collect()
}

/// The script that a step of an action runs.
fn script(action: &str, run: &str) -> PathBuf {
    let (_, path) =
        run.split_once("$GITHUB_ACTION_PATH/").unwrap_or_else(|| panic!("{action}: {run}: no script"));
    let path = path.split('"').next().unwrap();
    workspace().join(action).parent().unwrap().join(path)
}

#[test]
fn each_step_of_an_action_runs_a_script_that_is_there() {
    for action in ACTIONS {
        let runs: Vec<String> =
            steps(&yaml(action)).iter().filter_map(|step| step["run"].as_str().map(str::to_owned)).collect();
        assert!(!runs.is_empty(), "{action}");
        for run in runs {
            let script = script(action, &run);
            assert!(script.is_file(), "{action}: {}", script.display());
        }
    }
}

#[test]
fn no_text_of_others_becomes_part_of_a_script() {
    for file in ACTIONS.into_iter().chain(WORKFLOWS) {
        for step in steps(&yaml(file)) {
            let run = step["run"].as_str().unwrap_or_default();
            assert!(!run.contains("${{"), "{file}: give it as a variable, in `env`: {run}");
        }
    }
}

#[test]
fn actions_of_others_are_pinned_by_commit_and_say_their_version() {
    for file in ACTIONS.into_iter().chain(WORKFLOWS) {
        for line in text(file).lines() {
            let Some((_, used)) = line.split_once("uses: ") else { continue };
            if used.starts_with("./") {
                continue;
            }
            let (commit, version) = used.split_once('@').unwrap().1.split_once(" # v").unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && version.contains('.'), "{file}: {used}");
        }
    }
}

#[test]
fn every_input_of_the_action_is_described_has_a_default_and_reaches_a_script() {
    for file in ACTIONS {
        let (action, written) = (yaml(file), text(file));
        for (name, input) in action["inputs"].as_object().unwrap() {
            assert!(input["description"].as_str().is_some_and(|said| said.len() > 20), "{file}: {name}");
            assert!(input["default"].is_string(), "{file}: {name}");
            assert!(written.contains(&format!("${{{{ inputs.{name} }}}}")), "{file}: {name} is not used");
        }
    }
}

#[test]
fn the_checks_run_with_our_compiler() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let image = format!("rust:{}-bookworm", channel.trim_matches('"'));
    assert_eq!(yaml(WORKFLOWS[0])["jobs"]["checks"]["container"]["image"], image);
}

#[test]
fn the_image_builds_its_dependencies_before_it_has_our_sources() {
    let dockerfile = text("Dockerfile");
    let (_, build) = dockerfile.split_once(" AS build\n").unwrap();
    let at = |part: &str| build.find(part).unwrap_or_else(|| panic!("the Dockerfile has no `{part}`"));
    let (manifests, first, sources) =
        (at("COPY --from=manifests /src ."), at("RUN cargo build"), at("\nCOPY . .\n"));
    assert!(manifests < first && first < sources);
    // The same command, or other features are built, and all again.
    let command = "cargo build --profile dist --locked --bin loadgen --bin scenariod";
    assert_eq!(build.matches(command).count(), 2);
}

/// The examples of docs/ci.md.
fn examples() -> Vec<Value> {
    let page = text("docs/ci.md");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let read = |block: &str| {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(block).unwrap();
        serde_json::to_value(value).unwrap()
    };
    blocks.map(read).collect()
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_examples_for_github_use_actions_and_inputs_that_exist() {
    let mut used = BTreeSet::new();
    for step in examples().iter().flat_map(steps) {
        let Some(ours) = step["uses"].as_str().and_then(|uses| uses.strip_prefix(REPOSITORY)) else {
            continue;
        };
        let (folder, tag) = ours.split_once('@').unwrap();
        assert_eq!(tag, TAG, "{ours}");
        let file = Path::new(folder.trim_start_matches('/')).join("action.yml");
        let action = yaml(file.to_str().unwrap());
        let (inputs, given) = (names(&action["inputs"]), names(&step["with"]));
        assert!(given.is_subset(&inputs), "{ours}: {given:?}");
        used.insert(file);
    }
    assert_eq!(used, BTreeSet::from(ACTIONS.map(PathBuf::from)));
}

#[test]
fn the_example_for_gitlab_uses_what_the_template_has() {
    let template = yaml(gitlab::TEMPLATE);
    let examples = examples();
    let example = examples.iter().find(|example| example.get("include").is_some()).unwrap();
    let remote = example["include"][0]["remote"].as_str().unwrap();
    assert!(remote.ends_with(&format!("{REPOSITORY}/{TAG}/{}", gitlab::TEMPLATE)), "{remote}");
    let job = &example["reliability"];
    assert!(template.get(job["extends"].as_str().unwrap()).is_some());
    let known = names(&template[".scenariod"]["variables"]);
    assert!(names(&job["variables"]).is_subset(&known));
    let referred: Vec<&Value> =
        job["script"].as_array().unwrap().iter().filter_map(|line| line.get("!reference")).collect();
    assert_eq!(referred.len(), 2);
    for path in referred {
        let [of, key] = [0_usize, 1].map(|n| path[n].as_str().unwrap());
        assert!(template[of][key].is_array(), "{of}, {key}");
    }
}
