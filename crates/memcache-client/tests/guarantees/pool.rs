//! D: the pool and its connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use memcache_client::{
    Client, CloseReason, Config, Connector, Dial, Dialling, Io, Op, Outcome, PoolConfig, ServerAddr, Silent,
};
use memcached_fake::lies::{Act, Lie};
use tokio::time::Instant;

use crate::rig::{Rig, closed_loop, fakes, figure, key, mixed, open_loop, ops_later, pass, wait_for};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(max: usize) -> Config {
    let pool = PoolConfig { max, ..PoolConfig::default() };
    Config { breaker: None, retries: 0, pool, ..Config::default() }
}

#[tokio::test]
async fn d1_a_hung_server_holds_no_more_ops_than_its_own_pool() {
    let rig = Rig::new(3, config(16)).await;
    let keys: Vec<_> = (0..3).flat_map(|server| rig.keys_on(server, 100)).collect();
    closed_loop(&rig.client, 100, ms(300), |n| mixed(&keys, n)).await;
    rig.fakes[0].lies().add(Act::Hang);
    let watch = async {
        let mut most = 0;
        for _ in 0..100 {
            most = most.max(rig.client.stats()[0].pool.active);
            // Sleeps: the most of a whole second is what is asserted.
            tokio::time::sleep(ms(10)).await;
        }
        most
    };
    let load = closed_loop(&rig.client, 100, Duration::from_secs(1), |n| mixed(&keys, n));
    let (done, most) = tokio::join!(load, watch);
    let healthy = done.errors_at.get(&1).unwrap_or(&0) + done.errors_at.get(&2).unwrap_or(&0);
    assert!(most <= 16, "{most}");
    assert_eq!(healthy, 0);
    figure("D1", format!("{most} ops on the hung server (<= pool of 16), 0 errors of the others"));
}

#[tokio::test]
async fn d2_waits_for_a_connection_are_bounded_and_have_their_own_class() {
    let mut config = config(10);
    config.pool.max_waiting = 200;
    let rig = Rig::new(1, config).await;
    rig.fakes[0].lies().add(Act::Delay(ms(20)));
    let keys = rig.keys_on(0, 50);
    let done = closed_loop(&rig.client, 200, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let slowest = done.quantile(1.0);
    assert_eq!(done.errors(), done.count(Outcome::PoolExhausted), "{:?}", done.ends);
    // 25 ms of waiting, then 20 ms of service.
    assert!(slowest <= ms(250), "{slowest:?}");
    figure("D2", format!("slowest op {slowest:.0?} (<= timeout), errors of class pool only"));
}

#[tokio::test]
async fn d3_connections_that_the_server_closed_while_idle_cost_nothing() {
    let rig = Rig::new(1, config(8)).await;
    let keys = rig.keys_on(0, 50);
    let mut errors = 0;
    for _ in 0..10 {
        let done = closed_loop(&rig.client, 8, ms(50), |n| mixed(&keys, n)).await;
        errors += done.errors();
        rig.fakes[0].disconnect().await;
        wait_for("the closes to arrive", || rig.fakes[0].counters().open() == 0).await;
        pass(ms(5)).await;
    }
    assert_eq!(errors, 0);
    let stale = rig.heard.closes(CloseReason::Reset);
    assert!(stale >= 60, "{stale}");
    figure("D3", format!("0 errors with {stale} connections closed by the server while idle"));
}

#[tokio::test]
async fn d4_silently_forgotten_connections_cost_one_failure_for_all_of_them() {
    let rig = Rig::new(1, config(8)).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Act::Delay(ms(20)));
    join_all(keys[..8].iter().map(|key| rig.client.get(key))).await;
    assert_eq!(rig.client.stats()[0].pool.idle, 8);
    // Whoever sends on one of the old connections is never answered.
    rig.fakes[0].lies().set([Lie::new(Act::Hang).times(8)]);
    pass(Duration::from_millis(5_100)).await;
    let mut failures = 0;
    for key in &keys[..20] {
        failures += u32::from(rig.client.get(key).await.is_err());
        // New connections are not forgotten.
        rig.fakes[0].lies().clear();
    }
    assert_eq!(failures, 1);
    figure("D4", format!("{failures} failure for 8 connections that were idle for 5 s (<= 8)"));
}

