//! The one command of the README.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{
    PATIENCE, Running, binary, judged, part_of_the_machine, real_program, stalled, verdict, wait_for,
};

const SHORT: [&str; 6] = ["--stabilization", "10s", "--testing", "4s", "--recovery", "10s"];

struct Ended {
    code: i32,
    output: String,
    verdict: serde_json::Value,
}

async fn lab(dir: &Path, args: &[&str]) -> Ended {
    let args = [&["--lab", "--memcached", "fake"], args, &SHORT].concat();
    let mut running = Running::start(&binary("scenariod"), &args, dir);
    let code = running.exit_code(Duration::from_secs(90)).await;
    let output = std::fs::read_to_string(dir.join("scenariod.out")).unwrap();
    Ended { code, output, verdict: verdict(dir) }
}

#[tokio::test]
async fn two_labs_side_by_side_give_a_verdict_each_without_any_real_server() {
    let ended = judged(async || {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let args = ["--quick", "--verbose", "--rate", "600", "--scenario", "packet-loss-100-pct"];
        let fail_fast = [&args[..], &["--on-open", "fail-fast"]].concat();
        let (one, two) = tokio::join!(lab(one.path(), &args), lab(two.path(), &fail_fast));
        (!stalled(&one.verdict) && !stalled(&two.verdict)).then_some([one, two])
    });
    for Ended { code, output, .. } in ended.await {
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("\nPASS  packet-loss-100-pct\n"), "{output}");
        assert!(output.contains("time to trip (TTT), memcached1"), "{output}");
    }
}

#[tokio::test]
async fn a_fault_that_does_not_bite_is_invalid() {
    let scenario = "name = \"blunt\"\nsuite = \"x\"\ndescription = \"nothing\"\n[phases]\ntesting = \"4s\"\n[[fault]]\n\
                    target = \"one\"\ntype = \"loss\"\nloss = \"0.0001%\"\n";
    let ended = judged(async || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blunt.toml"), scenario).unwrap();
        let ended = lab(dir.path(), &["--rate", "500", "--scenario-file", "blunt.toml"]).await;
        (!stalled(&ended.verdict)).then_some(ended)
    });
    let Ended { code, output, .. } = ended.await;
    assert_eq!(code, 3, "{output}");
    assert!(
        output.contains("INVALID  blunt  (") && output.contains("INVALID  The fault was there"),
        "{output}"
    );
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

#[tokio::test]
async fn ctrl_c_in_a_terminal_ends_a_run_with_its_fault_taken_away() {
    let Some(_) = real_program("memcached") else { return };
    let _machine = part_of_the_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let scenariod = binary("scenariod").display().to_string();
    let args = [&scenariod, "--lab", "--quick", "--memcached", "real", "--scenario", "packet-loss-100-pct"];
    // A group of its own, which all that it starts are born into.
    let mut run = Running::start(&PathBuf::from("setsid"), &args, dir.path());
    let journal = || {
        let run = std::fs::read_dir(dir.path().join("runs")).ok()?.next()?.ok()?;
        std::fs::read_to_string(run.path().join("journal.jsonl")).ok()
    };
    wait_for("the fault", PATIENCE, async || journal().is_some_and(|text| text.contains("\"acknowledged\"")))
        .await;
    run.signal_group("INT");
    let said = || std::fs::read_to_string(dir.path().join("setsid.err")).unwrap();
    assert_eq!(run.exit_code(PATIENCE).await, 3, "{}", said());
    assert!(journal().unwrap().contains("\"removed\""));
    let said = said();
    assert!(!said.contains("ERROR"), "{said}");
}
