//! Several runs at once, and runs that end before their time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{PATIENCE, Running, binary, get, metric, part_of_the_machine, wait_for};

/// A lab with the fake server: 100 % loss on one server, whose clients fail fast.
const LAB: [&str; 12] = [
    "--lab",
    "--memcached",
    "fake",
    "--rate",
    "500",
    "--on-open",
    "fail-fast",
    "--breaker-open",
    "1s",
    "--scenario",
    "packet-loss-100-pct",
    "--quick",
];

pub fn runs(dir: &Path) -> Vec<PathBuf> {
    let mut runs: Vec<_> =
        std::fs::read_dir(dir.join("runs")).into_iter().flatten().map(|run| run.unwrap().path()).collect();
    runs.sort();
    runs
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn journal(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("journal.jsonl")).unwrap();
    // The last line of a running journal may be half a line.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// When a fault entered a state, on the run's clock.
fn fault_at(journal: &[Value], state: &str) -> Option<u64> {
    let entry = journal
        .iter()
        .find(|entry| entry["record"]["type"] == "fault" && entry["record"]["state"] == state)?;
    entry["at_us"].as_u64()
}

fn output(dir: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    read("scenariod.out") + &read("scenariod.err")
}

#[tokio::test]
async fn a_stop_rule_ends_a_run_and_its_fault_within_two_seconds_and_that_is_no_failure() {
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    // A third of the ops fail from the trip on.
    let args = [&LAB[..], &["--stabilization", "3s", "--abort-if", "error_rate > 20% for 1s"]].concat();
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    assert_eq!(scenariod.exit_code(PATIENCE).await, 3, "{}", output(dir.path()));
    let run = &runs(dir.path())[0];
    let verdict = json(&run.join("verdict.json"));
    let why = verdict["stopped"].as_str().unwrap();
    assert!(why.starts_with("--abort-if error_rate > 20% for 1s: ") && why.ends_with(" % seen"), "{why}");
    let text = output(dir.path());
    assert!(text.contains("\nSTOPPED  packet-loss-100-pct  ("), "{text}");
    assert!(text.contains(&format!("\n  stopped: {why}\n")), "{text}");
    let junit = std::fs::read_to_string(run.join("junit.xml")).unwrap();
    assert!(junit.contains("failures=\"0\" errors=\"0\"") && junit.contains("<skipped"), "{junit}");

    let journal = journal(run);
    let at = |state: &str| fault_at(&journal, state).unwrap_or_else(|| panic!("never {state}"));
    let fired = at("removing") - at("acknowledged");
    assert!(fired < 5_000_000, "{fired} µs");
    assert!(at("lifted") - at("removing") < 2_000_000 && at("removed") > at("lifted"));
    let end = &journal.last().unwrap()["record"];
    assert_eq!((&end["status"], &end["clean"]), (&Value::from("stopped"), &Value::from(true)), "{end}");
    assert!(journal.iter().any(|entry| entry["record"]["code"] == "abort-if"));
}

#[tokio::test]
async fn a_client_that_is_not_seen_any_more_stops_the_run() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let binary = binary("scenariod");
    let lab =
        Running::start(&binary, &["--lab", "--lab-ports", "any", "--memcached", "fake"], dirs[0].path());
    let log = |what: &str| {
        let text = output(dirs[0].path());
        text.split_once(what).map(|(_, rest)| rest.split([',', '\n']).next().unwrap().trim().to_owned())
    };
    let mut api = None;
    wait_for("the lab", PATIENCE, async || {
        api = log("fault proxy: API ").filter(|_| log("proxies on ").is_some());
        api.is_some()
    })
    .await;
    let proxies: Value =
        serde_json::from_str(&get(&format!("{}/proxies", api.as_ref().unwrap())).await.unwrap()).unwrap();
    let listen = |n: usize| proxies[format!("memcached{n}")]["listen"].as_str().unwrap().to_owned();
    let servers = (1..=3).map(|n| format!("memcached{n}={}", listen(n))).collect::<Vec<_>>().join(",");
    let port = crate::harness::free_port();
    let metrics = format!("127.0.0.1:{port}");
    let loadgen = Running::start(
        &crate::harness::binary("loadgen"),
        &["--servers", &servers, "--rate", "300", "--metrics-port", &metrics],
        dirs[1].path(),
    );
    let observe = format!("http://{metrics}");
    wait_for("loadgen", PATIENCE, async || get(&format!("{observe}/healthz")).await.is_some()).await;
    let its = format!("127.0.0.1:{}", crate::harness::free_port());
    let args = [
        "--scenario",
        "packet-loss-100-pct",
        "--toxiproxy",
        api.as_ref().unwrap(),
        "--observe",
        &observe,
        "--stabilization",
        "2s",
        "--testing",
        "60s",
        "--blind",
        "2s",
        "--metrics-port",
        &its,
        "--loop",
    ];
    let mut scenariod = Running::start(&binary, &args, dirs[1].path());
    let faulty = async || {
        runs(dirs[1].path()).first().is_some_and(|run| fault_at(&journal(run), "acknowledged").is_some())
    };
    wait_for("the fault", PATIENCE, faulty).await;
    drop(loadgen);
    let killed = tokio::time::Instant::now();
    wait_for("the end of the fault", PATIENCE, async || {
        fault_at(&journal(&runs(dirs[1].path())[0]), "removed").is_some()
    })
    .await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(2 + 3), "{took:?}");
    wait_for("the verdict's metric", PATIENCE, async || {
        let text = get(&format!("http://{its}/metrics")).await.unwrap_or_default();
        metric(&text, "scenario_runs_total{scenario=\"packet-loss-100-pct\",status=\"stopped\"}") == Some(1.0)
    })
    .await;
    scenariod.signal("TERM");
    scenariod.exit_code(PATIENCE).await;
    let why = json(&runs(dirs[1].path())[0].join("verdict.json"))["stopped"].as_str().unwrap().to_owned();
    assert!(why.starts_with("no observations for 2s (--blind)"), "{why}");
    drop(lab);
}

