//! F: routing, failover, consistency.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use memcache_client::breaker::BreakerState;
use memcache_client::{BreakerConfig, Config, Error, Key, OnOpen, Op, Router, Routing, SlowRule};
use memcached_fake::lies::Act;
use tokio::time::Instant;

use crate::rig::{
    Rig, client_of, error_of, fakes, figure, key, mixed, open_loop, ops_later, server, value_of, wait_for,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(open: Duration) -> Config {
    let breaker = BreakerConfig { open, open_jitter: 0.0, ..BreakerConfig::default() };
    Config { breaker: Some(breaker), ..Config::default() }
}

async fn stop(rig: &Rig, server: usize) {
    rig.fakes[server].stop_listening().await;
    rig.fakes[server].disconnect().await;
}

async fn closed(rig: &Rig, server: usize, keys: &[Key]) {
    let state = || rig.client.stats()[server].breaker.unwrap().state;
    while state() != BreakerState::Closed {
        open_loop(&rig.client, 200, ms(50), |n| mixed(keys, n)).await;
    }
}

#[test]
fn f1_taking_a_server_away_moves_only_its_own_keys() {
    let mut told = Vec::new();
    for n in [3, 5, 10] {
        let names: Vec<String> = (0..n).map(|n| format!("s{n}")).collect();
        let full = Router::new(names.iter().map(String::as_str));
        let gone = n / 2;
        let rest: Vec<&str> =
            names.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, n)| n.as_str()).collect();
        let reduced = Router::new(rest.iter().copied());
        let (mut moved, mut healthy_moved) = (0, 0);
        for k in 0..100_000 {
            let key = format!("key{k}");
            let (before, after) = (full.home(key.as_bytes()), rest[reduced.home(key.as_bytes())]);
            if names[before] != after {
                moved += 1;
                healthy_moved += usize::from(before != gone);
            }
        }
        let share = f64::from(moved) / 1e5;
        assert!(share <= 1.0 / n as f64 + 0.02, "{share}");
        assert_eq!(healthy_moved, 0);
        told.push(format!("{:.1} % of {n}", 100.0 * share));
    }
    figure("F1", format!("moved {} (<= 1/n + 2 pp), healthy keys moved 0", told.join(", ")));
}

#[tokio::test]
async fn f2_what_was_written_elsewhere_is_gone_after_the_failover_ttl() {
    let mut config = config(ms(200));
    config.routing.failover_ttl = Duration::from_secs(1);
    let rig = Rig::new(3, config).await;
    let mut others = rig.keys_on(0, 50);
    let k = others.remove(0);
    let (one, two, three) = (value_of(&k, 1), value_of(&k, 2), value_of(&k, 3));
    rig.client.set(&k, one, None).await.unwrap();
    stop(&rig, 0).await;
    rig.client.set(&k, two.clone(), None).await.unwrap();
    rig.fakes[0].resume().await.unwrap();
    closed(&rig, 0, &others).await;
    rig.client.set(&k, three.clone(), None).await.unwrap();
    let written = Instant::now();
    stop(&rig, 0).await;
    // The copy of before the return may be seen for its time to live, not longer.
    let mut stale_until = Duration::ZERO;
    while written.elapsed() < Duration::from_secs(3) {
        match rig.client.get(&k).await.unwrap() {
            Some(value) if value == two => stale_until = written.elapsed(),
            Some(value) => assert_eq!(value, three),
            None => {}
        }
        // Sleeps: the pause between reads of a stretch of 3 s, which is what is asserted.
        tokio::time::sleep(ms(20)).await;
    }
    assert!(stale_until <= ms(2_000), "{stale_until:?}");
    figure(
        "F2",
        format!(
            "stale for {stale_until:.1?} after the second ejection (TTL 1 s, memcached counts whole seconds)"
        ),
    );
}

#[tokio::test]
async fn f3_two_clients_that_disagree_agree_again_after_the_heal() {
    let _alone = crate::rig::alone().await;
    let fakes = fakes(3).await;
    let mut short = config(ms(200));
    short.routing.failover_ttl = Duration::from_secs(1);
    let addrs: Vec<_> = fakes.iter().map(memcached_fake::FakeMemcached::addr).collect();
    let (one, _) = client_of(addrs.clone(), short.clone());
    let (two, _) = client_of(addrs.clone(), short);
    let keys = crate::rig::keys_on(&one, 0, 50);
    for k in &keys {
        one.set(k, value_of(k, 1), None).await.unwrap();
    }
    // The second client is cut off from the first server: another address, where nobody listens.
    let mut cut = two.servers();
    cut[0].addr = "127.0.0.1:1".to_owned();
    two.set_servers(cut).unwrap();
    for k in &keys {
        let _ = two.set(k, value_of(k, 2), None).await;
    }
    let mut divergent = 0;
    for k in &keys {
        divergent += u32::from(one.get(k).await.unwrap() != two.get(k).await.unwrap());
    }
    two.set_servers(addrs.iter().enumerate().map(|(n, addr)| server(n, *addr)).collect()).unwrap();
    let healed = Instant::now();
    let mut left = keys.len();
    while left > 0 && healed.elapsed() < Duration::from_secs(5) {
        left = 0;
        for k in &keys {
            left += usize::from(one.get(k).await.unwrap() != two.get(k).await.unwrap());
        }
    }
    let took = healed.elapsed();
    assert!(divergent > 40 && left == 0 && took <= Duration::from_secs(2), "{divergent} {left} {took:?}");
    figure(
        "F3",
        format!("{divergent} of 50 keys divergent while cut off, 0 after {took:.1?} (<= failover TTL + 1 s)"),
    );
}

