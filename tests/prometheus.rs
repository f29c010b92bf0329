//! A real Prometheus with the shipped configuration, rules and alerts, beside both binaries: what dashboards and alerts ask for is
//! there, and is what the journal tells.

mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use observation::journal::Journal;
use observation::{PhaseKind, Record};
use serde_json::Value;

use crate::dashboards::{annotations, dashboards, queries, substitute};
use crate::deployment::yaml;
use crate::harness::{
    PATIENCE, Running, becomes_true, binary, free_port, get, judged, metric, stalled, wait_for,
};
use crate::metrics_docs::lint;
use crate::scenarios::{Proxy, World};
use server::{Prometheus, points};

/// Length of a tick of the journal.
const TICK_S: f64 = 0.1;
const SCENARIO: &str = "packet-loss-100-pct";

/// Queries that may be empty in a healthy run, and why. Their panels have others that are not.
const MAY_BE_EMPTY: &[(&str, &str, &str)] = &[];

/// Panels that are empty until the first run is judged, and why.
const AFTER_THE_VERDICT: &[(&str, &str)] =
    &[("Rules of the last runs", "there is no verdict"), ("Recovery", "there was no recovery")];

/// What the journal of the run says, in Unix seconds.
struct Told {
    /// Each phase and its begin.
    phases: Vec<(PhaseKind, f64)>,
    end: f64,
    /// Ends of ticks, and the ops that succeeded in them.
    goodput: Vec<(f64, u64)>,
}

fn told(world: &World) -> Told {
    let runs = std::fs::read_dir(world.dir.path().join("runs")).unwrap();
    let dir: PathBuf =
        runs.map(|run| run.unwrap().path()).filter(|run| run.join("journal.jsonl").exists()).max().unwrap();
    let journal = Journal::read(&dir).unwrap();
    let wall = journal.entries.iter().find_map(|entry| match &entry.record {
        Record::Run(run) => Some(run.wall_ms as f64 / 1e3),
        _ => None,
    });
    let wall = wall.unwrap();
    let mut told = Told { phases: Vec::new(), end: f64::MAX, goodput: Vec::new() };
    for entry in &journal.entries {
        let at = wall + entry.at_us as f64 / 1e6;
        match &entry.record {
            Record::Phase(phase) => told.phases.push((phase.phase, wall + phase.at_us as f64 / 1e6)),
            Record::End(end) => told.end = wall + end.at_us as f64 / 1e6,
            Record::Tick(tick) => {
                told.goodput.push((at, tick.servers.iter().map(|server| server.ops.ok()).sum()))
            }
            _ => {}
        }
    }
    told
}

impl Told {
    fn phase_at(&self, at: f64) -> PhaseKind {
        match self.phases.iter().rev().find(|(_, begin)| *begin <= at) {
            Some((phase, _)) if at < self.end => *phase,
            _ => PhaseKind::Idle,
        }
    }

    fn begin(&self, phase: PhaseKind) -> f64 {
        self.phases.iter().find(|(of, _)| *of == phase).unwrap().1
    }

    /// Successful ops in between.
    fn ops(&self, from: f64, to: f64) -> f64 {
        let ops = self.goodput.iter().filter(|(at, _)| *at > from && *at <= to);
        ops.map(|(_, ops)| *ops as f64).sum::<f64>()
    }

    /// Per second.
    fn goodput(&self, from: f64, to: f64) -> f64 {
        self.ops(from, to) / (to - from)
    }
}