#[tokio::test]
async fn two_jobs_run_at_the_same_time_in_a_folder_each_and_the_suite_says_so() {
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let args = [
        &LAB[..],
        &[
            "--scenario",
            "latency-200ms-1s",
            "--jobs",
            "2",
            "--stabilization",
            "3s",
            "--testing",
            "2s",
            "--recovery",
            "3s",
        ],
    ]
    .concat();
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    let mut suite = Value::Null;
    wait_for("the suite's record", PATIENCE, async || {
        let of = |path: &PathBuf| path.to_string_lossy().ends_with("-suite").then(|| path.join("suite.json"));
        let Some(path) = runs(dir.path()).iter().find_map(of).filter(|path| path.exists()) else {
            return false;
        };
        // Whole at every moment.
        suite = json(&path);
        scenariod.has_ended()
    })
    .await;
    let text = output(dir.path());
    assert_eq!((&suite["jobs"], suite["runs"].as_array().unwrap().len()), (&Value::from(2), 2), "{suite}");
    assert!(suite["ended_ms"].is_u64(), "{suite}");
    let runs = suite["runs"].as_array().unwrap();
    let of = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("scenario"), ["packet-loss-100-pct", "latency-200ms-1s"]);
    let at = |run: usize, key: &str| runs[run][key].as_u64().unwrap();
    let together = at(0, "ended_ms").min(at(1, "ended_ms")) - at(0, "began_ms").max(at(1, "began_ms"));
    assert!(together > 4_000 && at(0, "job") != at(1, "job"), "{suite}");
    let mut proxies = Vec::new();
    for run in runs {
        let folder = dir.path().join("runs").join(run["dir"].as_str().unwrap());
        let journal = journal(&folder);
        let hello = journal.iter().find(|entry| entry["record"]["type"] == "hello").unwrap();
        proxies.extend(hello["record"]["servers"].as_array().unwrap().iter().map(|s| s["addr"].to_string()));
        assert_eq!(journal.last().unwrap()["record"]["clean"], true, "{text}");
        assert_eq!(json(&folder.join("verdict.json"))["scenario"], run["scenario"]);
    }
    // A lab each.
    proxies.sort();
    proxies.dedup();
    assert_eq!(proxies.len(), 6, "{proxies:?}");
    assert!(text.contains("  packet-loss-100-pct\n") && text.contains("2 runs, 0 min"), "{text}");
}

#[tokio::test]
async fn one_scenario_that_does_not_fit_does_not_lose_the_others() {
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let misfit = "name = \"misfit\"\nsuite = \"x\"\ndescription = \"x\"\n[phases]\ntesting = \"1s\"\n[[fault]]\n\
                  target = \"nobody\"\ntype = \"down\"\n";
    let good = misfit.replace("misfit", "good").replace("nobody", "one");
    std::fs::write(dir.path().join("misfit.toml"), misfit).unwrap();
    std::fs::write(dir.path().join("good.toml"), good).unwrap();
    let args = [
        "--lab",
        "--memcached",
        "fake",
        "--rate",
        "300",
        "--scenario-file",
        "misfit.toml",
        "--scenario-file",
        "good.toml",
        "--stabilization",
        "1s",
        "--recovery",
        "1s",
    ];
    let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
    let code = scenariod.exit_code(PATIENCE).await;
    let text = output(dir.path());
    assert!(
        text.contains("ERROR             misfit\n") && text.contains("there is no server \"nobody\""),
        "{text}"
    );
    assert!(runs(dir.path()).iter().any(|run| run.to_string_lossy().ends_with("-good")), "{text}");
    assert_eq!(code, 2, "{text}");
}