#[test]
fn f4_the_load_of_a_lost_server_is_spread_over_all_others() {
    let mut worst = 0.0_f64;
    for n in [3usize, 5, 10] {
        let names: Vec<String> = (0..n).map(|n| format!("s{n}")).collect();
        let router = Router::new(names.iter().map(String::as_str));
        let mut load = vec![0.0; n];
        for k in 0..100_000 {
            let order = router.candidates(format!("key{k}").as_bytes());
            load[if order[0] == 0 { order[1] } else { order[0] }] += 1.0;
        }
        let fair = 1e5 / n as f64;
        worst = load[1..].iter().fold(worst, |worst, l| worst.max(l / fair));
    }
    assert!(worst <= 1.55, "{worst}");
    figure("F4", format!("a survivor has at most {worst:.2} times its load (<= 1.5 of 3 servers)"));
}

#[tokio::test]
async fn f5_the_gutter_takes_the_keys_of_a_lost_server() {
    let mut config = config(Duration::from_secs(5));
    config.routing.gutter = vec!["s3".to_owned()];
    let rig = Rig::new(4, config).await;
    let keys = rig.keys_on(0, 200);
    assert!((0..2_000).all(|n| rig.client.home(&key(&format!("any{n}"))) != 3), "nobody lives in the gutter");
    stop(&rig, 0).await;
    let others = [1, 2].map(|server: usize| rig.fakes[server].counters().requests());
    for k in &keys {
        rig.client.set(k, value_of(k, 1), None).await.unwrap();
    }
    let mut hits = 0;
    for k in &keys {
        hits += u32::from(rig.client.get(k).await.unwrap().is_some());
    }
    assert_eq!([1, 2].map(|server: usize| rig.fakes[server].counters().requests()), others);
    assert!(hits >= 198, "{hits}");
    figure("F5", format!("{hits} of 200 keys served by the gutter, 0 requests more at the other servers"));
}

#[tokio::test]
async fn f6_counters_and_tokens_never_cross_servers() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let k = rig.keys_on(0, 1).remove(0);
    stop(&rig, 0).await;
    let incr = Op::Incr { key: k.clone(), delta: 1, initial: Some((1, None)) };
    let cas = Op::Cas { key: k.clone(), value: value_of(&k, 1), ttl: None, token: 1 };
    for op in [incr.clone(), incr, cas] {
        let error = error_of(rig.client.execute(op).await);
        assert!(error.nothing_sent() || matches!(error, Error::Reset(_)), "{error}");
    }
    let elsewhere: u64 = [1, 2].iter().map(|s: &usize| rig.fakes[*s].counters().requests()).sum();
    assert_eq!(elsewhere, 0);
    figure("F6", "3 ops refused, 0 sent to another server");
}

#[tokio::test]
async fn f7_a_rolling_restart_ejects_one_server_at_a_time() {
    let rig = Rig::new(3, config(ms(200))).await;
    let keys: Vec<_> = (0..3).flat_map(|server| rig.keys_on(server, 100)).collect();
    let mut shares = Vec::new();
    let mut most = 0;
    for n in 0..3 {
        let restart = async {
            ops_later(&rig.client, 200).await;
            stop(&rig, n).await;
            rig.fakes[n].flush();
            ops_later(&rig.client, 300).await;
            most = most.max(
                rig.client
                    .stats()
                    .iter()
                    .filter(|s| s.breaker.unwrap().state != BreakerState::Closed)
                    .count(),
            );
            rig.fakes[n].resume().await.unwrap();
        };
        let load = open_loop(&rig.client, 1_000, Duration::from_secs(2), |n| mixed(&keys, n));
        let (done, ()) = tokio::join!(load, restart);
        shares.push(done.error_share());
    }
    assert!(shares.iter().all(|share| *share <= 0.01), "{shares:?}");
    assert!(most <= 1);
    figure(
        "F7",
        format!(
            "errors {} % a step (<= 1 %), at most {most} ejected",
            shares.iter().map(|s| format!("{:.2}", s * 100.0)).collect::<Vec<_>>().join(", ")
        ),
    );
}

