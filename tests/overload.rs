//! `loadgen overload`, and what other programs make of its files.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::architecture::workspace;
use crate::harness::{PATIENCE, Running, binary, get, part_of_the_machine, real_program, wait_for};
use crate::scenarios::{lab_port, proxies};

/// Steps of a second: the shape of a test, not its precision.
const QUICK: [&str; 14] = [
    "--backend",
    "5x20ms",
    "--step-duration",
    "1s",
    "--step",
    "150",
    "--warm-up-steps",
    "2",
    "--latency-threshold",
    "100ms",
    "--op-timeout",
    "1s",
    "--metrics-port",
    "127.0.0.1:0",
];

fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["overload", "--out", out];
    args.extend(QUICK);
    args.extend(more);
    args
}

/// Reads the files with another language's library, and draws them.
fn read(python: &Path, out: &Path, ended: &str) {
    let script = workspace().join("tests/overload/read.py");
    let run = |script: &Path, args: &[&str]| {
        let output = Command::new(python).arg(script).args(args).env("MPLBACKEND", "Agg").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let folder = out.display().to_string();
    run(&script, &[&folder, ended]);
    run(&out.join("visualize.py"), &[]);
    let picture = std::fs::read(out.join("overload.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{} bytes", picture.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_overload_test_wrote_is_read_and_drawn_by_another_language() {
    let Some(python) = real_program("python-pandas") else { return };
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let (out, markers) = (dir.path().join("found"), dir.path().join("found/markers"));
    let (out_name, markers_name) = (out.display().to_string(), markers.display().to_string());
    let applied = dir.path().join("applied");
    let command = format!("echo $OVERLOAD_CRITICAL_RATE > {}", applied.display());
    let args = args(&out_name, &["--marker-dir", &markers_name, "--mitigate", &command]);
    let mut loadgen = Running::start(&binary("loadgen"), &args, dir.path());
    let err = dir.path().join("loadgen.err");
    let mut url = None;
    wait_for("the metrics", PATIENCE, async || {
        let log = std::fs::read_to_string(&err).unwrap_or_default();
        let after = log.split_once("metrics on ").map(|(_, rest)| rest.to_owned());
        url = after.and_then(|rest| rest.split([',', ' ']).next().map(str::to_owned));
        url.is_some()
    })
    .await;
    wait_for("the phase", PATIENCE, async || {
        let text = get(url.as_ref().unwrap()).await.unwrap_or_default();
        text.contains("overload_phase{phase=\"load_increase\"} 1")
    })
    .await;
    assert_eq!(loadgen.exit_code(PATIENCE + Duration::from_secs(30)).await, 0);
    read(&python, &out, "complete");
    let rate: f64 = std::fs::read_to_string(applied).unwrap().trim().parse().unwrap();
    let summary = std::fs::read_to_string(out.join("test_summary.txt")).unwrap();
    assert!(summary.contains(&format!("Critical failure point: {rate:.1} ops/s")), "{summary}");
    assert!(summary.contains("mitigation: applied"), "{summary}");
    // 250/s is what it serves: 50, 200, 350.
    assert_eq!(rate, 350.0, "{summary}");
    let page = std::fs::read_to_string(out.join("overload.html")).unwrap();
    assert!(page.contains("COMPLETE") && page.contains("data-chart=\"workload\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_an_overload_test_with_whole_files() {
    let Some(python) = real_program("python-pandas") else { return };
    for (how, phase) in [("slo", "generator_check"), ("seed", "load_increase")] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("found");
        let out_name = out.display().to_string();
        let mut loadgen =
            Running::start(&binary("loadgen"), &args(&out_name, &["--search", how]), dir.path());
        wait_for(phase, PATIENCE, async || {
            let phases = std::fs::read_to_string(out.join("phase_transitions.csv")).unwrap_or_default();
            phases.contains(&format!(",{phase},"))
        })
        .await;
        loadgen.signal("INT");
        assert_eq!(loadgen.exit_code(PATIENCE).await, 0);
        read(&python, &out, "stopped by a signal");
    }
}

#[tokio::test]
async fn what_is_mistyped_is_refused_before_any_load() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("overload.toml");
    std::fs::write(&file, "step = 10\nsteps = 5\n").unwrap();
    let file = file.display().to_string();
    for (args, told) in [
        (vec!["--config", file.as_str()], "unknown field `steps`"),
        (vec!["--backend", "5x20"], "5x20ms"),
        (vec!["--backend", "null", "--slo-on", "wait"], "a simulated database only"),
        (vec!["--initial-rate", "9000"], "above max_rate"),
        (vec!["--backend", "null", "--servers", "a:1"], "cannot be used with"),
    ] {
        let output = Command::new(binary("loadgen"))
            .arg("overload")
            .args(&args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_memcached_behind_a_narrow_link_gives_a_point_that_is_explained() {
    if real_program("memcached").is_none() {
        return;
    }
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let lab_args = ["--lab", "--lab-ports", "any", "--memcached", "real", "--rate", "1"];
    let _lab = Running::start(&binary("scenariod"), &lab_args, dir.path());
    let api = lab_port(dir.path()).await;
    let listen = proxies(api).await["memcached1"]["listen"].as_str().unwrap().to_owned();
    let toxic = r#"{"type":"bandwidth","stream":"downstream","attributes":{"rate":100}}"#;
    let url = format!("http://127.0.0.1:{api}/proxies/memcached1/toxics");
    let made = reqwest::Client::new().post(&url).body(toxic).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let out = dir.path().join("found");
    let (server, out_name) = (format!("narrow={listen}"), out.display().to_string());
    // The limit is one connection's, so there is one. 100 kB/s are some 95 values a second.
    let args = [
        "overload",
        "--servers",
        &server,
        "--out",
        &out_name,
        "--pipeline",
        "1",
        "--no-breaker",
        "--mix",
        "get=1",
        "--value-size",
        "1000",
        "--keys",
        "100",
        "--ttl",
        "0s",
        "--prefill",
        "--initial-rate",
        "20",
        "--step",
        "40",
        "--step-duration",
        "3s",
        "--warm-up-steps",
        "1",
        "--op-timeout",
        "1s",
        "--metrics-port",
        "127.0.0.1:0",
    ];
    let load_dir = dir.path().join("load");
    std::fs::create_dir(&load_dir).unwrap();
    let mut loadgen = Running::start(&binary("loadgen"), &args, &load_dir);
    let code = loadgen.exit_code(PATIENCE + Duration::from_secs(60)).await;
    let said = std::fs::read_to_string(load_dir.join("loadgen.err")).unwrap();
    assert_eq!(code, 0, "{said}");
    let summary = std::fs::read_to_string(out.join("test_summary.txt")).unwrap();
    let critical = summary.lines().find_map(|line| line.strip_prefix("Critical failure point: ")).unwrap();
    let rate: f64 = critical.split(' ').next().unwrap().parse().unwrap();
    assert!((60.0..=180.0).contains(&rate), "{summary}");
    let from = summary.split_once("That is ").unwrap().1.split(' ').next().unwrap();
    let from: f64 = from.parse().unwrap();
    assert!((50.0..=130.0).contains(&from), "the link is the limit: {summary}");
    assert!(summary.contains("kB/s from the servers") && summary.contains("Mean latency was"), "{summary}");
}
