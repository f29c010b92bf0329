//! B: gray and slow servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memcache_client::breaker::{BreakerState, TripReason};
use memcache_client::{BreakerConfig, Config, Hedge, Probes, SlowRule};
use memcached_fake::lies::{Act, Lie};
use tokio::time::Instant;

use crate::rig::{Rig, closed_loop, figure, mixed, open_loop};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn all_keys(rig: &Rig) -> Vec<memcache_client::Key> {
    (0..3).flat_map(|server| rig.keys_on(server, 200)).collect()
}

#[tokio::test]
async fn b1_a_server_200_ms_slower_is_ejected_and_half_of_the_goodput_stays() {
    let slow = SlowRule { window: ms(500), ..SlowRule::above(ms(100)) };
    let breaker =
        BreakerConfig { slow: Some(slow), open: Duration::from_secs(2), ..BreakerConfig::default() };
    let config = Config { op_timeout: Duration::from_secs(1), breaker: Some(breaker), ..Config::default() };
    let rig = Rig::new(3, config).await;
    let keys = all_keys(&rig);
    let load = async |time| closed_loop(&rig.client, 100, time, |n| mixed(&keys, n)).await;
    load(ms(300)).await;
    let before = load(Duration::from_secs(1)).await.ok() as f64;
    rig.fakes[0].lies().add(Act::Delay(ms(200)));
    let during = load(Duration::from_secs(5)).await.ok() as f64 / 5.0;
    let (_, trip) = rig.heard.transitions_of(0).remove(0);
    assert!(matches!(trip.reason, TripReason::SlowCalls { .. }), "{trip:?}");
    assert!(during / before >= 0.5, "{during} of {before} ops/s");
    assert!(rig.heard.trips(1).is_empty() && rig.heard.trips(2).is_empty());
    figure(
        "B1",
        format!("{:.0} % of the baseline (>= 50 %), tripped by: {}", 100.0 * during / before, trip.reason),
    );
}

#[tokio::test]
async fn b2_a_hung_server_is_ejected_within_a_quarter_second_after_the_first_timeout() {
    let rig = Rig::new(3, Config::default()).await;
    let keys = all_keys(&rig);
    open_loop(&rig.client, 1_000, ms(300), |n| mixed(&keys, n)).await;
    rig.fakes[0].lies().add(Act::Hang);
    let began = Instant::now();
    let done = open_loop(&rig.client, 1_000, Duration::from_secs(2), |n| mixed(&keys, n)).await;
    let ttt = rig.heard.trips(0)[0] - began;
    let healthy = done.errors_at.get(&1).unwrap_or(&0) + done.errors_at.get(&2).unwrap_or(&0);
    assert!(ttt <= ms(250 + 250), "{ttt:?}");
    assert_eq!((healthy, done.wrong), (0, 0), "{done:?}");
    // A third of the load for one timeout, bounded by the pool and its queue, and retried elsewhere within the budget.
    assert!(done.ok() as f64 / done.total() as f64 >= 0.9, "{:?}", done.ends);
    figure(
        "B2",
        format!("tripped after {ttt:.0?} (<= 500 ms); {:.2} % errors in 2 s", 100.0 * done.error_share()),
    );
}

#[tokio::test]
async fn b3_a_server_that_does_not_accept_is_ejected_after_one_connect_timeout() {
    let rig = Rig::new(3, Config { connect_timeout: ms(150), ..Config::default() }).await;
    // A listener whose queue is full: the kernel drops further SYNs.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(ms(100), tokio::net::TcpStream::connect(addr)).await {
        fill.push(stream);
    }
    let mut servers = rig.client.servers();
    servers[0].addr = addr.to_string();
    rig.client.set_servers(servers).unwrap();
    let keys = all_keys(&rig);
    let began = Instant::now();
    let done = open_loop(&rig.client, 1_000, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let ttt = rig.heard.trips(0)[0] - began;
    assert!(ttt <= ms(150 + 100), "{ttt:?}");
    assert_eq!(done.errors_at.get(&1), None);
    figure("B3", format!("tripped after {ttt:.0?} (<= 250 ms)"));
}

#[tokio::test]
async fn b4_one_slow_reply_in_a_hundred_does_not_trip_and_the_tail_is_bounded() {
    let hedge = Hedge { after: ms(30), budget: 0.02 };
    let rig = Rig::new(3, Config { hedge: Some(hedge), ..Config::default() }).await;
    let keys = all_keys(&rig);
    for fake in &rig.fakes {
        fake.lies().add(Lie::new(Act::Delay(Duration::from_secs(1))).every(100));
    }
    let done = open_loop(&rig.client, 1_000, Duration::from_secs(4), |n| mixed(&keys, n)).await;
    let opens: usize = (0..3).map(|server| rig.heard.trips(server).len()).sum();
    let hedges = rig.client.totals().hedges as f64 / done.total() as f64;
    let p999 = done.quantile(0.999);
    assert_eq!((opens, done.wrong), (0, 0));
    assert!(p999 <= ms(250 + 50), "{p999:?}");
    assert!(hedges <= 0.025, "{hedges}");
    figure(
        "B4",
        format!("0 opens, p99.9 {p999:.0?} (<= 300 ms), hedges {:.2} % (budget 2 % + 1/s)", 100.0 * hedges),
    );
}

