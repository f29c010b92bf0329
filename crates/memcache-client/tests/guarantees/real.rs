//! H: what a real memcached does when it fails.

use std::net::SocketAddr;
use std::time::Duration;

use memcache_client::breaker::BreakerState;
use memcache_client::{BreakerConfig, Config, Key, Op, Outcome, PoolConfig};
use memcached_fake::real::{Ready, RealMemcached};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::rig::{client_of, figure, key, keys_on, mixed, open_loop, ops_later, value_of, wait_for};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(open: Duration) -> Config {
    let breaker = BreakerConfig { open, open_jitter: 0.0, ..BreakerConfig::default() };
    Config { breaker: Some(breaker), retries: 0, ..Config::default() }
}

fn keys() -> Vec<Key> {
    (0..300).map(|n| key(&format!("key{n}"))).collect()
}

/// One number of `stats`.
async fn stat(addr: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"stats\r\n").await.unwrap();
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.ends_with("END\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0);
        text.push_str(&String::from_utf8_lossy(&chunk[..n]));
    }
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} "))).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn h1a_a_server_with_too_many_connections_keeps_those_that_it_has() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test_with(&["-c", "64"], Ready::Answers).await else { return };
    let mut config = config(Duration::from_secs(5));
    config.pool = PoolConfig { max: 8, ..PoolConfig::default() };
    let (client, heard) = client_of([real.addr()], config);
    let keys = keys();
    // Two of our connections are there before the server is full.
    let first = tokio::join!(client.get(&keys[0]), client.get(&keys[1]));
    assert!(first.0.is_ok() && first.1.is_ok());
    let mut others = Vec::new();
    loop {
        let Ok(mut stream) = TcpStream::connect(real.addr()).await else { break };
        let mut reply = [0; 64];
        let _ = stream.write_all(b"mn\r\n").await;
        match tokio::time::timeout(ms(500), stream.read(&mut reply)).await {
            Ok(Ok(n)) if reply[..n].starts_with(b"MN") => others.push(stream),
            _ => break,
        }
    }
    assert!(!others.is_empty());
    let began = Instant::now();
    let done = open_loop(&client, 500, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let dials = heard.dials_since(0, began).len();
    let state = client.stats()[0].breaker.unwrap().state;
    let goodput = done.ok() as f64 / done.total() as f64;
    assert!(goodput >= 0.98, "{:?}", done.ends);
    assert!(dials <= 20, "{dials} dials in 2 s");
    assert_eq!((state, done.wrong), (BreakerState::Closed, 0));
    drop(others);
    let probe_addr = real.addr();
    let mut rejected = 0;
    for _ in 0..50 {
        // Sleeps: the pause of a poll that gives up after 50 tries.
        tokio::time::sleep(ms(20)).await;
        rejected = stat(probe_addr, "rejected_connections").await;
        if rejected > 0 {
            break;
        }
    }
    assert!(rejected > 0);
    figure(
        "H1a",
        format!(
            "goodput {:.1} % (>= 98 %), {dials} dials in 2 s (<= 1 per 100 ms), {rejected} rejected",
            100.0 * goodput
        ),
    );
}

#[tokio::test]
async fn h2_after_a_kill_and_a_restart_there_are_misses_and_no_errors() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test().await else { return };
    let Some(other) = RealMemcached::for_test().await else { return };
    let (addr, mut config) = (real.addr(), config(ms(300)));
    config.retries = 1;
    let (client, heard) = client_of([addr, other.addr()], config);
    let keys = keys_on(&client, 0, 100);
    open_loop(&client, 500, ms(500), |n| mixed(&keys, n)).await;
    let killed = Instant::now();
    drop(real);
    open_loop(&client, 500, ms(700), |n| mixed(&keys, n)).await;
    let Some(_again) = RealMemcached::start(addr).await.ok() else { panic!("its port was taken") };
    open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let after = open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let ttt = heard.trips(0)[0] - killed;
    assert_eq!((after.errors(), after.wrong), (0, 0), "{:?}", after.ends);
    assert!(ttt <= ms(250 + 100), "{ttt:?}");
    figure("H2", format!("tripped {ttt:.0?} after the kill; 0 errors 1 s after the restart"));
}

#[tokio::test]
async fn h3_replies_from_before_a_pause_are_thrown_away() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test().await else { return };
    let Some(other) = RealMemcached::for_test().await else { return };
    let (client, heard) = client_of([real.addr(), other.addr()], config(ms(300)));
    let keys = keys_on(&client, 0, 100);
    open_loop(&client, 500, ms(300), |n| mixed(&keys, n)).await;
    let mut wrong = 0;
    for _ in 0..2 {
        real.signal("STOP").unwrap();
        wrong += open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await.wrong;
        real.signal("CONT").unwrap();
        wrong += open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await.wrong;
    }
    let after = open_loop(&client, 500, ms(500), |n| mixed(&keys, n)).await;
    assert_eq!((wrong, after.errors()), (0, 0), "{:?}", after.ends);
    assert_eq!(heard.trips(0).len(), 2);
    figure("H3", "2 pauses of 1 s: 0 wrong values, 2 opens, 0 errors 1 s after the second");
}

