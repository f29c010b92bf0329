//! `docs/metrics.md` names every metric that the binaries export, and no other.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::architecture::workspace;
use crate::harness::{PATIENCE, Running, binary, free_port, get, real_program, wait_for};

fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(['`', '{']).next().map(str::to_owned)).collect()
}

fn exported(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// Clean by Prometheus' own linter.
pub fn lint(text: &str) {
    use std::io::Write;
    let Some(promtool) = real_program("promtool") else { return };
    let mut child = std::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn every_exported_metric_is_documented_and_every_documented_one_exported() {
    let dir = tempfile::tempdir().unwrap();
    let addr = format!("127.0.0.1:{}", free_port());
    let args = [
        "--lab",
        "--memcached",
        "fake",
        "--rate",
        "500",
        "--scenario",
        "latency-200ms-1s",
        "--metrics-port",
        &addr,
    ];
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    let mut load_url = None;
    wait_for("the lab", PATIENCE, async || {
        let log = std::fs::read_to_string(dir.path().join("scenariod.err")).unwrap_or_default();
        let after = log.split_once("its metrics on ").map(|(_, rest)| rest.to_owned());
        load_url = after.and_then(|rest| rest.lines().next().map(str::to_owned));
        load_url.is_some()
    })
    .await;
    let mut texts = (String::new(), String::new());
    wait_for("both endpoints", PATIENCE, async || {
        let its = get(&format!("http://{addr}/metrics")).await;
        let loads = get(load_url.as_ref().unwrap()).await;
        texts = (its.unwrap_or_default(), loads.unwrap_or_default());
        // The run has begun, and the API was asked.
        let begun =
            ["scenario_dose_measured_ratio{", "toxiproxy_api_up "].iter().all(|one| texts.0.contains(one));
        begun && texts.1.contains("memcache_operations_total")
    })
    .await;
    lint(&texts.0);
    lint(&texts.1);
    let mut all = exported(&texts.0);
    all.extend(exported(&texts.1));
    // Label sets that only a fault brings, and what the lab's registry does not have.
    let later = [
        "toxiproxy_toxic_active",
        "toxiproxy_toxic_value",
        "scenario_phase_duration_seconds",
        "scenario_rule_passed",
        "scenario_rule_value",
        "scenario_rule_limit",
        "scenario_recovery_seconds",
        "loadgen_build_info",
        "overload_phase",
    ];
    let documented = documented();
    let missing: Vec<_> = all.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&all).filter(|name| !later.contains(&name.as_str())).collect();
    assert!(missing.is_empty() && stale.is_empty(), "not documented: {missing:?}; not exported: {stale:?}");
    scenariod.signal("TERM");
    assert_eq!(scenariod.exit_code(Duration::from_secs(30)).await, 3);
}

/// The table of what the client survives names the tests that there are.
#[test]
fn every_named_failure_is_in_the_table_of_guarantees() {
    let table = std::fs::read_to_string(workspace().join("docs/client-guarantees.md")).unwrap();
    let folder = workspace().join("crates/memcache-client/tests/guarantees");
    let mut missing = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let tests = text.split("#[tokio::test]").skip(1).chain(text.split("#[test]").skip(1));
        for test in tests {
            let name = test.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
            let named = name.split('_').next().is_some_and(|id| {
                id.ends_with(|c: char| c.is_ascii_digit() || c == 'a' || c == 'b')
                    && id.len() <= 4
                    && id.chars().any(|c| c.is_ascii_digit())
            });
            if named && !table.contains(&format!("::{name}`")) {
                missing.push(name.to_owned());
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "run `cargo run -p end-to-end --bin guarantees`");
    assert!(!table.contains("**failed**"));
}