#[tokio::test]
async fn b5_a_server_that_answers_version_but_not_data_does_not_flap() {
    let breaker = BreakerConfig { open: ms(500), probes: Probes::OutOfBand, ..BreakerConfig::default() };
    let rig = Rig::new(3, Config { breaker: Some(breaker), ..Config::default() }).await;
    let keys = all_keys(&rig);
    for command in ["mg", "ms"] {
        rig.fakes[0].lies().add(Lie::new(Act::Hang).command(command));
    }
    open_loop(&rig.client, 500, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    let tripped = rig.heard.trips(0).len();
    let after = open_loop(&rig.client, 500, Duration::from_secs(4), |n| mixed(&keys, n)).await;
    assert_eq!((tripped, rig.heard.trips(0).len()), (1, 1));
    // Its own probes pay, not the callers.
    assert_eq!(after.errors(), 0, "{:?}", after.ends);
    assert!(rig.heard.probes(0) >= 4);
    figure(
        "B5",
        format!(
            "1 open in 5 s, {} probes of its own, 0 failures of users after the trip",
            rig.heard.probes(0)
        ),
    );
}

#[tokio::test]
async fn b6_a_ramp_of_latency_trips_once_where_it_crosses_the_timeout() {
    let rig = Rig::new(3, Config::default()).await;
    let keys = all_keys(&rig);
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let ramp = async {
        // 0 to 400 ms in 6 s.
        while begin.elapsed() < Duration::from_secs(6) && !stop.load(Ordering::Relaxed) {
            let lies = rig.fakes[0].lies();
            lies.set([Lie::new(Act::Delay(begin.elapsed().mul_f64(400.0 / 6000.0)))]);
            tokio::time::sleep(ms(20)).await;
        }
    };
    // Slow enough for the pool: 60/s at 0.4 s.
    let load = async {
        let done = open_loop(&rig.client, 180, Duration::from_secs(6), |n| mixed(&keys, n)).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (done, ()) = tokio::join!(load, ramp);
    let trips = rig.heard.trips(0);
    assert_eq!(trips.len(), 1);
    let crossed = Duration::from_secs(6).mul_f64(250.0 / 400.0);
    let late = (trips[0] - begin).as_secs_f64() - crossed.as_secs_f64();
    assert!((-0.2..=2.0).contains(&late), "{late}");
    assert_eq!(done.wrong, 0);
    figure("B6", format!("1 open, {late:.2} s after the latency crossed the timeout (<= 2 s)"));
}

#[tokio::test]
async fn b8_when_all_servers_are_slow_alike_none_is_ejected() {
    let slow = SlowRule { window: ms(500), ..SlowRule::above(ms(100)) };
    let breaker = BreakerConfig { slow: Some(slow), ..BreakerConfig::default() };
    let rig = Rig::new(3, Config { breaker: Some(breaker), ..Config::default() }).await;
    let keys = all_keys(&rig);
    open_loop(&rig.client, 200, ms(500), |n| mixed(&keys, n)).await;
    for fake in &rig.fakes {
        fake.lies().add(Act::Delay(ms(180)));
    }
    let done = open_loop(&rig.client, 200, Duration::from_secs(3), |n| mixed(&keys, n)).await;
    let stats = rig.client.stats();
    assert!(stats.iter().all(|server| server.breaker.unwrap().state == BreakerState::Closed));
    assert!((0..3).all(|server| rig.heard.trips(server).is_empty()));
    let goodput = done.ok() as f64 / done.total() as f64;
    assert!(goodput >= 0.95, "{goodput}");
    figure("B8", format!("0 ejected, goodput {:.1} % (>= 95 %)", 100.0 * goodput));
}

#[tokio::test]
async fn rc9_a_slow_neighbour_does_not_slow_the_others() {
    // One of four servers at "never": the other three as before.
    let rig = Arc::new(Rig::new(4, Config { breaker: None, retries: 0, ..Config::default() }).await);
    let keys: Vec<_> = (1..4).flat_map(|server| rig.keys_on(server, 200)).collect();
    let sick = rig.keys_on(0, 100);
    let load = async || open_loop(&rig.client, 1_000, Duration::from_secs(1), |n| mixed(&keys, n)).await;
    load().await;
    let before = load().await;
    rig.fakes[0].lies().add(Act::Hang);
    let (during, _) =
        tokio::join!(load(), open_loop(&rig.client, 300, Duration::from_secs(1), |n| mixed(&sick, n)));
    assert_eq!((before.errors(), during.errors()), (0, 0));
    assert!(during.ok() as f64 >= 0.99 * before.ok() as f64);
    let (p99_before, p99_during) = (before.quantile(0.99), during.quantile(0.99));
    figure(
        "R-C9",
        format!("throughput of the others kept; their p99 {p99_before:.1?} before, {p99_during:.1?} during"),
    );
}
