//! A client in another language is judged: it serves the documented stream, and nothing else is asked of it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::architecture::workspace;
use crate::harness::{
    PATIENCE, Running, binary, free_port, judged, real_program, stalled, verdict, wait_for,
};
use crate::scenarios::{lab_port, proxies};

const PHASES: [&str; 6] = ["--stabilization", "12s", "--testing", "11s", "--recovery", "12s"];

/// Starts `source.py` for the proxies of the lab and gives its URL.
async fn source(python: &Path, api: u16, dir: &Path) -> (Running, String) {
    let proxies = proxies(api).await;
    let named =
        (1..=3).map(|n| format!("s{n}={}", proxies[format!("memcached{n}")]["listen"].as_str().unwrap()));
    let servers = named.collect::<Vec<_>>().join(",");
    let script = workspace().join("tests/foreign/source.py").display().to_string();
    let args = [script.as_str(), "--servers", &servers, "--rate", "300"];
    let running = Running::start(&python.to_path_buf(), &args, dir);
    let output = dir.join(format!("{}.out", python.file_name().unwrap().to_string_lossy()));
    let mut url = String::new();
    wait_for("the foreign source", PATIENCE, async || {
        let printed = std::fs::read_to_string(&output).unwrap_or_default();
        url = printed.lines().next().unwrap_or_default().to_owned();
        printed.ends_with('\n')
    })
    .await;
    (running, url)
}

async fn judge(scenario: &str) -> Option<Value> {
    let python = real_program("python3")?;
    let verdict = judged(async || {
        let (lab, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let args = ["--lab", "--lab-ports", "any", "--memcached", "fake"];
        let _lab = Running::start(&binary("scenariod"), &args, lab.path());
        let api = lab_port(lab.path()).await;
        let (_source, observe) = source(&python, api, lab.path()).await;
        let (toxiproxy, metrics) = (format!("http://127.0.0.1:{api}"), format!("127.0.0.1:{}", free_port()));
        let mut args = vec!["--scenario", scenario, "--toxiproxy", &toxiproxy, "--observe", &observe];
        args.extend_from_slice(&["--metrics-port", &metrics]);
        args.extend_from_slice(&PHASES);
        let mut scenariod = Running::start(&binary("scenariod"), &args, run.path());
        scenariod.exit_code(PATIENCE + Duration::from_secs(60)).await;
        let verdict = verdict(run.path());
        (!stalled(&verdict)).then_some(verdict)
    })
    .await;
    Some(verdict)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_another_language_is_judged_by_its_stream_alone() {
    // A timeout, a pool and no breaker: a third of the ops fail while a server hangs, and nothing else may.
    let Some(verdict) = judge("packet-loss-100-pct").await else { return };
    let result = verdict["result"].as_str().unwrap();
    assert!(["pass", "fail"].contains(&result), "{verdict:#}");
    assert_eq!(result, "pass", "it does what a client without a breaker can: {verdict:#}");
    assert!(verdict["client"].as_str().unwrap().starts_with("foreign.py 1"), "{verdict:#}");
    let share = verdict["measures"]["error_share"].as_f64().unwrap();
    assert!((0.25..0.42).contains(&share), "{verdict:#}");
}
