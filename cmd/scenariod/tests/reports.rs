//! `scenariod report` and `scenariod compare`, from recorded journals alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};

const RECORDED: &[u8] = include_bytes!("../../../crates/report/tests/data/packet-loss-100-pct.jsonl.zst");

/// A run folder out of the recorded run.
fn run_folder(dir: &Path, change: impl Fn(String) -> String) {
    let text = String::from_utf8(zstd::decode_all(RECORDED).unwrap()).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("journal.jsonl"), change(text)).unwrap();
}

fn scenariod(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scenariod")).args(args).current_dir(dir).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn several_runs_have_a_page_each_and_one_of_all() {
    let dir = tempfile::tempdir().unwrap();
    run_folder(&dir.path().join("runs/a"), |text| text);
    run_folder(&dir.path().join("runs/b"), |text| text);
    let output = scenariod(dir.path(), &["report", "runs/a", "runs/b/journal.jsonl"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = std::fs::read_to_string(dir.path().join("runs/suite.html")).unwrap();
    for run in ["a", "b"] {
        assert!(dir.path().join("runs").join(run).join("report.html").is_file());
        assert!(page.contains(&format!("href=\"./{run}/report.html\"")), "{run}");
    }
}

#[test]
fn a_suite_has_a_page_beside_its_record_and_a_run_that_is_gone_keeps_its_line() {
    let dir = tempfile::tempdir().unwrap();
    run_folder(&dir.path().join("runs/a"), |text| text);
    let suite = dir.path().join("runs/s-suite");
    std::fs::create_dir_all(&suite).unwrap();
    let run = |dir: &str| {
        format!(
            r#"{{"scenario":"of {dir}","dir":"{dir}","result":"PASS","reasons":[],"began_ms":1,"ended_ms":2,"job":1,"attempt":1}}"#
        )
    };
    let record = |runs: &[&str]| {
        let runs: Vec<String> = runs.iter().map(|dir| run(dir)).collect();
        let head = r#"{"v":1,"began_ms":1,"ended_ms":2,"tool_version":"0","jobs":1,"runs":["#;
        std::fs::write(suite.join("suite.json"), format!("{head}{}]}}", runs.join(","))).unwrap();
    };
    record(&["a", "gone"]);
    let output = scenariod(dir.path(), &["report", "runs/s-suite"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = std::fs::read_to_string(suite.join("suite.html")).unwrap();
    assert!(page.contains("href=\"./../a/report.html\"") && page.contains("of gone"));
    record(&["../../etc"]);
    let output = scenariod(dir.path(), &["report", "runs/s-suite"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("is not the name of a run folder"), "{}", said(&output));
}

#[test]
fn two_runs_of_one_scenario_are_compared_and_of_two_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    run_folder(&dir.path().join("a"), |text| text);
    run_folder(&dir.path().join("b"), |text| text.replace("\"driver\":\"meta\"", "\"driver\":\"other\""));
    run_folder(&dir.path().join("c"), |text| {
        text.replace("\"scenario\":\"packet-loss-100-pct\"", "\"scenario\":\"of-tomorrow\"")
    });
    let output = scenariod(dir.path(), &["compare", "a", "b"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("(driver other)") && said(&output).contains("B - A"), "{}", said(&output));
    assert!(dir.path().join("compare.html").is_file());
    let output = scenariod(dir.path(), &["compare", "a", "c"]);
    assert_eq!(output.status.code(), Some(2));
    let line =
        "packet-loss-100-pct and of-tomorrow are different scenarios; --force compares them nevertheless";
    assert!(said(&output).contains(line), "{}", said(&output));
    let output = scenariod(dir.path(), &["compare", "a", "c", "--force", "--output", "forced.html"]);
    assert!(output.status.success() && dir.path().join("forced.html").is_file(), "{}", said(&output));
}
