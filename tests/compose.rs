//! The compose files, started with Podman: both profiles, and memcached on another host. Grafana is left out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::architecture::workspace;
use crate::deployment::yaml;
use crate::harness::{PATIENCE, Running, becomes_true, binary, get, judged, stalled, verdict, wait_for};

mod podman;
use podman::Podman;

/// All services but Grafana, whose image cannot be made of Debian's packages.
const WITHOUT_GRAFANA: [&str; 6] =
    ["memcached1", "memcached2", "memcached3", "setup", "toxiproxy", "prometheus"];
const SERVERS: [&str; 3] = ["memcached1", "memcached2", "memcached3"];
/// Long enough for a baseline of three seconds and a recovery after an open time of five.
const PHASES: [&str; 3] = ["--stabilization=10s", "--testing=4s", "--recovery=15s"];
/// What a busy machine keeps up: the goodput of a closed loop follows the load of the neighbours.
const RATE: &str = "--rate=1500";
const SCENARIO: &str = "packet-loss-100-pct";
/// One run with these phases, and the report.
const RUN: Duration = Duration::from_secs(90);
const PROMETHEUS: &str = "http://127.0.0.1:9091";

/// loadgen on the host, where the proxies and Prometheus look for it by default.
async fn loadgen(dir: &Path) -> Running {
    let running = Running::start(&binary("loadgen"), &[RATE], dir);
    wait_for("loadgen", PATIENCE, async || get("http://127.0.0.1:9090/healthz").await.is_some()).await;
    running
}

/// A scenario with both programs on the host gives PASS, and Prometheus reads both meanwhile.
async fn passes_from_the_host() {
    judged(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut loadgen = loadgen(dir.path()).await;
        let args = [&["--scenario", SCENARIO], PHASES.as_slice()].concat();
        let mut scenariod = Running::start(&binary("scenariod"), &args, dir.path());
        wait_for("both programs to be scraped on the host", PATIENCE, async || {
            up().await
                == [
                    ("loadgen".to_owned(), "host:9090".to_owned()),
                    ("scenariod".to_owned(), "host:9092".to_owned()),
                ]
        })
        .await;
        let code = scenariod.exit_code(RUN).await;
        loadgen.signal("TERM");
        assert_eq!(loadgen.exit_code(PATIENCE).await, 0);
        let said = std::fs::read_to_string(dir.path().join("scenariod.err")).unwrap();
        let verdict = verdict(dir.path());
        let void = code != 0 && stalled(&verdict);
        assert!(void || (code, &verdict["result"]) == (0, &json!("pass")), "{code}: {verdict}\n{said}");
        (!void).then_some(())
    })
    .await;
}

/// Targets of Prometheus that are up, as job and instance.
async fn up() -> Vec<(String, String)> {
    let Some(answer) = get(&format!("{PROMETHEUS}/api/v1/targets")).await else { return Vec::new() };
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let targets = answer["data"]["activeTargets"].as_array().unwrap().iter();
    let text = |target: &Value, label: &str| target["labels"][label].as_str().unwrap().to_owned();
    let up = targets.filter(|target| target["health"] == "up");
    let mut up: Vec<_> = up.map(|target| (text(target, "job"), text(target, "instance"))).collect();
    up.sort();
    up
}

/// What the proxies memcached1..3 lead to.
async fn upstreams() -> [String; 3] {
    let proxies: Value = serde_json::from_str(&get("http://127.0.0.1:8474/proxies").await.unwrap()).unwrap();
    SERVERS.map(|name| proxies[name]["upstream"].as_str().unwrap_or("no proxy").to_owned())
}

#[tokio::test]
async fn by_default_the_stack_comes_up_gives_pass_to_programs_on_the_host_and_leaves_nothing() {
    let Some(podman) = Podman::ready().await else { return };
    let stack = podman.up("default", &workspace(), &["docker-compose.yml"], &[], &WITHOUT_GRAFANA).await;
    stack.is_healthy(&["memcached1", "memcached2", "memcached3", "prometheus", "toxiproxy"]).await;
    assert_eq!(upstreams().await, ["memcached1:11211", "memcached2:11212", "memcached3:11213"]);
    passes_from_the_host().await;
    stack.down().await;
}

/// The shipped file, and the flags that make its endless runs short.
fn short_runs(dir: &Path) -> PathBuf {
    let mut services = yaml("docker-compose.yml")["services"].clone();
    let mut with = |service: &str, flags: &[&str]| {
        let mut command = services[service]["command"].take().as_array().unwrap().clone();
        command.extend(flags.iter().map(|flag| json!(flag)));
        json!({"command": command})
    };
    let short =
        json!({"services": {"loadgen": with("loadgen", &[RATE]), "scenariod": with("scenariod", &PHASES)}});
    let file = dir.join("short-runs.yml");
    std::fs::write(&file, short.to_string()).unwrap();
    file
}

#[tokio::test]
async fn the_full_profile_comes_up_gives_pass_in_its_containers_and_leaves_nothing() {
    let Some(podman) = Podman::ready().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let short = short_runs(dir.path());
    let files = ["docker-compose.yml", short.to_str().unwrap()];
    let services = [WITHOUT_GRAFANA.as_slice(), &["loadgen", "scenariod"]].concat();
    let stack = podman.up("full", &workspace(), &files, &[("SCENARIO", SCENARIO)], &services).await;
    let healthy =
        ["loadgen", "memcached1", "memcached2", "memcached3", "prometheus", "scenariod", "toxiproxy"];
    stack.is_healthy(&healthy).await;
    wait_for("both containers to be scraped", PATIENCE, async || {
        up().await == ["loadgen", "scenariod"].map(|name| (name.to_owned(), name.to_owned()))
    })
    .await;
    let mut seen = 0;
    judged(async || {
        wait_for("the next verdict", RUN, async || {
            let metrics = get("http://127.0.0.1:19092/metrics").await.unwrap_or_default();
            let ended = metrics.lines().filter(|line| line.starts_with("scenario_runs_total{"));
            let ended: f64 = ended.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
            ended as usize > seen
        })
        .await;
        seen += 1;
        stack.copy("scenariod:/runs", dir.path());
        let verdict = verdict(dir.path());
        let void = verdict["result"] != "pass" && stalled(&verdict);
        assert!(void || verdict["result"] == "pass", "{verdict}\n{}", stack.logs("scenariod"));
        (!void).then_some(())
    })
    .await;
    stack.down().await;
}

#[tokio::test]
async fn memcached_on_another_host_needs_one_file_there_and_none_of_our_own_servers_here() {
    let Some(podman) = Podman::ready().await else { return };
    // The address that this machine would use outwards takes the place of the other host. Connecting sends nothing.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").expect("a route, whose address of this machine containers can reach");
    let address = socket.local_addr().unwrap().ip().to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = "docker-compose-memcache.yml";
    std::fs::copy(workspace().join(file), elsewhere.path().join(file)).unwrap();
    let remote = podman.up("remote", elsewhere.path(), &[file], &[("MEMCACHE_BIND", &address)], &[]).await;
    remote.is_healthy(&SERVERS).await;

    let env = [("MEMCACHE_HOST", address.as_str())];
    let local =
        podman.up("local", &workspace(), &["docker-compose.yml"], &env, &["toxiproxy", "prometheus"]).await;
    local.is_healthy(&["prometheus", "toxiproxy"]).await;
    assert_eq!(upstreams().await, [11_211, 11_212, 11_213].map(|port| format!("{address}:{port}")));
    passes_from_the_host().await;
    local.down().await;
    remote.down().await;
}
