//! `scenariod report` and `scenariod compare`, from recorded journals alone; results that cannot be written.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

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

/// Exit code and standard error of a program whose standard output goes there.
fn told(dir: &Path, args: &[&str], out: Stdio) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scenariod"));
    let output = command.args(args).current_dir(dir).stdout(out).output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[test]
fn results_that_cannot_be_written_are_an_error_and_a_reader_that_has_left_is_none() {
    let dir = tempfile::tempdir().unwrap();
    run_folder(&dir.path().join("runs/a"), |text| text);
    run_folder(&dir.path().join("runs/b"), |text| text);
    for args in [
        &["--list"][..],
        &["--help"],
        &["--version"],
        &["judge", "--help"],
        &["proxy", "-version"],
        &["explain", "--scenario", "all"],
        &["judge", "runs/a"],
        &["report", "runs/a", "runs/b"],
        &["compare", "runs/a", "runs/b"],
    ] {
        let (status, text) = told(dir.path(), args, File::create("/dev/full").unwrap().into());
        assert_eq!(status.code(), Some(4), "{args:?}: {text}");
        assert_eq!(text.matches("standard output: No space left on device").count(), 1, "{args:?}: {text}");
        let (status, text) = told(dir.path(), args, closed_pipe());
        assert_eq!(status.code(), Some(0), "{args:?}: {text}");
        assert!(!text.contains("standard output") && !text.contains("panicked"), "{args:?}: {text}");
    }
    // The reports were written all the same.
    assert!(dir.path().join("compare.html").is_file() && dir.path().join("runs/suite.html").is_file());
}

#[test]
fn the_exit_code_of_a_verdict_survives_an_output_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    // Without its end, the run says nothing of the client.
    run_folder(&dir.path().join("cut"), |text| {
        text.lines().take(40).map(|line| line.to_owned() + "\n").collect()
    });
    let (plain, _) = told(dir.path(), &["judge", "cut"], Stdio::null());
    assert_eq!(plain.code(), Some(3));
    for out in [File::create("/dev/full").unwrap().into(), closed_pipe()] {
        let (status, text) = told(dir.path(), &["judge", "cut"], out);
        assert_eq!(status.code(), Some(3), "{text}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_named_and_leaves_nothing_that_looks_whole() {
    let dir = tempfile::tempdir().unwrap();
    run_folder(&dir.path().join("a"), |text| text);
    // A folder is in the place of the page.
    std::fs::create_dir(dir.path().join("a/report.tmp")).unwrap();
    let output = scenariod(dir.path(), &["report", "a"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(
        said(&output).contains("report a/report.html: ") || said(&output).contains("/a/report.html: "),
        "{}",
        said(&output)
    );
    assert!(!dir.path().join("a/report.html").exists());
    let output = scenariod(dir.path(), &["compare", "a", "a", "--output", "/dev/full"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("/dev/full: No space left on device"), "{}", said(&output));
    assert!(!Path::new("/dev/full.tmp").exists());
}