/// Looks until scenariod has ended; both endpoints are clean in each phase. Gives the exit code.
async fn watch(scenariod: &mut Running, its: &str, loadgen: &str) -> (i32, BTreeSet<i64>) {
    let series = format!("scenario_phase{{scenario=\"{SCENARIO}\"}}");
    let mut phases = BTreeSet::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !scenariod.has_ended() {
        assert!(tokio::time::Instant::now() < deadline, "the scenario does not end");
        let text = get(&format!("{its}/metrics")).await.unwrap_or_default();
        if let Some(phase) = metric(&text, &series)
            && phases.insert(phase as i64)
        {
            lint(&text);
            lint(&get(&format!("{loadgen}/metrics")).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (scenariod.exit_code(PATIENCE).await, phases)
}

#[tokio::test]
async fn a_healthy_run_is_shown_as_the_journal_tells_it_and_no_alert_fires() {
    if Prometheus::program().is_none() {
        return;
    }
    let ran = judged(async || {
        let Some(world) = World::start(Proxy::Embedded).await else { return Some(None) };
        let (loadgen, load) = world.loadgen(&[]).await;
        let (mut scenariod, its) = world.scenariod(SCENARIO, &load, &[]);
        let prometheus = Prometheus::start(&[&load], &its).await;
        let (code, phases) = watch(&mut scenariod, &its, &load).await;
        let fired = prometheus.fired().await;
        // The machine, and the alert that says so.
        let void = stalled(&world.verdict()) || fired.contains("GeneratorLate");
        (!void).then_some(Some((world, loadgen, prometheus, code, phases, fired)))
    });
    let Some((world, _loadgen, prometheus, code, phases, fired)) = ran.await else { return };
    assert_eq!(code, 0, "{}", world.output("scenariod"));
    assert_eq!(phases, BTreeSet::from([0, 1, 2, 3]), "each phase was seen, and its metrics clean");
    assert_eq!(fired, BTreeSet::new(), "no alert in a healthy run");

    let told = told(&world);
    let (first, last) = (told.begin(PhaseKind::Stabilization), told.end + 5.0);
    every_query_gives_data(&prometheus, &told, first, last).await;
    every_rule_is_evaluated(&prometheus, first, last).await;
    phases_are_the_journals(&prometheus, &told).await;
    goodput_is_the_journals(&prometheus, &told).await;
    doses_and_expectations(&prometheus, &told).await;
}

async fn every_query_gives_data(prometheus: &Prometheus, told: &Told, first: f64, last: f64) {
    // Five seconds after the begin every rate has its samples.
    let healthy = (told.begin(PhaseKind::Stabilization) + 6.0, told.begin(PhaseKind::Testing));
    let mut empty = Vec::new();
    let mut asked = 0;
    for (file, dashboard) in dashboards() {
        let mut shown: BTreeSet<String> = BTreeSet::new();
        let all = queries(&dashboard);
        for query in &all {
            asked += 1;
            let expr = substitute(&query.expr);
            if points(&prometheus.range(&expr, healthy.0, healthy.1).await) > 0 {
                shown.insert(query.panel.clone());
            }
            let excused = MAY_BE_EMPTY
                .iter()
                .any(|(panel, letter, _)| *panel == query.panel && *letter == query.letter);
            if points(&prometheus.range(&expr, first, last).await) == 0 && !excused {
                empty.push(format!("{file}, {}, {}: {expr}", query.panel, query.letter));
            }
        }
        for panel in all.iter().map(|query| &query.panel) {
            let later = AFTER_THE_VERDICT.iter().any(|(of, _)| of == panel);
            if !later && !shown.contains(panel) {
                empty.push(format!("{file}, {panel}: No data before the fault"));
            }
        }
        for expr in annotations(&dashboard) {
            asked += 1;
            if points(&prometheus.range(&substitute(&expr), first, last).await) == 0 {
                empty.push(format!("{file}: annotation {expr}"));
            }
        }
    }
    assert!(asked >= 70, "{asked}");
    assert_eq!(empty, Vec::<String>::new());
}

async fn every_rule_is_evaluated(prometheus: &Prometheus, first: f64, last: f64) {
    let rules = prometheus.ask("rules", &[]).await;
    let evaluated: Vec<&Value> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    for rule in &evaluated {
        assert_eq!((rule["health"].as_str(), rule["lastError"].as_str()), (Some("ok"), None), "{rule}");
    }
    let shipped = |file: &str, key: &str, field: &str| -> Vec<String> {
        let rules = yaml(&format!("prometheus/rules/{file}.yml"));
        let groups = rules["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules
            .filter(|rule| rule.get(key).is_some())
            .map(|rule| rule[field].as_str().unwrap().to_owned())
            .collect()
    };
    let (recorded, alerts) = (shipped("recording", "record", "record"), shipped("alerts", "alert", "expr"));
    assert_eq!(evaluated.len(), recorded.len() + alerts.len());
    for name in recorded {
        assert!(points(&prometheus.range(&name, first, last).await) > 0, "{name} was never recorded");
    }
    // What an alert compares has data; the alert itself has none here, or is short.
    for expr in alerts {
        prometheus.range(&expr, first, last).await;
    }
}

async fn phases_are_the_journals(prometheus: &Prometheus, told: &Told) {
    for (phase, begin) in &told.phases {
        let series = format!("scenario_phase_start_time_seconds{{phase=\"{}\"}}", phase.name());
        let samples = prometheus.samples(&series, told.end + 5.0).await;
        let (_, shown) = samples.last().copied().unwrap();
        assert!((shown - begin).abs() < 1e-5, "{phase:?}: {shown} is not {begin}");
    }
    let samples =
        prometheus.samples(&format!("scenario_phase{{scenario=\"{SCENARIO}\"}}"), told.end + 5.0).await;
    let mut seen = BTreeSet::new();
    for (at, shown) in samples {
        // A scrape has its begin as its time; what it reads is up to its length later.
        let may = [told.phase_at(at), told.phase_at(at + 0.2)];
        assert!(
            may.iter().any(|phase| phase.gauge() as f64 == shown),
            "{shown} at {at}, the journal says {may:?}"
        );
        seen.insert(shown as i64);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]), "a scrape saw each phase, and the idle one at the end");
}

async fn goodput_is_the_journals(prometheus: &Prometheus, told: &Told) {
    let near = |what: &str, shown: f64, least: f64, most: f64| {
        assert!(
            shown > least * 0.98 && shown < most * 1.02,
            "{what}: {shown:.1}, the journal says {least:.1} to {most:.1}"
        );
    };
    let took = prometheus.samples("scrape_duration_seconds{job=\"loadgen\"}", told.end).await;
    // What a scrape at `at` read may miss the last tick before it, and may have one that came while it lasted.
    let around = |at: f64| {
        let near = took.iter().min_by(|a, b| (a.0 - at).abs().total_cmp(&(b.0 - at).abs()));
        (at - TICK_S, at + near.unwrap().1)
    };
    let samples = prometheus.samples("memcache_operations_total{status=\"success\"}", told.end).await;
    let (testing, recovery) = (told.begin(PhaseKind::Testing), told.begin(PhaseKind::Recovery));
    for (what, from, to) in [
        ("before the fault", told.begin(PhaseKind::Stabilization), testing),
        ("after the fault", recovery, told.end),
        ("the whole run", told.begin(PhaseKind::Stabilization), told.end),
    ] {
        let within: Vec<_> = samples.iter().filter(|(at, _)| *at >= from && *at <= to).collect();
        let (a, b) = (within.first().unwrap(), within.last().unwrap());
        let (first, last) = (around(a.0), around(b.0));
        near(what, b.1 - a.1, told.ops(first.1, last.0), told.ops(first.0, last.1));
    }
    // The gauge is the mean of the second before.
    let gauge = prometheus.samples("memcache_goodput_operations_per_second", testing).await;
    let gauge: Vec<_> = gauge.into_iter().filter(|(at, _)| *at > testing - 8.0).collect();
    let mean = gauge.iter().map(|(_, ops)| ops).sum::<f64>() / gauge.len() as f64;
    let journal = told.goodput(gauge[0].0 - 1.0, gauge.last().unwrap().0);
    near("the gauge", mean, journal, journal);
}

async fn doses_and_expectations(prometheus: &Prometheus, told: &Told) {
    let fault = (told.begin(PhaseKind::Testing) + 1.5, told.begin(PhaseKind::Recovery));
    let within = async |series: &str| -> Vec<f64> {
        let samples = prometheus.samples(series, fault.1).await;
        samples.into_iter().filter(|(at, _)| *at > fault.0).map(|(_, value)| value).collect()
    };
    let all = |values: Vec<f64>, value: f64| !values.is_empty() && values.iter().all(|one| *one == value);
    assert!(all(within("scenario_dose_declared_ratio{server=\"memcached1\"}").await, 1.0));
    assert!(all(within("scenario_dose_declared_ratio{server=\"memcached2\"}").await, 0.0));
    assert!(all(within("scenario_trip_expected{server=\"memcached1\"}").await, 1.0));
    assert!(all(within("scenario_trip_expected{server=\"memcached2\"}").await, 0.0));
    let measured = |server: u8| {
        format!("scenario_dose_measured_ratio{{server=\"memcached{server}\",witness=\"canary\"}}")
    };
    let canaries = within(&measured(1)).await;
    assert!(canaries.iter().all(|share| *share > 0.9) && !canaries.is_empty(), "{canaries:?}");
    let canaries = within(&measured(2)).await;
    assert!(canaries.iter().all(|share| *share < 0.1) && !canaries.is_empty(), "{canaries:?}");
    let series = format!("scenario_recovery_seconds{{scenario=\"{SCENARIO}\"}}");
    let recovery = prometheus.samples(&series, told.end + 5.0).await;
    assert!(recovery.last().is_some_and(|(_, seconds)| *seconds < 10.0), "{recovery:?}");
    let trip = format!("scenario_rule_passed{{scenario=\"{SCENARIO}\",rule=\"trips-as-expected\"}}");
    assert_eq!(prometheus.samples(&trip, told.end + 5.0).await.last().map(|(_, passed)| *passed), Some(1.0));
}

/// A client without a breaker, beside one that is well and under the same fault.
#[tokio::test]
async fn alerts_fire_for_a_broken_client_alone_and_end_when_it_is_well_again() {
    if Prometheus::program().is_some() {
        judged(async || a_broken_client_is_told_of().await).await;
    }
}

/// Without a breaker and without retries, with keys of its own.
fn start_broken_client(world: &World, at: &str, dir: &Path) -> Running {
    let servers =
        world.proxies.iter().enumerate().map(|(n, port)| format!("memcached{}=127.0.0.1:{port}", n + 1));
    let servers = servers.collect::<Vec<_>>().join(",");
    // Its places are soon all taken by ops that wait for the faulted server.
    let flags = [
        "--servers",
        &servers,
        "--rate",
        "1200",
        "--shard",
        "2/2",
        "--max-in-flight",
        "2",
        "--no-breaker",
        "--retries",
        "0",
        "--metrics-port",
        at,
    ];
    Running::start(&binary("loadgen"), &flags, dir)
}

/// `None`: the machine was too busy for the client that is well.
async fn a_broken_client_is_told_of() -> Option<()> {
    let Some(world) = World::start(Proxy::Embedded).await else { return Some(()) };
    // Keys of its own for each, or one finds the other's values.
    let (_loadgen, load) = world.loadgen(&["--shard", "1/2"]).await;
    let broken_dir = tempfile::tempdir().unwrap();
    let broken_at = format!("127.0.0.1:{}", free_port());
    let broken_url = format!("http://{broken_at}");
    let broken = start_broken_client(&world, &broken_at, broken_dir.path());
    wait_for("the broken client", PATIENCE, async || get(&format!("{broken_url}/healthz")).await.is_some())
        .await;

    let phases = ["--stabilization", "10s", "--testing", "45s", "--recovery", "40s"];
    let (mut scenariod, its) = world.scenariod_with(SCENARIO, &load, &phases);
    let prometheus = Prometheus::start(&[&load, &broken_url], &its).await;
    wait_for("the fault", PATIENCE, async || {
        let text = get(&format!("{its}/metrics")).await.unwrap_or_default();
        metric(&text, "scenario_trip_expected{server=\"memcached1\"}") == Some(1.0)
    })
    .await;
    let fault_on = tokio::time::Instant::now();
    let fires = async |alert: &str| prometheus.firing(alert).await.contains(&broken_at);
    // Judged below: on a machine that is too busy nothing comes in time.
    let mut told_in_time = Vec::new();
    for (alert, within) in [("BreakerNotTripped", 10), ("OpsNearZero", 15), ("HighErrorRate", 42)] {
        let left = Duration::from_secs(within).saturating_sub(fault_on.elapsed());
        told_in_time.push((alert, becomes_true(left, async || fires(alert).await).await));
    }
    wait_for("the end of the fault", Duration::from_secs(60), async || {
        let text = get(&format!("{its}/metrics")).await.unwrap_or_default();
        metric(&text, &format!("scenario_phase{{scenario=\"{SCENARIO}\"}}")) == Some(3.0)
    })
    .await;
    for alert in ["BreakerNotTripped", "OpsNearZero", "HighErrorRate"] {
        wait_for(&format!("{alert} to end"), Duration::from_secs(20), async || {
            prometheus.firing(alert).await.is_empty()
        })
        .await;
    }
    // The one that is well, under the same fault, was never told.
    let told = prometheus.fired_for(load.trim_start_matches("http://")).await;
    if told.contains("GeneratorLate") {
        return None;
    }
    assert_eq!(told, BTreeSet::new());
    assert!(told_in_time.iter().all(|(_, fired)| *fired), "{told_in_time:?}");
    assert!(!prometheus.fired().await.contains("LoadgenDown"));

    // Both loads die while the scenario runs.
    drop((broken, _loadgen));
    wait_for("LoadgenDown", Duration::from_secs(12), async || {
        !prometheus.firing("LoadgenDown").await.is_empty()
    })
    .await;
    scenariod.signal("TERM");
    assert_eq!(scenariod.exit_code(PATIENCE).await, 3);
    // An end in good order is no death: gone for longer than the alert waits.
    wait_for("scenariod to be gone for a while", PATIENCE, async || {
        let gone = "max_over_time(up{job=\"scenariod\"}[5s]) == 0";
        !prometheus.now(gone).await.is_empty()
    })
    .await;
    assert!(!prometheus.fired().await.contains("ScenariodDown"));
    Some(())
}
