//! The laws of metastable failure, and what breaks its loop, on the model. Figures of the tables are those of
//! `docs/metastable.md`; three seeds each, six for the collapse itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod model;

use model::{Deed, Model, Second, end, goodput, recovered_after};

fn runs(model: &Model) -> Vec<Vec<Second>> {
    (1..=3).map(|seed| model.run(seed)).collect()
}

fn ends(model: &Model) -> Vec<f64> {
    runs(model).iter().map(|run| end(run)).collect()
}

fn assert_recovers(name: &str, model: &Model) {
    let ends = ends(model);
    assert!(ends.iter().all(|end| *end >= 0.95), "{name}: {ends:?}");
}

fn assert_stuck(name: &str, model: &Model, at_most: f64) {
    let ends = ends(model);
    assert!(ends.iter().all(|end| *end <= at_most), "{name}: {ends:?}");
}

#[test]
fn fast_is_healthy_before_the_flush_and_never_again() {
    for seed in 1..=6 {
        let run = Model::fast().run(seed);
        let hits = f64::from(run[..8].iter().map(|s| s.hits).sum::<u32>());
        let hit_ratio = hits / f64::from(run[..8].iter().map(|s| s.offered).sum::<u32>());
        let demanded = run[..8].iter().map(|s| s.demanded).sum::<u64>() as f64 / 8.0;
        assert!(
            (0.89..0.92).contains(&hit_ratio) && (80.0..110.0).contains(&demanded),
            "{hit_ratio} {demanded}"
        );
        assert!(goodput(&run[..8]) > 0.999);
        assert!(end(&run) < 0.01, "seed {seed}: {}", end(&run));
        // 1000/s, each asked three times: 12 times what the database can serve.
        let after = run[20..].iter().map(|s| s.demanded).sum::<u64>() as f64 / 10.0;
        assert!((after / 3_000.0 - 1.0).abs() < 0.05, "seed {seed}: {after}");
    }
}

#[test]
fn the_control_at_a_fifth_of_the_load_recovers() {
    let control = Model { rate: 200.0, keys: 200, ..Model::fast() };
    for run in runs(&control) {
        let worst = run.iter().map(Second::goodput).fold(1.0, f64::min);
        assert!(end(&run) >= 0.99 && worst >= 0.95, "{worst}");
    }
}

#[test]
fn each_cure_brings_fast_back_within_seconds() {
    for (cure, most) in [
        ("coalesce", 8),
        ("queue:0.5", 5),
        ("queue:0.8", 6),
        ("queue:0.8 budget:0.1", 6),
        ("lifo", 5),
        ("aimd", 5),
        ("coalesce late-fill", 5),
        ("breaker:5s ramp:10s", 15),
    ] {
        for run in runs(&Model::fast().with(cure)) {
            let took = recovered_after(&run, 8);
            assert!(end(&run) >= 0.99 && took.is_some_and(|took| took <= most), "{cure}: {took:?}");
        }
    }
}

#[test]
fn what_does_not_break_the_loop_does_not_bring_fast_back() {
    for (no_cure, least, most) in [
        ("budget:0.1", 0.0, 0.02),
        ("no-retries", 0.0, 0.02),
        ("backoff:1s", 0.0, 0.02),
        ("queue:2", 0.0, 0.02),
        ("drop-expired", 0.0, 0.1),
        ("drop-expired budget:0.1", 0.03, 0.3),
        ("late-fill", 0.5, 0.75),
        ("breaker:5s", 0.02, 0.3),
        ("breaker:1s", 0.4, 0.75),
    ] {
        let ends = ends(&Model::fast().with(no_cure));
        assert!(ends.iter().all(|end| (least..=most).contains(end)), "{no_cure}: {ends:?}");
    }
}

#[test]
fn the_smallest_flush_that_tips_fast_lies_between_a_fifth_and_a_half() {
    let flush = |share| Model { deeds: vec![(8.0, Deed::Flush(share))], ..Model::fast() };
    assert_recovers("20 %", &flush(0.2));
    assert_stuck("50 %", &flush(0.5), 0.02);
}

#[test]
fn no_flush_tips_what_the_database_could_serve_without_a_cache() {
    // Law 1: lambda (1 + r) < mu.
    let model = Model { rate: 80.0, keys: 80, ..Model::fast() };
    assert_recovers("80/s", &model);
}

#[test]
fn a_queue_cures_if_and_only_if_it_is_shorter_than_the_patience() {
    // Law 2.
    for (queue, cures) in
        [("queue:0.25", true), ("queue:0.9", true), ("queue:1.1", false), ("queue:1.5", false)]
    {
        let model = Model::fast().with(queue);
        if cures { assert_recovers(queue, &model) } else { assert_stuck(queue, &model, 0.5) }
    }
}

