//! The oracles against a server that lies.

use std::time::Duration;

use memcache_client::{Config, ServerAddr};
use memcached_fake::FakeMemcached;
use memcached_fake::lies::{Act, Lie};
use observation::Outcome;
use prometheus::Registry;

use crate::{Arrivals, Load, LoadConfig, Summary};

/// A load on few keys for a while; `lie` when it has run for a third of it.
async fn load(mix: &str, keys: usize, client: Config, lie: impl AsyncFnOnce(&FakeMemcached)) -> Summary {
    let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let config = LoadConfig {
        arrivals: Arrivals::Closed,
        in_flight_max: 24,
        keys,
        mix: Some(mix.parse().unwrap()),
        ..LoadConfig::default()
    };
    let servers = vec![ServerAddr { name: "fake".to_owned(), addr: fake.addr().to_string() }];
    let load = Load::start(&config, client, servers, &Registry::new()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    lie(&fake).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let summary = load.stop().await;
    fake.shutdown().await;
    assert!(summary.totals.outcomes().ok() > 100);
    summary
}

const MIX: &str = "get=50,set=30,add=5,delete=10,multiget:4=3,touch=2,incr=20";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_server_is_never_blamed() {
    for keys in [1, 5, 500] {
        let summary = load(MIX, keys, Config::default(), async |_| {}).await;
        assert_eq!((summary.totals.oracles, summary.wrong_values()), (Default::default(), 0), "{keys} keys");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_come_late_or_whose_answer_is_lost_are_no_lies() {
    let client = Config { op_timeout: Duration::from_millis(40), breaker: None, ..Config::default() };
    let summary = load(MIX, 5, client, async |fake| {
        let late = |command| Lie::new(Act::LateApply(Duration::from_millis(90))).command(command).every(7);
        fake.lies().add(late("ms"));
        fake.lies().add(late("md"));
        fake.lies().add(late("ma"));
        fake.lies().add(Lie::new(Act::Close).command("ms").every(11));
        fake.lies().add(Lie::new(Act::Reset).command("ma").every(11));
    })
    .await;
    assert!(summary.totals.outcomes().get(Outcome::Timeout) > 0);
    assert_eq!((summary.totals.oracles, summary.wrong_values()), (Default::default(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_shows_as_stale_reads_with_their_age_and_fails_no_run() {
    let summary = load("get=90,set=10", 3, Config::default(), async |fake| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("ms"));
    })
    .await;
    let found = summary.totals.oracles;
    assert!(found.stale > 10, "{found:?}");
    assert!((10_000..2_000_000).contains(&found.stale_worst_us), "{found:?}");
    assert_eq!((found.resurrected, found.counter_resets, summary.wrong_values()), (0, 0, 0));
    assert!(summary.to_string().contains("\nstale: "), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_delete_shows_as_resurrected_values() {
    let summary = load("get=95,set=3,delete=2", 3, Config::default(), async |fake| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("md"));
    })
    .await;
    let found = summary.totals.oracles;
    assert!(found.resurrected > 0 && found.stale == 0, "{found:?}");
    assert_eq!(summary.wrong_values(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_count_is_a_wrong_value_and_a_counter_that_began_anew_is_not() {
    let summary = load("incr=1", 1, Config::default(), async |fake| fake.flush()).await;
    let found = summary.totals.oracles;
    assert!((1..=64).contains(&found.counter_resets), "{found:?}");
    assert_eq!(summary.wrong_values(), 0);
    let summary = load("incr=1", 1, Config::default(), async |fake| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("ma").every(50));
    })
    .await;
    assert!(summary.wrong_values() > 0, "{:?}", summary.totals.oracles);
}
