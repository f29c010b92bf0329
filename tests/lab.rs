//! The one command of the README.

use std::time::Duration;

use crate::harness::{Running, binary};

const SHORT: [&str; 6] = ["--stabilization", "5s", "--testing", "4s", "--recovery", "9s"];

async fn lab(more: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["--lab", "--quick", "--rate", "1500", "--scenario", "packet-loss-100-pct"];
    args.extend_from_slice(&SHORT);
    args.extend_from_slice(more);
    let mut running = Running::start(&binary("scenariod"), &args, dir.path());
    let code = running.exit_code(Duration::from_secs(90)).await;
    (code, std::fs::read_to_string(dir.path().join("scenariod.out")).unwrap())
}

#[tokio::test]
async fn two_labs_side_by_side_give_a_verdict_each_without_any_real_server() {
    let (one, two) =
        tokio::join!(lab(&["--memcached", "fake"]), lab(&["--memcached", "fake", "--on-open", "fail-fast"]));
    for (code, output) in [one, two] {
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("\nPASS  packet-loss-100-pct\n"), "{output}");
        assert!(output.contains("time to trip, memcached1"), "{output}");
    }
}

#[tokio::test]
async fn a_fault_that_does_not_bite_is_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "name = \"blunt\"\nsuite = \"x\"\ndescription = \"nothing\"\n[phases]\ntesting = \"4s\"\n[[fault]]\n\
                    target = \"one\"\ntype = \"loss\"\nloss = \"0.0001%\"\n";
    std::fs::write(dir.path().join("blunt.toml"), scenario).unwrap();
    let mut args = vec!["--lab", "--memcached", "fake", "--rate", "500", "--scenario-file", "blunt.toml"];
    args.extend_from_slice(&SHORT);
    let mut running = Running::start(&binary("scenariod"), &args, dir.path());
    let code = running.exit_code(Duration::from_secs(90)).await;
    let output = std::fs::read_to_string(dir.path().join("scenariod.out")).unwrap();
    assert_eq!(code, 3, "{output}");
    assert!(output.contains("INVALID  blunt: fault-bit"), "{output}");
}