#[tokio::test]
async fn f8_the_list_of_servers_changes_at_once_and_leaks_nothing() {
    let rig = Rig::new(3, config(Duration::from_secs(5))).await;
    let extra = fakes(1).await;
    let keys: Vec<_> = (0..600).map(|n| key(&format!("live{n}"))).collect();
    let load = open_loop(&rig.client, 1_000, Duration::from_secs(2), |n| mixed(&keys, n));
    let edit = async {
        ops_later(&rig.client, 500).await;
        let mut servers = rig.client.servers();
        servers.remove(0);
        servers.push(server(3, extra[0].addr()));
        rig.client.set_servers(servers).unwrap();
    };
    let (done, ()) = tokio::join!(load, edit);
    assert_eq!((done.errors(), done.wrong), (0, 0), "{:?}", done.ends);
    let before = rig.fakes[0].counters().requests();
    let homes: BTreeSet<usize> = keys.iter().map(|key| rig.client.home(key)).collect();
    assert_eq!(homes, BTreeSet::from([1, 2, 3]));
    open_loop(&rig.client, 500, ms(300), |n| mixed(&keys, n)).await;
    assert_eq!(rig.fakes[0].counters().requests(), before, "an op went to the server that is gone");
    wait_for("its connections to be closed", || rig.fakes[0].counters().open() == 0).await;
    assert!(extra[0].counters().requests() > 100);
    // It comes back under its name, with its index.
    let mut servers = rig.client.servers();
    servers.truncate(3);
    rig.client.set_servers(servers).unwrap();
    open_loop(&rig.client, 500, ms(300), |n| mixed(&keys, n)).await;
    assert!(rig.fakes[0].counters().requests() > before);
    figure("F8", "0 errors during the change, 0 ops to the old server after it, 0 connections left");
}

#[tokio::test]
async fn f9_the_last_server_is_kept_however_slow_it_is() {
    let slow = SlowRule { window: ms(500), ..SlowRule::above(ms(50)) };
    let breaker = BreakerConfig { slow: Some(slow), ..BreakerConfig::default() };
    let rig = Rig::new(3, Config { breaker: Some(breaker), ..Config::default() }).await;
    let keys: Vec<_> = (0..3).flat_map(|server| rig.keys_on(server, 100)).collect();
    stop(&rig, 0).await;
    stop(&rig, 1).await;
    rig.fakes[2].lies().add(Act::Delay(ms(100)));
    open_loop(&rig.client, 200, ms(500), |n| mixed(&keys, n)).await;
    let done = open_loop(&rig.client, 200, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let ejected: BTreeMap<usize, BreakerState> = rig
        .client
        .stats()
        .iter()
        .map(|s| s.breaker.unwrap().state)
        .enumerate()
        .filter(|(_, s)| *s != BreakerState::Closed)
        .collect();
    assert!(ejected.len() <= 2 && !ejected.contains_key(&2), "{ejected:?}");
    assert!(done.ok() as f64 >= 0.9 * done.total() as f64, "{:?}", done.ends);
    figure(
        "F9",
        format!(
            "2 of 3 ejected, the slow third answers {:.1} % (>= 90 %)",
            100.0 * done.ok() as f64 / done.total() as f64
        ),
    );
}

#[tokio::test]
async fn rc10_with_all_servers_refusing_an_op_ends_at_once_having_asked_each_once() {
    let rig = Rig::new(4, Config { breaker: None, ..Config::default() }).await;
    for server in 0..4 {
        stop(&rig, server).await;
    }
    let mut slowest = Duration::ZERO;
    for n in 0..500 {
        let began = Instant::now();
        let done = rig.client.execute(Op::Get(key(&format!("k{n}")))).await;
        slowest = slowest.max(began.elapsed());
        let asked: BTreeSet<usize> = done.attempts.iter().map(|a| a.server).collect();
        assert_eq!((asked.len(), done.attempts.len()), (4, 4));
    }
    assert!(slowest <= ms(100), "{slowest:?}");
    figure(
        "R-C10",
        format!("500 ops asked 4 servers once each, slowest {slowest:.1?} (< 5 ms on an idle machine)"),
    );
}

#[tokio::test]
async fn rc11_a_full_outage_does_not_multiply_the_load() {
    let breaker = None;
    let routing = Routing { on_open: OnOpen::FailFast, ..Routing::default() };
    let config = Config { breaker, routing, retries: 3, op_timeout: ms(20), ..Config::default() };
    let rig = Rig::new(3, config).await;
    let keys: Vec<_> = (0..3).flat_map(|server| rig.keys_on(server, 100)).collect();
    for (server, fake) in rig.fakes.iter().enumerate() {
        rig.client.get(&keys[100 * server]).await.unwrap();
        fake.lies().add(Act::Hang);
    }
    let seen: u64 = rig.fakes.iter().map(|fake| fake.counters().requests()).sum();
    let done =
        open_loop(&rig.client, 1_000, Duration::from_secs(3), |n| Op::Get(keys[n as usize % 300].clone()))
            .await;
    let seen = rig.fakes.iter().map(|fake| fake.counters().requests()).sum::<u64>() - seen;
    let amplification = seen as f64 / done.total() as f64;
    // 10 % and one a second.
    assert!(amplification <= 1.11, "{amplification}");
    figure("R-C11", format!("the servers saw {amplification:.3} times the offered load (<= 1.10 + 1/s)"));
}
