//! The two binaries against real memcached, through the embedded proxy and through a real Toxiproxy.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    PATIENCE, Running, binary, free_port, get, judged, metric, part_of_the_machine, real_program, stalled,
    verdict, wait_for,
};

/// Phases of these tests: long enough for a baseline of three seconds and a recovery after an open time of one.
const PHASES: [&str; 6] = ["--stabilization", "10s", "--testing", "4s", "--recovery", "10s"];

/// Everything that stands around the two binaries, on free ports.
pub struct World {
    pub dir: tempfile::TempDir,
    api: u16,
    pub proxies: Vec<u16>,
    _running: Vec<Running>,
}

/// Who carries the faults.
#[derive(Clone, Copy, PartialEq)]
pub enum Proxy {
    Embedded,
    Real,
}

impl World {
    /// Three real memcached behind proxies `memcached1..3`; `None` where a real program is missing.
    pub async fn start(proxy: Proxy) -> Option<Self> {
        let memcached = real_program("memcached")?;
        let toxiproxy = real_program("toxiproxy-server")?;
        let dir = tempfile::tempdir().unwrap();
        let mut running = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let args = ["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody"];
            running.push(Running::start(&memcached, &args, dir.path()));
            servers.push(port);
        }
        let api = match proxy {
            Proxy::Real => {
                let api = free_port();
                let args = ["-host", "127.0.0.1", "-port", &api.to_string()];
                running.push(Running::start(&toxiproxy, &args, dir.path()));
                api
            }
            // The embedded server is part of `scenariod --lab`; its API port is in the log.
            Proxy::Embedded => {
                let args = ["--lab", "--lab-ports", "any", "--memcached", "real"];
                running.push(Running::start(&binary("scenariod"), &args, dir.path()));
                lab_port(dir.path()).await
            }
        };
        wait_for("Toxiproxy", PATIENCE, async || {
            get(&format!("http://127.0.0.1:{api}/version")).await.is_some()
        })
        .await;
        if proxy == Proxy::Real {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            for (n, server) in servers.iter().enumerate() {
                let body = serde_json::json!({"name": format!("memcached{}", n + 1), "listen": "127.0.0.1:0",
                    "upstream": format!("127.0.0.1:{server}")});
                let url = format!("http://127.0.0.1:{api}/proxies");
                assert_eq!(client.post(url).json(&body).send().await.unwrap().status(), 201);
            }
        }
        let proxies = proxies(api).await;
        let listen = |n: usize| {
            let listen = proxies[format!("memcached{n}")]["listen"].as_str().unwrap().to_owned();
            listen.rsplit(':').next().unwrap().parse().unwrap()
        };
        let proxies = (1..=3).map(listen).collect();
        Some(Self { dir, api, proxies, _running: running })
    }

    /// loadgen in an open loop, and its URL.
    pub async fn loadgen(&self, more: &[&str]) -> (Running, String) {
        let port = free_port();
        let named =
            self.proxies.iter().enumerate().map(|(n, port)| format!("memcached{}=127.0.0.1:{port}", n + 1));
        let servers = named.collect::<Vec<_>>().join(",");
        let metrics = format!("127.0.0.1:{port}");
        let mut args =
            vec!["--servers", &servers, "--rate", "1500", "--breaker-open", "1s", "--metrics-port", &metrics];
        args.extend_from_slice(more);
        let running = Running::start(&binary("loadgen"), &args, self.dir.path());
        let url = format!("http://{metrics}");
        wait_for("loadgen", PATIENCE, async || get(&format!("{url}/healthz")).await.is_some()).await;
        (running, url)
    }

    pub fn scenariod(&self, scenario: &str, observe: &str, more: &[&str]) -> (Running, String) {
        self.scenariod_with(scenario, observe, &[&PHASES, more].concat())
    }

    /// scenariod with phases of its own, and its URL.
    pub fn scenariod_with(&self, scenario: &str, observe: &str, more: &[&str]) -> (Running, String) {
        let metrics = format!("127.0.0.1:{}", free_port());
        let toxiproxy = format!("http://127.0.0.1:{}", self.api);
        let mut args = vec!["--scenario", scenario, "--toxiproxy", &toxiproxy, "--observe", observe];
        args.extend_from_slice(&["--metrics-port", &metrics]);
        args.extend_from_slice(more);
        (Running::start(&binary("scenariod"), &args, self.dir.path()), format!("http://{metrics}"))
    }

    /// Names of all toxics that are there, and whether every proxy is enabled.
    async fn toxics(&self) -> (Vec<String>, bool) {
        let proxies = proxies(self.api).await;
        let all: Vec<&Value> = proxies.as_object().unwrap().values().collect();
        let toxics = all.iter().flat_map(|proxy| proxy["toxics"].as_array().unwrap().iter());
        let names = toxics.map(|toxic| toxic["name"].as_str().unwrap().to_owned()).collect();
        (names, all.iter().all(|proxy| proxy["enabled"] == true))
    }

    pub fn output(&self, program: &str) -> String {
        let read =
            |kind: &str| std::fs::read_to_string(self.dir.path().join(format!("{program}.{kind}"))).unwrap();
        format!("{}\n{}", read("out"), read("err"))
    }

    pub fn verdict(&self) -> Value {
        verdict(self.dir.path())
    }
}

