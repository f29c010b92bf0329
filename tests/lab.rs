//! The one command of the README.

use std::time::Duration;

use crate::harness::{PATIENCE, Running, binary, real_program, wait_for};

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

#[tokio::test]
async fn a_killed_lab_takes_its_servers_with_it() {
    if real_program("memcached").is_none() || real_program("setpriv").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lab = Running::start(
        &binary("scenariod"),
        &["--lab", "--lab-ports", "any", "--memcached", "real"],
        dir.path(),
    );
    let mut servers: Vec<std::net::SocketAddr> = Vec::new();
    wait_for("three servers", PATIENCE, async || {
        let log = std::fs::read_to_string(dir.path().join("scenariod.err")).unwrap_or_default();
        let listed = log.split_once("3 real memcached: [").and_then(|(_, rest)| rest.split_once(']'));
        servers = listed
            .map_or(Vec::new(), |(list, _)| list.split(", ").filter_map(|addr| addr.parse().ok()).collect());
        servers.len() == 3
    })
    .await;
    lab.signal("KILL");
    wait_for("the servers to die", PATIENCE, async || {
        servers.iter().all(|addr| std::net::TcpStream::connect(addr).is_err())
    })
    .await;
}