#[tokio::test]
async fn d5_after_a_restart_dials_are_spread() {
    let rig = Rig::new(1, config(32)).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Act::Delay(ms(5)));
    let load = open_loop(&rig.client, 3_000, Duration::from_secs(4), |n| mixed(&keys, n));
    let restart = async {
        ops_later(&rig.client, 4_500).await;
        let at = Instant::now();
        rig.fakes[0].disconnect().await;
        at
    };
    let (done, at) = tokio::join!(load, restart);
    let dials = rig.heard.dials_since(0, at);
    let first_second = dials.iter().filter(|dial| **dial - at <= Duration::from_secs(1)).count();
    let mut steps: BTreeMap<u128, usize> = BTreeMap::new();
    for dial in &dials {
        *steps.entry((*dial - at).as_millis() / 100).or_default() += 1;
    }
    let worst = steps.values().max().copied().unwrap_or(0);
    assert!(first_second <= 64, "{steps:?}");
    assert!(rig.fakes[0].counters().open() <= 32);
    figure(
        "D5",
        format!(
            "{first_second} dials in the first second (<= 64), at most {worst} in 100 ms, {:.2} % errors",
            100.0 * done.error_share()
        ),
    );
}

#[tokio::test]
async fn d6_bursts_do_not_dial_anew() {
    let rig = Rig::new(1, config(32)).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Act::Delay(ms(2)));
    for _ in 0..3 {
        closed_loop(&rig.client, 32, ms(200), |n| mixed(&keys, n)).await;
        closed_loop(&rig.client, 2, ms(200), |n| mixed(&keys, n)).await;
    }
    let since = Instant::now();
    let done = closed_loop(&rig.client, 32, ms(200), |n| mixed(&keys, n)).await;
    let share = rig.heard.dials_since(0, since).len() as f64 / done.total() as f64;
    assert!(share <= 0.01, "{share}");
    figure("D6", format!("{:.2} % dials an op in the fourth burst (<= 1 %)", 100.0 * share));
}

#[tokio::test]
async fn d7_timeouts_leak_neither_connections_nor_slots() {
    let config = Config { op_timeout: ms(20), ..config(16) };
    let rig = Rig::new(1, config).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Lie::new(Act::Hang).every(10));
    let done = closed_loop(&rig.client, 16, Duration::from_secs(3), |n| mixed(&keys, n)).await;
    let timeouts = done.count(Outcome::Timeout);
    assert!(timeouts >= 500, "{:?}", done.ends);
    wait_for("the server to see the closes", || rig.fakes[0].counters().open() <= 16).await;
    let stats = rig.client.stats()[0];
    assert_eq!((stats.pool.active, stats.pool.waiting, stats.in_flight), (0, 0, 0));
    figure(
        "D7",
        format!(
            "after {timeouts} timeouts: {} connections open (<= 16), 0 slots held",
            rig.fakes[0].counters().open()
        ),
    );
}