/// All proxies, by name.
pub async fn proxies(api: u16) -> Value {
    serde_json::from_str(&get(&format!("http://127.0.0.1:{api}/proxies")).await.unwrap()).unwrap()
}

/// The API port of a `scenariod --lab`, from its log.
pub async fn lab_port(dir: &Path) -> u16 {
    let mut port = None;
    wait_for("the lab's log", PATIENCE, async || {
        let log = std::fs::read_to_string(dir.join("scenariod.err")).unwrap_or_default();
        let after = log.split_once("API http://127.0.0.1:").map(|(_, rest)| rest.to_owned());
        port = after.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        port.is_some()
    })
    .await;
    port.unwrap()
}

/// What the two metrics endpoints showed while a scenario ran.
#[derive(Default, Debug)]
struct Seen {
    phases: Vec<i64>,
    toxics: Vec<(String, bool)>,
    states: [Vec<i64>; 3],
    goodput_in_testing: Vec<f64>,
    error_rate: Vec<f64>,
}

/// Looks 20 times a second until the scenario is idle again, ends its loop, and gives the exit code.
async fn watch(scenario: &str, scenariod: &mut Running, its: &str, loadgen: &str) -> (i32, Seen) {
    let mut seen = Seen::default();
    let phase_series = format!("scenario_phase{{scenario=\"{scenario}\"}}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while !scenariod.has_ended() && !seen.phases.ends_with(&[3, 0]) {
        assert!(tokio::time::Instant::now() < deadline, "the scenario does not end: {seen:?}");
        if let Some(text) = get(&format!("{its}/metrics")).await {
            let phase = metric(&text, &phase_series).unwrap_or(-1.0) as i64;
            if seen.phases.last() != Some(&phase) {
                seen.phases.push(phase);
            }
            for line in text.lines().filter(|line| line.starts_with("toxiproxy_toxic_active{")) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let entry = (series.to_owned(), value == "1");
                if !seen.toxics.contains(&entry) {
                    seen.toxics.push(entry);
                }
            }
        }
        if let Some(text) = get(&format!("{loadgen}/metrics")).await {
            for n in 0..3 {
                let state = metric(
                    &text,
                    &format!("memcache_circuit_breaker_state{{server=\"memcached{}\"}}", n + 1),
                );
                let state = state.unwrap() as i64;
                if seen.states[n].last() != Some(&state) {
                    seen.states[n].push(state);
                }
            }
            if seen.phases.last() == Some(&2) {
                seen.goodput_in_testing
                    .push(metric(&text, "memcache_goodput_operations_per_second").unwrap());
            }
            seen.error_rate.push(metric(&text, "memcache_error_rate").unwrap());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if !scenariod.has_ended() {
        scenariod.signal("TERM");
    }
    (scenariod.exit_code(PATIENCE).await, seen)
}

async fn run_and_judge(proxy: Proxy, scenario: &str, trips: bool, toxic: &str, loadgen_flags: &[&str]) {
    let ran = judged(async || {
        let Some(world) = World::start(proxy).await else { return Some(None) };
        let (loadgen, url) = world.loadgen(loadgen_flags).await;
        // In a loop, so that the endpoint is still there when the phase is 0 again.
        let (mut scenariod, its) = world.scenariod(scenario, &url, &["--loop"]);
        let (code, seen) = watch(scenario, &mut scenariod, &its, &url).await;
        (!stalled(&world.verdict())).then_some(Some((world, loadgen, code, seen)))
    });
    let Some((world, mut loadgen, code, seen)) = ran.await else { return };
    let output = world.output("scenariod");
    assert_eq!(code, 0, "{output}");
    assert_eq!(world.verdict()["result"], "pass");

    assert!(seen.phases.ends_with(&[1, 2, 3, 0]), "{seen:?}");
    let series = format!("toxiproxy_toxic_active{{server=\"memcached1\",type=\"{toxic}\"}}");
    assert!(seen.toxics.contains(&(series.clone(), true)), "{seen:?}");
    assert!(seen.toxics.contains(&(series, false)), "{seen:?}");
    assert!(seen.toxics.iter().all(|(series, _)| series.contains("memcached1")), "{seen:?}");
    assert_eq!(seen.states[0].contains(&2), trips, "{seen:?}");
    assert_eq!((&seen.states[1], &seen.states[2]), (&vec![0], &vec![0]), "{seen:?}");
    assert_eq!(seen.states[0].last(), Some(&0), "{seen:?}");
    // The other two servers have about two thirds of 1500 ops/s.
    assert!(seen.goodput_in_testing.iter().skip(2).all(|goodput| *goodput > 700.0), "{seen:?}");
    assert_eq!(seen.error_rate.last(), Some(&0.0));
    assert_eq!(world.toxics().await, (vec![], true));

    loadgen.signal("INT");
    assert_eq!(loadgen.exit_code(PATIENCE).await, 0);
    let summary = world.output("loadgen");
    assert!(summary.contains("0 wrong values") && summary.contains("p99.9"), "{summary}");
}

#[tokio::test]
async fn packet_loss_100_pct_through_the_embedded_proxy() {
    run_and_judge(Proxy::Embedded, "packet-loss-100-pct", true, "loss", &[]).await;
}

#[tokio::test]
async fn packet_loss_100_pct_through_a_real_toxiproxy_under_its_honest_name() {
    run_and_judge(Proxy::Real, "packet-loss-100-pct", true, "bandwidth", &[]).await;
}

// 200 ms at a third of 300 ops/s keep 20 connections busy: the pool is not the limit here.
#[tokio::test]
async fn latency_200ms_1s_through_the_embedded_proxy() {
    run_and_judge(Proxy::Embedded, "latency-200ms-1s", false, "latency", &["--pool-size", "256"]).await;
}

#[tokio::test]
async fn latency_200ms_1s_through_a_real_toxiproxy() {
    run_and_judge(Proxy::Real, "latency-200ms-1s", false, "latency", &["--pool-size", "256"]).await;
}

#[tokio::test]
async fn the_other_driver_goes_through_the_same_scenario() {
    let _machine = part_of_the_machine().await;
    let Some(world) = World::start(Proxy::Embedded).await else { return };
    let (_loadgen, url) = world.loadgen(&["--driver", "memcache-async"]).await;
    let (mut scenariod, its) = world.scenariod("packet-loss-100-pct", &url, &["--loop"]);
    let (code, seen) = watch("packet-loss-100-pct", &mut scenariod, &its, &url).await;
    let verdict = world.verdict();
    // Its unacknowledged writes hide the fault from the breaker's count of timeouts in a row, so a verdict of either
    // kind is right; a wrong value, an invalid run or a leftover is not.
    assert!([0, 1].contains(&code) || stalled(&verdict), "{}", world.output("scenariod"));
    assert!(verdict["client"].as_str().unwrap().contains("memcache-async"), "{verdict}");
    assert_eq!(verdict["measures"]["wrong_values"], 0);
    assert!(seen.phases.ends_with(&[1, 2, 3, 0]), "{seen:?}");
    assert_eq!(world.toxics().await, (vec![], true));
}

async fn terminated_in_each_phase(proxy: Proxy) {
    let _machine = part_of_the_machine().await;
    let Some(world) = World::start(proxy).await else { return };
    let (_loadgen, url) = world.loadgen(&[]).await;
    for (phase, signal) in [(1, "TERM"), (2, "TERM"), (3, "TERM"), (2, "INT")] {
        let (mut scenariod, its) = world.scenariod("packet-loss-100-pct", &url, &[]);
        wait_for(&format!("phase {phase}"), PATIENCE, async || {
            let text = get(&format!("{its}/metrics")).await.unwrap_or_default();
            metric(&text, "scenario_phase{scenario=\"packet-loss-100-pct\"}") == Some(f64::from(phase))
        })
        .await;
        if phase == 2 {
            wait_for("the toxic", PATIENCE, async || !world.toxics().await.0.is_empty()).await;
        }
        scenariod.signal(signal);
        // Stopped is not failed, and never a pass.
        assert_eq!(scenariod.exit_code(PATIENCE).await, 3, "{}", world.output("scenariod"));
        assert_eq!(world.toxics().await, (vec![], true), "after SIG{signal} in phase {phase}");
        assert_eq!(world.verdict()["result"].as_str().map(|r| r == "pass"), Some(false));
        wait_for("breakers to close", PATIENCE, async || {
            let text = get(&format!("{url}/metrics")).await.unwrap();
            metric(&text, "memcache_circuit_breaker_state{server=\"memcached1\"}") == Some(0.0)
        })
        .await;
    }
}

#[tokio::test]
async fn a_signal_in_any_phase_leaves_nothing_behind_on_the_embedded_proxy() {
    terminated_in_each_phase(Proxy::Embedded).await;
}

#[tokio::test]
async fn a_signal_in_any_phase_leaves_nothing_behind_on_a_real_toxiproxy() {
    terminated_in_each_phase(Proxy::Real).await;
}

#[tokio::test]
async fn loadgen_outlives_all_its_servers_and_the_error_rate_is_back_in_two_seconds() {
    let _machine = part_of_the_machine().await;
    let Some(world) = World::start(Proxy::Real).await else { return };
    let (mut loadgen, url) = world.loadgen(&[]).await;
    let rate =
        async || metric(&get(&format!("{url}/metrics")).await.unwrap(), "memcache_error_rate").unwrap();
    let switch = async |enabled: bool| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for n in 1..=3 {
            let url = format!("http://127.0.0.1:{}/proxies/memcached{n}", world.api);
            client.post(url).json(&serde_json::json!({"enabled": enabled})).send().await.unwrap();
        }
    };
    wait_for("healthy load", PATIENCE, async || rate().await == 0.0).await;
    switch(false).await;
    wait_for("errors", PATIENCE, async || rate().await > 0.9).await;
    switch(true).await;
    // Errors end when the breakers have closed; two seconds after the last one the rate is 0.
    let errors = async || {
        metric(&get(&format!("{url}/metrics")).await.unwrap(), "memcache_operations_total{status=\"error\"}")
            .unwrap()
    };
    let mut last = (errors().await, tokio::time::Instant::now());
    wait_for("an error rate of 0", PATIENCE, async || {
        let (rate, now) = (rate().await, errors().await);
        if now > last.0 {
            last = (now, tokio::time::Instant::now());
        }
        rate == 0.0
    })
    .await;
    assert!(last.1.elapsed() <= Duration::from_secs(2), "{:?} after the last error", last.1.elapsed());
    assert!(!loadgen.has_ended());
}
