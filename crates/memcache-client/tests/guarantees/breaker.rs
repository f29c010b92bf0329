//! C: the breaker.

use std::time::Duration;

use futures::future::join_all;
use memcache_client::breaker::{BreakerState, TripReason};
use memcache_client::{BreakerConfig, Config, Error, OnOpen, Op, Outcome, Routing};
use memcached_fake::lies::{Act, Lie};
use tokio::time::Instant;

use crate::rig::{Rig, error_of, figure, mixed, open_loop, ops_later, pass, value_of, wait_for};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Opens for `open`, without jitter; ops fail fast, so that what one server does is seen.
fn config(open: Duration) -> Config {
    let breaker = BreakerConfig { open, open_jitter: 0.0, ..BreakerConfig::default() };
    let routing = Routing { on_open: OnOpen::FailFast, ..Routing::default() };
    Config { breaker: Some(breaker), routing, retries: 0, ..Config::default() }
}

async fn stop(rig: &Rig, server: usize) {
    rig.fakes[server].stop_listening().await;
    rig.fakes[server].disconnect().await;
}

fn state(rig: &Rig, server: usize) -> BreakerState {
    rig.client.stats()[server].breaker.unwrap().state
}

#[tokio::test]
async fn c1_a_refused_connect_trips_at_once_and_the_return_is_noticed_in_one_open_time() {
    let rig = Rig::new(3, config(ms(500))).await;
    let keys = rig.keys_on(0, 100);
    open_loop(&rig.client, 500, ms(200), |n| mixed(&keys, n)).await;
    stop(&rig, 0).await;
    let down = Instant::now();
    open_loop(&rig.client, 500, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let ttt = rig.heard.trips(0)[0] - down;
    rig.fakes[0].resume().await.unwrap();
    let up = Instant::now();
    open_loop(&rig.client, 500, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let ttc = rig.heard.closings(0)[0] - up;
    assert!(ttt <= ms(100), "{ttt:?}");
    assert!(ttc <= ms(500 + 1_000), "{ttc:?}");
    figure(
        "C1",
        format!("tripped after {ttt:.0?} (<= 100 ms), closed {ttc:.0?} after the return (<= 1.5 s)"),
    );
}

#[tokio::test]
async fn c2_flapping_gives_at_most_one_open_a_flap_and_ends_closed() {
    let rig = Rig::new(3, config(ms(200))).await;
    let keys = rig.keys_on(0, 100);
    let flaps = async {
        for _ in 0..15 {
            stop(&rig, 0).await;
            ops_later(&rig.client, 100).await;
            rig.fakes[0].resume().await.unwrap();
            ops_later(&rig.client, 150).await;
        }
    };
    let load = open_loop(&rig.client, 1_000, Duration::from_secs(5), |n| mixed(&keys, n));
    tokio::join!(load, flaps);
    let opens = rig.heard.trips(0).len();
    assert!(opens <= 15, "{opens}");
    assert_eq!(state(&rig, 0), BreakerState::Closed);
    figure("C2", format!("{opens} opens in 15 flaps (<= 15), closed at the end"));
}

#[tokio::test]
async fn c3_a_half_open_server_sees_one_request_of_a_thousand_waiting() {
    let rig = Rig::new(3, config(ms(300))).await;
    let keys = rig.keys_on(0, 50);
    rig.client.get(&keys[0]).await.unwrap();
    rig.fakes[0].lies().add(Act::Hang);
    join_all(keys.iter().map(|key| rig.client.get(key))).await;
    assert_eq!(state(&rig, 0), BreakerState::Open);
    let mut worst = 0;
    for _ in 0..3 {
        pass(ms(320)).await;
        let before = rig.fakes[0].counters().requests();
        join_all((0..1_000).map(|n| rig.client.get(&keys[n % 50]))).await;
        worst = worst.max(rig.fakes[0].counters().requests() - before);
    }
    assert_eq!(worst, 1);
    figure("C3", "1 request on the wire of 1 000 callers, in each of 3 half-open states (<= 1)");
}

#[tokio::test]
async fn c4_a_cancelled_probe_gives_its_slot_back() {
    let rig = Rig::new(3, config(ms(300))).await;
    let keys = rig.keys_on(0, 20);
    rig.fakes[0].lies().add(Act::Hang);
    join_all(keys.iter().map(|key| rig.client.get(key))).await;
    pass(ms(310)).await;
    let probe = tokio::time::timeout(ms(20), rig.client.get(&keys[0])).await;
    assert!(probe.is_err() && state(&rig, 0) == BreakerState::HalfOpen);
    rig.fakes[0].lies().clear();
    let up = Instant::now();
    open_loop(&rig.client, 200, ms(700), |n| mixed(&keys, n)).await;
    let ttc = rig.heard.closings(0)[0] - up;
    assert!(ttc <= ms(600), "{ttc:?}");
    figure("C4", format!("closed {ttc:.0?} after recovery (<= 2 open times, 600 ms)"));
}

#[tokio::test]
async fn c5_misses_are_successes_and_cannot_keep_a_breaker_open() {
    let rig = Rig::new(3, config(ms(300))).await;
    let keys = rig.keys_on(0, 400);
    for key in &keys[..80] {
        rig.client.set(key, value_of(key, 1), None).await.unwrap();
    }
    let get = |n: u64| Op::Get(keys[n as usize % 400].clone());
    let misses = open_loop(&rig.client, 500, ms(500), get).await;
    assert!(misses.count(Outcome::Miss) > 3 * misses.count(Outcome::Hit) && misses.errors() == 0);
    stop(&rig, 0).await;
    open_loop(&rig.client, 500, Duration::from_secs(1), get).await;
    rig.fakes[0].resume().await.unwrap();
    let up = Instant::now();
    open_loop(&rig.client, 500, Duration::from_secs(1), get).await;
    let ttc = rig.heard.closings(0)[0] - up;
    assert!(ttc <= ms(300 + 1_000), "{ttc:?}");
    figure("C5", format!("80 % misses never tripped; closed {ttc:.0?} after the return (<= 1.3 s)"));
}

#[tokio::test]
async fn c6_callers_that_give_up_early_trip_nothing() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Act::Delay(ms(5)));
    let mut cancelled = 0;
    for round in 0..40u64 {
        let ops = (0..20u64).map(|n| {
            let patience = if n % 2 == 0 { ms(2) } else { ms(500) };
            tokio::time::timeout(patience, rig.client.get(&keys[(n + round) as usize % 50]))
        });
        cancelled += join_all(ops).await.iter().filter(|end| end.is_err()).count();
    }
    assert!(cancelled >= 300, "{cancelled}");
    assert!(rig.heard.trips(0).is_empty());
    figure("C6", format!("0 opens with {cancelled} of 800 ops given up"));
}