#[tokio::test]
async fn d8_a_reset_inside_a_reply_is_typed_and_counters_are_never_repeated() {
    let rig = Rig::new(2, Config { retries: 3, retry_budget: 1.0, ..config(8) }).await;
    let counters = rig.keys_on(0, 20);
    let mut ok = 0;
    let lie = rig.fakes[0].lies().add(Lie::new(Act::Reset).command("ma").every(3));
    for n in 0..300 {
        let op = Op::Incr { key: counters[n % 20].clone(), delta: 1, initial: Some((1, None)) };
        let done = rig.client.execute(op).await;
        assert_eq!(done.attempts.len(), 1);
        match done.result {
            Ok(_) => ok += 1,
            Err(error) => assert_eq!(error.outcome(), Outcome::Reset),
        }
    }
    let seen = rig.fakes[0].counters().seen("ma");
    assert_eq!((seen, ok + rig.fakes[0].lies().told(lie)), (300, 300));
    // Reads are repeated, elsewhere or here, and answer.
    rig.fakes[0].lies().set([Lie::new(Act::CutAfter(3)).command("mg").every(3)]);
    let keys = rig.keys_on(0, 50);
    let reads = closed_loop(&rig.client, 4, ms(300), |n| Op::Get(keys[n as usize % 50].clone())).await;
    assert_eq!(reads.errors(), 0, "{:?}", reads.ends);
    figure(
        "D8",
        format!(
            "300 increments, 300 on the wire, {} reset; {} reads cut every third time, 0 errors",
            300 - ok,
            reads.total()
        ),
    );
}

#[tokio::test]
async fn d9_dead_sockets_hold_no_slots() {
    let rig = Rig::new(1, Config { op_timeout: ms(50), ..config(4) }).await;
    let keys = rig.keys_on(0, 50);
    rig.fakes[0].lies().add(Lie::new(Act::Hang).every(20));
    let done = closed_loop(&rig.client, 8, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    // One op timeout behind a hung one at most, bounded by the queue's own limit of 5 ms.
    assert!(done.quantile(0.99) <= ms(100), "{:?}", done.quantile(0.99));
    assert_eq!(done.errors(), done.count(Outcome::Timeout) + done.count(Outcome::PoolExhausted));
    figure(
        "D9",
        format!("p99 {:.0?} with 5 % of the connections dying (<= 2 timeouts)", done.quantile(0.99)),
    );
}

#[tokio::test]
async fn d10_rotation_of_connections_is_invisible() {
    let mut config = config(16);
    let rig = Rig::new(1, config.clone()).await;
    let keys = rig.keys_on(0, 50);
    let without = open_loop(&rig.client, 1_000, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    config.pool.lifetime_max = Some(ms(100));
    drop(rig);
    let rig = Rig::new(1, config).await;
    let with = open_loop(&rig.client, 1_000, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let rotated = rig.heard.closes(CloseReason::Lifetime);
    assert_eq!(with.errors(), 0);
    assert!(rotated >= 10, "{rotated}");
    let (a, b) = (without.quantile(0.99), with.quantile(0.99));
    figure("D10", format!("{rotated} connections rotated, 0 errors, p99 {a:.1?} without and {b:.1?} with"));
}

/// Resolves the name by a table that can change, as a DNS answer does.
#[derive(Debug, Clone)]
struct Resolver(Arc<Mutex<SocketAddr>>);

impl Connector for Resolver {
    fn connect(&self, _: &str) -> Dialling {
        let addr = *self.0.lock().unwrap();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

#[tokio::test]
async fn d11_a_moved_name_is_followed_at_the_next_dial() {
    let _alone = crate::rig::alone().await;
    let fakes = fakes(2).await;
    let resolver = Resolver(Arc::new(Mutex::new(fakes[0].addr())));
    let dial = Dial { connector: Some(Arc::new(resolver.clone())), ..Dial::default() };
    let servers = vec![ServerAddr { name: "cache".to_owned(), addr: "cache.example:11211".to_owned() }];
    let client = Client::new(servers, Config { dial, ..config(4) }, Arc::new(Silent)).unwrap();
    client.get(&key("k")).await.unwrap();
    // The old address goes dead without a word.
    fakes[0].lies().add(Act::Hang);
    fakes[0].lies().add(Act::HangNew);
    *resolver.0.lock().unwrap() = fakes[1].addr();
    let began = Instant::now();
    let mut failures = 0;
    while client.get(&key("k")).await.is_err() {
        failures += 1;
        assert!(failures < 10);
    }
    let ttf = began.elapsed();
    assert!(ttf <= ms(250 + 1_000), "{ttf:?}");
    figure("D11", format!("follows {ttf:.0?} after the move, {failures} failures (<= timeout + 1 s)"));
}
