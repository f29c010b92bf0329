//! The scripts of GitLab's template, under the shells that images have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::machine::{SCENARIOD, TOOLS, verdict};
use crate::architecture::workspace;
use crate::deployment::yaml;
use crate::harness::real_program;

/// The template, from the root.
pub const TEMPLATE: &str = "ci/gitlab/scenariod.yml";

/// What came of a job.
struct Ended {
    code: i32,
    said: String,
    args: Vec<String>,
    /// The report of each run, for GitLab.
    reports: usize,
}

/// The shells, each with the arguments before the script's file.
fn shells() -> Option<Vec<(PathBuf, Vec<&'static str>)>> {
    Some(vec![
        (real_program("bash")?, vec!["-eo", "pipefail"]),
        (real_program("sh")?, vec!["-e"]),
        (real_program("busybox")?, vec!["sh", "-e"]),
    ])
}

/// The job `.scenariod` with these variables. `programs`: which of the folders beside this file is on PATH.
fn job(shell: &(PathBuf, Vec<&str>), programs: &str, code: i32, variables: &[(&str, &str)]) -> Ended {
    let template = yaml(TEMPLATE);
    let job = &template[".scenariod"];
    let mut script = String::new();
    for line in job["script"].as_array().unwrap() {
        let path = line.get("!reference").unwrap();
        let referred = &template[path[0].as_str().unwrap()][path[1].as_str().unwrap()];
        referred.as_array().unwrap().iter().filter_map(Value::as_str).for_each(|text| script += text);
    }
    let mut env: BTreeMap<&str, &str> = job["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    env.extend(variables.iter().copied());

    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("fake/20260101T000000Z-packet-loss-100-pct");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::create_dir(dir.path().join("work")).unwrap();
    std::fs::write(run.join("verdict.json"), verdict("pass", &[]).to_string()).unwrap();
    std::fs::write(run.join("junit.xml"), "").unwrap();
    // A file that a glob would find.
    std::fs::write(dir.path().join("work/latency-x"), "").unwrap();
    std::fs::write(dir.path().join("script"), script).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).filter(|folder| !folder.join("scenariod").exists());
    let path = [workspace().join("tests/packaging").join(programs)].into_iter().chain(own);
    let (program, args) = shell;
    let output = Command::new(program)
        .args(args)
        .arg(dir.path().join("script"))
        .current_dir(dir.path().join("work"))
        .env_clear()
        .envs(env)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("FAKE_RELEASES", dir.path())
        .env("FAKE_RUNS", dir.path().join("fake"))
        .env("FAKE_CODE", code.to_string())
        .env("FAKE_ARGS", dir.path().join("args"))
        .output()
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let runs = std::fs::read_dir(dir.path().join("work/runs")).into_iter().flatten();
    Ended {
        code: output.status.code().unwrap(),
        said: String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        args: read("args").lines().map(str::to_owned).collect(),
        reports: runs.filter(|run| run.as_ref().unwrap().path().join("junit.xml").exists()).count(),
    }
}

#[test]
fn the_job_ends_with_the_exit_code_of_scenariod_and_leaves_a_report() {
    let Some(shells) = shells() else { return };
    for shell in &shells {
        for code in [0, 1, 3, 5] {
            let ended = job(shell, SCENARIOD, code, &[]);
            assert_eq!((ended.code, ended.reports), (code, 1), "{shell:?}: {}", ended.said);
            let expected = [
                "--runs=runs",
                "--summary=runs/summary.md",
                "--scenario=packet-loss-100-pct",
                "--quick",
                "--lab",
            ];
            assert_eq!(ended.args, expected, "{shell:?}");
        }
    }
}

#[test]
fn variables_become_arguments_and_no_glob_is_expanded() {
    let Some(shells) = shells() else { return };
    let variables = [
        ("SCENARIOD_SCENARIOS", "latency-* $(id)"),
        ("SCENARIOD_FILES", "one.toml two.toml"),
        ("SCENARIOD_OBSERVE", "http://127.0.0.1:9090"),
        ("SCENARIOD_QUICK", "false"),
        ("SCENARIOD_ARGS", "--repeat 3"),
    ];
    for shell in &shells {
        let ended = job(shell, SCENARIOD, 0, &variables);
        assert_eq!(ended.code, 0, "{shell:?}: {}", ended.said);
        let expected = [
            "--scenario=latency-*",
            "--scenario=$(id)",
            "--scenario-file=one.toml",
            "--scenario-file=two.toml",
            "--observe=http://127.0.0.1:9090",
            "--toxiproxy=http://127.0.0.1:8474",
            "--repeat",
            "3",
        ];
        assert_eq!(ended.args[2..], expected, "{shell:?}");
    }
}

#[test]
fn a_release_that_is_not_there_is_named_and_is_no_verdict() {
    let Some(shells) = shells() else { return };
    for shell in &shells {
        let ended = job(shell, TOOLS, 0, &[("SCENARIOD_RELEASES", "https://a/releases/download")]);
        assert_eq!((ended.code, ended.reports), (4, 0), "{shell:?}: {}", ended.said);
        assert!(
            ended.said.contains("no release at https://a/releases/download/v"),
            "{shell:?}: {}",
            ended.said
        );
    }
}

#[test]
fn reports_are_kept_whatever_came_of_the_job_and_code_3_is_a_warning() {
    let job = &yaml(TEMPLATE)[".scenariod"];
    assert_eq!(job["variables"]["SCENARIOD_VERSION"], super::TAG);
    assert_eq!(job["allow_failure"]["exit_codes"][0], 3);
    assert_eq!(job["artifacts"]["when"], "always");
    assert_eq!(job["artifacts"]["paths"][0], "runs/");
    assert_eq!(job["artifacts"]["reports"]["junit"], "runs/*/junit.xml");
}