#[tokio::test]
async fn c7_the_callers_own_mistakes_trip_nothing() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let keys = rig.keys_on(0, 50);
    let large = vec![0; 1024 * 1024 + 1];
    let mut refused = 0;
    for n in 0..500 {
        let key = &keys[n % 50];
        if n % 5 == 0 {
            let error = rig.client.set(key, large.clone().into(), None).await.unwrap_err();
            refused += u32::from(matches!(error, Error::ValueTooLarge { .. }));
        } else {
            rig.client.get(key).await.unwrap();
        }
    }
    assert_eq!((refused, rig.heard.trips(0).len()), (100, 0));
    figure("C7", "0 opens with 20 % too large values");
}

#[tokio::test]
async fn c8_with_all_servers_down_ops_fail_fast_and_come_back() {
    let mut config = config(ms(500));
    config.routing.on_open = OnOpen::Failover;
    let rig = Rig::new(3, config).await;
    let keys: Vec<_> = (0..3).flat_map(|server| rig.keys_on(server, 50)).collect();
    open_loop(&rig.client, 500, ms(200), |n| mixed(&keys, n)).await;
    for server in 0..3 {
        stop(&rig, server).await;
    }
    let down = open_loop(&rig.client, 500, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let p99 = down.quantile(0.99);
    assert_eq!(down.ok(), 0, "{:?}", down.ends);
    let ejected = (0..3).filter(|server| state(&rig, *server) != BreakerState::Closed).count();
    for fake in &rig.fakes {
        fake.resume().await.unwrap();
    }
    open_loop(&rig.client, 500, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let back = open_loop(&rig.client, 500, ms(500), |n| mixed(&keys, n)).await;
    assert!(p99 <= ms(5), "{p99:?}");
    assert!(ejected <= 2, "{ejected}");
    assert!(back.error_share() <= 0.05, "{:?}", back.ends);
    figure(
        "C8",
        format!(
            "fails in {p99:.1?} at p99 (<= 5 ms), {ejected} of 3 ejected, all back within open time + 2 s"
        ),
    );
}

#[tokio::test]
async fn c9_one_error_in_a_hundred_never_trips() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Lie::new(Act::ServerError("busy".to_owned())).every(100));
    let done = open_loop(&rig.client, 2_000, Duration::from_secs(3), |n| mixed(&keys, n)).await;
    assert!(done.count(Outcome::ServerError) >= 50 && rig.heard.trips(0).is_empty(), "{:?}", done.ends);
    figure("C9", format!("0 opens with {} errors of {} ops", done.count(Outcome::ServerError), done.total()));
}

