//! `scenariod metastable`, as its users start it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{PATIENCE, Running, binary, part_of_the_machine, wait_for};

/// Runs that the machine may void before a test fails.
const RERUNS: &str = "3";

fn experiment(runs: &Path) -> Option<(PathBuf, Value)> {
    let dir = std::fs::read_dir(runs).ok()?.next()?.ok()?.path();
    let record = std::fs::read(dir.join("experiment.json")).ok()?;
    Some((dir, serde_json::from_slice(&record).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collapse_its_control_and_a_cure_are_told_apart() {
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["metastable", "metastable-fast", "--only", "unprotected,lower-load,queue-05", "--quick"];
    let more = ["--runs-each", "1", "--jobs", "2", "--rerun-invalid", RERUNS, "--summary", "table.md"];
    let own = std::process::id().to_string();
    let args = [&args[..], &more, &["--watch", &own]].concat();
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    assert_eq!(scenariod.exit_code(Duration::from_secs(240)).await, 0);

    let table = std::fs::read_to_string(dir.path().join("table.md")).unwrap();
    assert!(table.contains("**METASTABLE**"), "{table}");
    let (folder, record) = experiment(&dir.path().join("runs")).unwrap();
    let cells = record["found"]["cells"]["cells"].as_array().unwrap();
    let states: Vec<&str> = cells
        .iter()
        .map(|cell| cell["runs"].as_array().unwrap().last().unwrap()["state"].as_str().unwrap())
        .collect();
    // The file asks for the first cell twice.
    assert_eq!(cells[0]["runs"].as_array().unwrap().len(), 2, "{record}");
    assert_eq!(states, ["stuck", "recovered", "recovered"], "{record}");
    assert_eq!(record["complete"], true);
    let run = folder.join(cells[0]["runs"][0]["dir"].as_str().unwrap());
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        page.contains("data-chart=\"latencies\"") && page.contains(&format!("process {own}")),
        "its memory"
    );
    let all = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(all.contains("/report.html\">1</a>") && all.contains("METASTABLE"));

    // The same from the journal alone.
    let judged = Command::new(binary("scenariod")).arg("judge").args([&run, &folder]).output().unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success() && said.starts_with("stuck, end goodput 0."), "{judged:?}");
    // A cell without what the verdict stands on says nothing of the whole.
    assert!(!table.contains("degraded"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_a_record_of_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--lab", "--quick", "--scenario", "metastable-retry", "--jobs", "2"];
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    let runs = dir.path().join("runs");
    wait_for("two journals", PATIENCE, async || {
        let Ok(mut folders) = std::fs::read_dir(&runs) else { return false };
        let Some(Ok(experiment)) = folders.next() else { return false };
        std::fs::read_dir(experiment.path()).is_ok_and(|runs| runs.count() >= 2)
    })
    .await;
    scenariod.signal("INT");
    assert_eq!(scenariod.exit_code(PATIENCE).await, 3);
    let (folder, record) = experiment(&runs).unwrap();
    assert_eq!(record["complete"], false, "{record}");
    assert!(
        std::fs::read_to_string(folder.join("summary.md"))
            .unwrap()
            .contains("**STOPPED; so far: INCONCLUSIVE**")
    );
    for run in
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let journal = observation::journal::Journal::read(&run).unwrap();
        assert!(!journal.truncated, "{}", run.display());
        assert!(run.join("report.html").is_file(), "{}", run.display());
    }
}

#[tokio::test]
async fn what_is_mistyped_is_refused_before_any_load() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own.toml"), "name = \"own\"\n").unwrap();
    for (args, told) in [
        (vec!["metastable", "metastable-fats"], "there are: metastable-fast,"),
        (
            vec!["metastable", "--only", "nobody"],
            "--only: there is no cell \"nobody\"; there are: unprotected,",
        ),
        (vec!["metastable", "--file", "own.toml"], "own.toml, line 1: missing field"),
        (vec!["metastable", "--grid", "--bisect"], "cannot be used with"),
        (vec!["--scenario", "metastable-fast"], "needs --lab"),
        (
            vec!["--lab", "--scenario", "metastable-fast", "--scenario", "packet-loss-100-pct"],
            "run it without other scenarios",
        ),
        (vec!["--lab", "--scenario", "metastable-fast", "--driver", "memcache-async"], "a client of its own"),
        (vec!["metastable", "metastable-restart", "--bisect"], "flush a share of the keys instead"),
    ] {
        let output = Command::new(binary("scenariod")).args(&args).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
}