#[test]
fn a_collapsed_system_recovers_only_below_its_capacity_shared_among_the_retries() {
    // Law 3: mu / (1 + r) is 83/s and 250/s.
    let fast = |rate| {
        let deeds = vec![(8.0, Deed::Flush(1.0)), (15.0, Deed::Rate(rate))];
        Model { deeds, seconds: 75, ..Model::fast() }.with("queue:2")
    };
    assert_recovers("FAST at 60/s", &fast(60.0));
    assert_stuck("FAST at 150/s", &fast(150.0), 0.5);
    let retry = |rate| {
        let mut model = Model::retry(3, 0.2);
        model.deeds.push((10.0, Deed::Rate(rate)));
        Model { seconds: 90, ..model }
    };
    assert_recovers("RETRY at 200/s", &retry(200.0));
    assert_stuck("RETRY at 260/s", &retry(260.0), 0.02);
}

/// The load falls to 5 % after 15 s; after 25 s it comes back over so many seconds.
fn relieved(drop_queue: bool, over: usize) -> Model {
    let mut deeds = vec![(8.0, Deed::Flush(1.0)), (15.0, Deed::Rate(50.0))];
    if drop_queue {
        deeds.push((15.0, Deed::DropQueue));
    }
    let steps = over * 10;
    let rate = |step: usize| 50.0 + 950.0 * step as f64 / steps as f64;
    deeds.extend((0..steps).map(|step| (25.0 + step as f64 / 10.0, Deed::Rate(rate(step)))));
    deeds.push((25.0 + over as f64, Deed::Rate(1_000.0)));
    Model { deeds, seconds: 60, ..Model::fast() }
}

#[test]
fn a_relief_helps_only_with_the_backlog_gone_and_a_ramp_after_it() {
    // Law 4: a ramp of at least 2 * keys / mu = 8 s.
    assert_stuck("relief with the backlog kept", &relieved(false, 0), 0.02);
    assert_stuck("all at once", &relieved(true, 0), 0.02);
    assert_recovers("ramp of 10 s", &relieved(true, 10));
}

#[test]
fn a_lost_node_tips_above_the_rate_that_the_law_gives_and_a_failover_saves() {
    // Law 5 gives 570/s for three nodes.
    let lost = |rate| Model { rate, nodes: 3, deeds: vec![(8.0, Deed::Lost(0))], ..Model::fast() };
    assert_recovers("450/s", &lost(450.0));
    assert_stuck("650/s", &lost(650.0), 0.02);
    assert_recovers("500/s with failover", &lost(500.0).with("failover"));
}

#[test]
fn hot_keys_hide_the_collapse_until_they_expire() {
    for run in runs(&Model::zipf()) {
        let hidden = goodput(&run[12..34]);
        assert!((0.28..0.42).contains(&hidden), "{hidden}");
        assert!(end(&run) < 0.02, "{}", end(&run));
    }
}

#[test]
fn one_retry_makes_a_dip_of_a_fifth_of_a_second_last_for_ever() {
    let deep = |retries| {
        let deeds = vec![(5.0, Deed::Capacity(0.1)), (5.2, Deed::Capacity(1.0))];
        Model { deeds, ..Model::retry(retries, 0.2) }
    };
    for retries in 1..=3 {
        assert_stuck("RETRY", &deep(retries), 0.02);
        assert_recovers("RETRY with a budget", &deep(retries).with("budget:0.1"));
    }
    // A dip to 0.3 is its edge: what comes of it is a matter of the arrivals.
    let tipped = (1..=20).filter(|seed| end(&Model::retry(1, 0.2).run(*seed)) < 0.5).count();
    assert!((8..=19).contains(&tipped), "{tipped} of 20");
    for run in runs(&Model::retry(0, 5.0)) {
        let took = recovered_after(&run, 10);
        assert!(took.is_some_and(|took| (4..=10).contains(&took)), "without retries: {took:?}");
    }
}

#[test]
fn what_cures_retries_after_a_dip_of_five_seconds_and_what_does_not() {
    for cure in ["budget:0.1", "queue:0.8", "breaker:5s", "aimd", "lifo"] {
        for run in runs(&Model::retry(3, 5.0).with(cure)) {
            assert!(goodput(&run[23..]) >= 0.95, "{cure}: {}", goodput(&run[23..]));
        }
    }
    assert_stuck("backoff", &Model::retry(3, 5.0).with("backoff:1s"), 0.02);
}
