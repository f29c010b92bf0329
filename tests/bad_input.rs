//! Bad input: one clear line, the right exit code, no panic.

use std::process::{Command, Output};

use crate::harness::{binary, free_port};

fn run(program: &str, args: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("bad.toml"),
        "name = \"x\"\nsuite = \"s\"\ndescription = \"d\"\n[phases]\ntesting = \"40\"\n[[fault]]\ntarget = \"one\"\ntype = \"down\"\n",
    )
    .unwrap();
    let Output { status, stdout, stderr } =
        Command::new(binary(program)).args(args).current_dir(dir.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    (status.code().unwrap(), text)
}

/// Exit code, and words that the message must have.
fn expect(program: &str, args: &[&str], code: i32, words: &[&str]) {
    let (got, text) = run(program, args);
    assert_eq!(got, code, "{program} {args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{program} {args:?}: {word:?} is not in: {text}");
    }
}

#[test]
fn usage_errors_are_2_and_say_what_to_do() {
    expect("scenariod", &["--scenario", "packet-los-100-pct"], 2, &["did you mean \"packet-loss-100-pct\""]);
    expect("scenariod", &["--scenario", "x-*"], 2, &["no scenario fits", "--list"]);
    expect("scenariod", &["--scenario", "all", "--jobs", "2"], 2, &["--jobs 2 needs --lab", "a world each"]);
    expect(
        "scenariod",
        &["--abort-if", "error_rte > 5%"],
        2,
        &["column 1", "did you mean \"error_rate\"?", "p999"],
    );
    expect("scenariod", &["--blind", "10ms"], 2, &["--blind", "at least 1s"]);
    expect("scenariod", &[], 2, &["--scenario", "--lab"]);
    let bad = ["bad.toml, line 5, column 11: testing: expected a duration with its unit"];
    expect("scenariod", &["--scenario-file", "bad.toml"], 2, &bad);
    expect("scenariod", &["--scenario-file", "missing.toml"], 2, &["missing.toml", "No such file"]);
    expect(
        "scenariod",
        &["--lab", "--servers", "0", "--scenario", "all", "--metrics-port", "0"],
        2,
        &["1 to 64 servers"],
    );
    expect(
        "scenariod",
        &["--scenario", "all", "--toxiproxy", "nonsense", "--metrics-port", "0"],
        2,
        &["nonsense"],
    );
    expect("scenariod", &["--nonsense"], 2, &["--nonsense"]);
    expect(
        "loadgen",
        &["--workload", "mixd", "--servers", "127.0.0.1:1", "--wait", "0s", "--metrics-port", "0"],
        2,
        &["mixed"],
    );
    expect("loadgen", &["--servers", "nonsense"], 2, &["nonsense", "HOST:PORT"]);
    expect("loadgen", &["--rate", "fast"], 2, &["--rate"]);
    expect("loadgen", &["--op-timeout", "250"], 2, &["--op-timeout", "time unit"]);
    expect("loadgen", &["--metrics-port", "x"], 2, &[":PORT"]);
    expect("loadgen", &["--pool-size", "0", "--metrics-port", "0"], 2, &["pool.max"]);
    expect("loadgen", &["--keys", "1000000000"], 2, &["1000000000 keys would take", "MiB is the limit"]);
    expect("loadgen", &["--concurrency", "1000000000"], 2, &["--concurrency", "MiB is the limit"]);
    expect("loadgen", &["--keys", "5", "--hot-keys", "6"], 2, &["--hot-keys 6"]);
    expect("loadgen", &["--ttl", "60d"], 2, &["60.0 days", "30 days"]);
}

#[test]
fn missing_infrastructure_is_4_and_says_what_to_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    expect("loadgen", &["--metrics-port", &taken], 4, &[&taken, "--metrics-port"]);
    expect("scenariod", &["--scenario", "all", "--metrics-port", &taken], 4, &[&taken, "--metrics-port"]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let args = ["--scenario", "all", "--toxiproxy", &nobody, "--wait", "0s", "--metrics-port", "127.0.0.1:0"];
    expect("scenariod", &args, 4, &["no Toxiproxy at", "scenariod --lab", "docker compose up -d"]);
    let server = format!("127.0.0.1:{}", free_port());
    let args = ["--servers", &server, "--wait", "300ms", "--metrics-port", "127.0.0.1:0"];
    expect("loadgen", &args, 4, &["no server answered", &server, "scenariod --lab"]);
}

#[test]
fn help_and_list_go_to_standard_output() {
    let (code, text) = run("scenariod", &["--list"]);
    assert_eq!(code, 0);
    for word in [
        "packet-loss\n",
        "latency\n",
        "multi-failure\n",
        "packet-loss-100-pct",
        "latency-200ms-2m",
        "fault     1m",
    ] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    for program in ["loadgen", "scenariod"] {
        assert!(run(program, &["--help"]).1.contains("Exit codes:"));
    }
}
