//! Whole tests in virtual time, with known answers: a simulated database of 5 workers and 20 ms serves 250/s.

use std::path::Path;

use observation::Outcome;
use prometheus::Registry;
use workload::{Alarm, Arrivals, LoadConfig};

use super::*;
use crate::overload::subject::Backend;
use capacity::Statistic;

const PATIENCE: Duration = Duration::from_secs(1);

fn subject(seed: u64) -> Subject {
    let config = LoadConfig { arrivals: Arrivals::Poisson(50.0), seed, ..LoadConfig::default() };
    let backend: Backend = "5x20ms".parse().unwrap();
    Subject::inside(backend, PATIENCE, &config, || Alarm::Tokio).unwrap()
}

fn overload(out: &Path, stop: &CancellationToken) -> Run {
    let markers = Markers::new(Some(&out.join("markers"))).unwrap();
    let gauge = PhaseGauge::register(&Registry::new()).unwrap();
    Run::new(out.to_owned(), "5x20ms".to_owned(), markers, gauge, None, stop.clone()).unwrap()
}

fn promise() -> SearchParams {
    SearchParams { statistic: Statistic::Wait, p99_ms: 80.0, errors: 0.01, ..SearchParams::default() }
}

fn rows(dir: &Path, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn three_searches_find_what_the_theory_of_queues_says() {
    let mut found = Vec::new();
    for seed in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let mut run = overload(dir.path(), &CancellationToken::new());
        let mut subject = subject(seed);
        run.search(&mut subject, promise()).await.unwrap();
        let report = run.found().unwrap().clone();
        let rate = report.rate.unwrap();
        // M/M/5: the p99 of the wait is 80 ms at 80 % of the capacity.
        assert!((250.0 * 0.75..=250.0 * 0.9).contains(&rate), "{rate}");
        let (low, high) = report.interval.unwrap();
        assert!(low <= rate && rate <= high && high / low < 1.2, "{low} {rate} {high}");
        assert!(report.overload.iter().all(|step| !step.collapsed), "{:?}", report.overload);
        assert!(
            report.time_to_recover_s.flatten().is_some_and(|s| s <= 10.0),
            "{:?}",
            report.time_to_recover_s
        );
        subject.stop().await;
        let text = run.end().unwrap();
        assert!(text.contains("Ended: complete") && text.contains("SLO rate: "), "{text}");
        found.push(rate);
    }
    let (low, high) =
        found.iter().fold((f64::MAX, 0f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
    assert!(high / low <= 1.05, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn steps_find_the_failure_and_the_search_says_why_it_finds_less() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = overload(dir.path(), &CancellationToken::new());
    let mut subject = subject(1);
    let steps = GradualParams { step: 20.0, latency_ms: 100.0, hook: true, ..GradualParams::default() };
    run.gradual(&mut subject, steps).await.unwrap();
    run.search(&mut subject, promise()).await.unwrap();
    subject.stop().await;
    let text = run.end().unwrap();
    assert!(text.contains("They disagree by a factor of"), "{text}");
    assert!(text.contains("The steps judge the mean latency (limit 100 ms)"), "{text}");
    let critical = text.lines().find_map(|line| line.strip_prefix("Critical failure point: ")).unwrap();
    let rate: f64 = critical.split(' ').next().unwrap().parse().unwrap();
    assert!((230.0..=290.0).contains(&rate), "{text}");
    let phases: Vec<String> =
        rows(dir.path(), TRANSITIONS).iter().map(|row| row.split(',').nth(4).unwrap().to_owned()).collect();
    let expected = [
        "init",
        "warmup",
        "load_increase",
        "failure",
        "mitigation",
        "ramp",
        "bisection",
        "confirmation",
        "overload",
        "recovery",
        "mirror",
        "end",
    ];
    assert_eq!(phases, expected);
    assert!(rows(dir.path(), METRICS).iter().all(|row| row.contains(",true,")));
    for marker in [INJECTION, MITIGATION] {
        assert!(dir.path().join("markers").join(marker).exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_in_any_phase_leaves_whole_files_of_what_was_done() {
    // The check of the generator makes no steps, and is not made in virtual time.
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::GeneratorCheck) {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let mut run = overload(dir.path(), &stop);
        let mut subject = subject(1);
        let (signal, gauge) = (stop.clone(), run.gauge.clone());
        tokio::spawn(async move {
            while !gauge.is(phase) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // In the middle of a second of a step.
            tokio::time::sleep(Duration::from_millis(6_540)).await;
            signal.cancel();
        });
        let steps = GradualParams { step: 200.0, warm_up_steps: 2, ..GradualParams::default() };
        run.gradual(&mut subject, steps).await.unwrap();
        let search = SearchParams { ops_min: 0, confirm: Duration::from_secs(30), ..promise() };
        run.search(&mut subject, search).await.unwrap();
        subject.stop().await;
        let text = run.end().unwrap();
        let phase = phase.name();
        assert!(text.contains(&format!("Ended: stopped by a signal in phase {phase}\n")), "{phase}: {text}");
        let steps = rows(dir.path(), METRICS);
        assert!(steps.iter().rev().skip(1).all(|row| row.contains(",true,")));
        let last = steps.last().unwrap();
        assert!(last.contains(&format!(",{phase},")) && last.contains(",false,"), "{last}");
        let transitions = rows(dir.path(), TRANSITIONS);
        assert!(transitions.last().unwrap().contains(&format!(",{phase},end,")), "{transitions:?}");
        assert_eq!(std::fs::read_to_string(dir.path().join(SUMMARY)).unwrap(), text);
        let page = std::fs::read_to_string(dir.path().join(PAGE)).unwrap();
        assert!(page.contains("STOPPED") && page.trim_end().ends_with("</html>"));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_stands_every_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = overload(dir.path(), &CancellationToken::new());
    let config = LoadConfig { arrivals: Arrivals::Poisson(50.0), ..LoadConfig::default() };
    let mut subject = Subject::inside(Backend::Null, PATIENCE, &config, || Alarm::Tokio).unwrap();
    let tick = subject.tick().await.unwrap();
    assert_eq!(tick.servers[0].ops.get(Outcome::Hit), tick.servers[0].ops.total());
    let steps = GradualParams { max: 450.0, step_lasts: Duration::from_secs(1), ..GradualParams::default() };
    run.gradual(&mut subject, steps).await.unwrap();
    subject.stop().await;
    let text = run.end().unwrap();
    assert!(text.contains("Critical failure point: not found up to 450.0 ops/s"), "{text}");
}
