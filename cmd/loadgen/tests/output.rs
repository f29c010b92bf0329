//! Results that cannot be written: an error of the program, but none of the run's own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use memcached_fake::FakeMemcached;

/// Exit code and standard error of a program whose standard output goes there.
fn told(dir: &Path, args: &[&str], out: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let output = command.args(args).current_dir(dir).stdout(out).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn full() -> Stdio {
    File::create("/dev/full").unwrap().into()
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_cannot_be_written_are_an_error_and_a_reader_that_has_left_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let servers = fake.addr().to_string();
    let run = ["--servers", &servers, "--metrics-port", "127.0.0.1:0", "--duration", "200ms"];
    let logged = told(dir.path(), &[&run[..], &["--op-log", "ops"]].concat(), Stdio::null());
    assert_eq!(logged.0, Some(0), "{}", logged.1);
    let overload = ["overload", "--backend", "null", "--metrics-port", "127.0.0.1:0", "--max-rate", "100"];
    let short = ["--initial-rate", "50", "--step-duration", "200ms", "--warm-up-steps", "1"];
    let overload = [&overload[..], &short].concat();
    for args in [
        &["--help"][..],
        &["--version"],
        &["overload", "--help"],
        &["check-generator", "--rate", "100", "--duration", "100ms"],
        &run,
        &["op-log", "ops"],
        &["op-log", "ops", "--format", "summary"],
        &overload,
    ] {
        let (code, text) = told(dir.path(), args, full());
        assert_eq!(code, Some(4), "{args:?}: {text}");
        assert_eq!(text.matches("standard output: No space left on device").count(), 1, "{args:?}: {text}");
        let (code, text) = told(dir.path(), args, closed_pipe());
        assert_eq!(code, Some(0), "{args:?}: {text}");
        assert!(!text.contains("standard output") && !text.contains("panicked"), "{args:?}: {text}");
    }
}

#[test]
fn the_exit_code_of_a_failure_survives_an_output_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("none"), "no log").unwrap();
    for out in [full(), closed_pipe()] {
        let (code, text) = told(dir.path(), &["op-log", "none"], out);
        assert_eq!(code, Some(2), "{text}");
    }
}

#[test]
fn more_connections_than_open_files_are_a_usage_error_before_the_run() {
    let command = "ulimit -n 128; exec \"$0\" --servers 127.0.0.1:1 --concurrency 1000 --pool-size 1000";
    let output = Command::new("sh").args(["-c", command, env!("CARGO_BIN_EXE_loadgen")]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in ["--pool-size 1000 for each of 1 servers", "1064 open files", "may have 128", "ulimit -Hn"] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