#[tokio::test]
async fn c10_recovery_is_as_fast_after_a_long_outage_as_after_a_short_one() {
    let mut config = config(ms(250));
    config.breaker.as_mut().unwrap().open_jitter = 0.2;
    let rig = Rig::new(3, config).await;
    let keys = rig.keys_on(0, 50);
    let mut closings = Vec::new();
    for outage in [500, 4_000] {
        stop(&rig, 0).await;
        open_loop(&rig.client, 200, ms(outage), |n| mixed(&keys, n)).await;
        rig.fakes[0].resume().await.unwrap();
        let up = Instant::now();
        open_loop(&rig.client, 200, ms(600), |n| mixed(&keys, n)).await;
        closings.push(*rig.heard.closings(0).last().unwrap() - up);
    }
    assert!(closings.iter().all(|ttc| *ttc <= ms(250).mul_f64(1.2) + ms(300)), "{closings:?}");
    figure("C10", format!("closed {closings:.0?} after outages of 0.5 and 4 s (<= 1.2 open times + 0.3 s)"));
}

#[tokio::test]
async fn c11_a_server_that_returns_cold_is_not_hit_by_its_whole_load() {
    let mut config = config(ms(200));
    config.breaker.as_mut().unwrap().ramp = Duration::from_secs(2);
    let rig = Rig::new(3, config).await;
    let keys = rig.keys_on(0, 50);
    stop(&rig, 0).await;
    open_loop(&rig.client, 500, ms(300), |n| mixed(&keys, n)).await;
    rig.fakes[0].resume().await.unwrap();
    while rig.heard.closings(0).is_empty() {
        open_loop(&rig.client, 500, ms(20), |n| mixed(&keys, n)).await;
    }
    let mut admitted = Vec::new();
    for _ in 0..5 {
        let done = open_loop(&rig.client, 1_000, ms(400), |n| mixed(&keys, n)).await;
        admitted.push(done.ok() as f64 / done.total() as f64);
    }
    // 0.1 to 1 over 2 s: the means of five fifths.
    for (share, expected) in admitted.iter().zip([0.19, 0.37, 0.55, 0.73, 0.91]) {
        assert!((share - expected).abs() < 0.12, "{admitted:.2?}");
    }
    assert_eq!(rig.heard.trips(0).len(), 1);
    figure("C11", format!("admitted shares in fifths of the ramp {admitted:.2?}; no second trip"));
}

#[tokio::test]
async fn c12_a_server_with_one_op_every_100_ms_is_still_found_out() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let keys = rig.keys_on(0, 5);
    rig.fakes[0].lies().add(Act::Hang);
    let began = Instant::now();
    open_loop(&rig.client, 10, ms(1_200), |n| mixed(&keys, n)).await;
    let ttt = rig.heard.trips(0)[0] - began;
    // (k + 1) gaps and one timeout.
    assert!(ttt <= ms(600 + 250 + 100), "{ttt:?}");
    figure("C12", format!("tripped after {ttt:.0?} at 10 ops/s (<= 6 gaps + timeout)"));
}

#[tokio::test]
async fn every_transition_has_its_reason() {
    let rig = Rig::new(3, config(ms(100))).await;
    let keys = rig.keys_on(0, 20);
    stop(&rig, 0).await;
    let error = error_of(rig.client.execute(Op::Get(keys[0].clone())).await);
    assert!(matches!(error, Error::Connect(_)));
    rig.fakes[0].resume().await.unwrap();
    wait_for("the open time", || rig.client.stats()[0].breaker.unwrap().state == BreakerState::Open).await;
    pass(ms(110)).await;
    for key in &keys[..4] {
        rig.client.get(key).await.unwrap();
    }
    let reasons: Vec<_> = rig.heard.transitions_of(0).into_iter().map(|(_, t)| t.reason).collect();
    let expected =
        [TripReason::ConnectRefused, TripReason::OpenTimePassed(ms(100)), TripReason::ProbesSucceeded(3)];
    assert_eq!(reasons, expected);
}
