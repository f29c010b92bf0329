//! Seeds that must hold, and lies that must be found.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memcached_fake::lies::{Act, Lie};
use simulation::{Event, Fault, Options, Plan, Report, run};

/// Runs the seeds on a few threads.
fn all(seeds: u64, check: impl Fn(u64) -> Vec<String> + Sync) -> Vec<String> {
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let found = check(seed);
                    failures.lock().unwrap().extend(found.iter().map(|text| format!("seed {seed}: {text}")));
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

#[test]
fn two_hundred_seeds_hold_and_the_same_seed_is_the_same_run() {
    let failures = all(200, |seed| {
        let plan = Plan::draw(seed);
        let report = run(&plan, &Options::default());
        let mut failures = report.failures;
        if seed % 10 == 0 && run(&plan, &Options::default()).hash != report.hash {
            failures.push("another trace when run again".to_owned());
        }
        failures
    });
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn seeds_differ() {
    let hash = |seed| run(&Plan::draw(seed), &Options::default()).hash;
    assert_ne!(hash(1), hash(2));
}

/// A run without faults whose servers tell this lie.
fn lied_to(seed: u64, lie: Lie) -> Report {
    let mut plan = Plan::draw(seed);
    plan.faults.clear();
    run(&plan, &Options { lies: vec![lie], ..Options::default() })
}

fn is_found(lie: &Lie, wanted: &str) {
    for seed in 0..3 {
        let report = lied_to(seed, lie.clone());
        let found = report.failures.iter().any(|failure| failure.contains(wanted));
        assert!(found, "seed {seed}: {lie:?} was not found: {:#?}", report.failures);
    }
}

#[test]
fn another_keys_value_is_found() {
    is_found(&Lie::new(Act::ForeignValue).command("mg").every(50), "has the value");
}

#[test]
fn an_older_value_is_found() {
    is_found(&Lie::new(Act::StaleValue).key_prefix("p:"), "instead of");
}

#[test]
fn a_lost_write_is_found() {
    is_found(&Lie::new(Act::LoseWrite).command("ms").key_prefix("p:"), "instead of");
}

#[test]
fn a_counter_that_loses_counts_is_found() {
    is_found(&Lie::new(Act::LoseWrite).command("ma").every(7), "counter c:");
}

#[test]
fn an_error_without_a_fault_is_found() {
    is_found(&Lie::new(Act::ServerError("out of luck".to_owned())).every(50), "failed without a fault");
}

#[test]
fn breakers_that_stay_open_are_found() {
    let mut found = 0;
    for seed in 0..10 {
        let mut plan = Plan::draw(seed);
        let (begin, end) = (Duration::from_secs(1), plan.end() * 2);
        plan.faults =
            vec![Event { begin, end, server: 0, client: None, fault: Fault::Lie(Act::Close.into()) }];
        let report = run(&plan, &Options::default());
        found += usize::from(report.failures.iter().any(|failure| failure.contains("are not closed")));
    }
    assert!(found > 0);
}