#[tokio::test]
async fn h4_evictions_are_misses() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test_with(&["-m", "8"], Ready::Answers).await else { return };
    let (client, heard) = client_of([real.addr()], config(Duration::from_secs(5)));
    let value = vec![b'v'; 8_000];
    let (mut errors, mut misses) = (0, 0);
    for n in 0..2_500 {
        errors += u32::from(client.set(&key(&format!("big{n}")), value.clone().into(), None).await.is_err());
    }
    for n in 0..2_500 {
        match client.get(&key(&format!("big{n}"))).await {
            Ok(None) => misses += 1,
            Ok(Some(_)) => {}
            Err(_) => errors += 1,
        }
    }
    assert_eq!((errors, heard.trips(0).len()), (0, 0));
    assert!(misses > 500 && stat(real.addr(), "evictions").await > 0);
    figure("H4", format!("{misses} of 2 500 keys evicted, 0 errors"));
}

#[tokio::test]
async fn h5_a_server_out_of_memory_refuses_writes_and_stays_in_service() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test_with(&["-m", "8", "-M"], Ready::Answers).await else { return };
    let (client, heard) = client_of([real.addr()], config(Duration::from_secs(5)));
    client.set(&key("kept"), "v".into(), None).await.unwrap();
    let value = vec![b'v'; 8_000];
    let (mut refused, mut reads) = (0, 0);
    for n in 0..2_500 {
        let op = Op::Set { key: key(&format!("big{n}")), value: value.clone().into(), ttl: None };
        refused += u32::from(client.execute(op).await.outcome() == Outcome::ServerError);
        reads += u32::from(client.get(&key("kept")).await.is_ok_and(|value| value.is_some()));
    }
    assert!(refused > 500);
    assert_eq!((reads, heard.trips(0).len()), (2_500, 0));
    figure("H5", format!("{refused} writes refused, 2 500 of 2 500 reads right, 0 opens"));
}

#[tokio::test]
async fn h6_a_graceful_shutdown_costs_no_more_than_what_is_in_flight() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test().await else { return };
    let Some(other) = RealMemcached::for_test().await else { return };
    let (client, _) = client_of([real.addr(), other.addr()], config(ms(500)));
    let keys = keys_on(&client, 0, 100);
    open_loop(&client, 500, ms(300), |n| mixed(&keys, n)).await;
    let load = open_loop(&client, 500, Duration::from_secs(1), |n| mixed(&keys, n));
    let stop = async {
        ops_later(&client, 150).await;
        real.signal("TERM").unwrap();
    };
    let (done, ()) = tokio::join!(load, stop);
    assert!(done.errors() <= 32 && done.wrong == 0, "{:?}", done.ends);
    figure("H6", format!("{} errors at the shutdown (<= 32 connections)", done.errors()));
}

#[tokio::test]
async fn h7_another_service_on_the_port_is_found_out_at_once() {
    let _alone = crate::rig::alone().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
                }
            });
        }
    });
    let mut config = config(Duration::from_secs(5));
    config.breaker.as_mut().unwrap().ratio.as_mut().unwrap().min_calls = 3;
    let Some(other) = RealMemcached::for_test().await else { return };
    let (client, heard) = client_of([addr, other.addr()], config);
    let keys = keys_on(&client, 0, 20);
    let mut ops = 0;
    while heard.trips(0).is_empty() {
        let done = client
            .execute(Op::Set { key: keys[ops].clone(), value: value_of(&keys[ops], 1), ttl: None })
            .await;
        assert_eq!(done.outcome(), Outcome::Protocol);
        ops += 1;
    }
    assert!(ops <= 3, "{ops}");
    figure("H7", format!("ejected after {ops} ops (<= 3), each typed as protocol"));
}

#[tokio::test]
async fn rc18_after_twenty_restarts_no_error_is_older_than_an_open_time_and_a_second() {
    let _alone = crate::rig::alone().await;
    let Some(other) = RealMemcached::for_test().await else { return };
    let Some(mut real) = RealMemcached::for_test().await else { return };
    let addr = real.addr();
    let (client, _) = client_of([addr, other.addr()], config(ms(100)));
    let keys = keys_on(&client, 0, 50);
    let mut wrong = 0;
    for _ in 0..20 {
        wrong += open_loop(&client, 500, ms(50), |n| mixed(&keys, n)).await.wrong;
        drop(real);
        wrong += open_loop(&client, 500, ms(50), |n| mixed(&keys, n)).await.wrong;
        real = RealMemcached::start(addr).await.unwrap();
    }
    let settled = Instant::now();
    let mut last_error = Duration::ZERO;
    while settled.elapsed() < Duration::from_secs(2) {
        let done = open_loop(&client, 500, ms(50), |n| mixed(&keys, n)).await;
        wrong += done.wrong;
        if done.errors() > 0 {
            last_error = settled.elapsed();
        }
    }
    wait_for("the breaker", || client.stats()[0].breaker.unwrap().state == BreakerState::Closed).await;
    assert_eq!(wrong, 0);
    assert!(last_error <= ms(100 + 1_000), "{last_error:?}");
    figure(
        "R-C18",
        format!(
            "20 restarts: 0 wrong values, last error {last_error:.0?} after the last (<= open time + 1 s)"
        ),
    );
}
