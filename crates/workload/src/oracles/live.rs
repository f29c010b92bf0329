//! The oracles against a server that lies.

use std::time::Duration;

use memcache_client::Config;
use memcached_fake::FakeMemcached;
use memcached_fake::lies::{Act, Lie};
use observation::{FlightHead, OpLine, Outcome};
use prometheus::Registry;

use crate::fixture::{exported, fake_server, ours, until};
#[cfg(feature = "op-log")]
use crate::op_log::{OpLogReader, Tail};
use crate::{Arrivals, Load, LoadConfig, Summary};

/// A load on few keys; `lie` when it has done a thing or two, and the end when `seen` holds.
async fn load(
    mix: &str,
    keys: usize,
    client: Config,
    lie: impl AsyncFnOnce(&FakeMemcached),
    seen: impl Fn(&Registry) -> bool,
) -> Summary {
    let config = LoadConfig { keys, mix: Some(mix.parse().unwrap()), ..LoadConfig::default() };
    load_of(config, client, lie, seen).await
}

async fn load_of(
    config: LoadConfig,
    client: Config,
    lie: impl AsyncFnOnce(&FakeMemcached),
    seen: impl Fn(&Registry) -> bool,
) -> Summary {
    let fake = fake_server().await;
    let config = LoadConfig { arrivals: Arrivals::Closed, in_flight_max: 24, ..config };
    let registry = Registry::new();
    let load = Load::start(&config, ours(&fake, client), &registry).unwrap();
    until(|| succeeded(&registry) >= 2_000.0).await;
    lie(&fake).await;
    until(|| seen(&registry)).await;
    let summary = load.stop().await;
    fake.shutdown().await;
    assert!(summary.totals.outcomes().ok() > 100);
    summary
}

fn succeeded(registry: &Registry) -> f64 {
    exported(registry, "memcache_operations_total", Some("success"))
}

fn wrong_values(registry: &Registry) -> f64 {
    exported(registry, "memcache_wrong_values_total", None)
}

const MIX: &str = "get=50,set=30,add=5,delete=10,multiget:4=3,touch=2,incr=20";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_server_is_never_blamed() {
    for keys in [1, 5, 500] {
        let summary =
            load(MIX, keys, Config::default(), async |_| {}, |seen| succeeded(seen) >= 10_000.0).await;
        assert_eq!((summary.totals.oracles, summary.wrong_values()), (Default::default(), 0), "{keys} keys");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_come_late_or_whose_answer_is_lost_are_no_lies() {
    let client = Config { op_timeout: Duration::from_millis(40), breaker: None, ..Config::default() };
    let lie = async |fake: &FakeMemcached| {
        let late = |command| Lie::new(Act::LateApply(Duration::from_millis(90))).command(command).every(7);
        fake.lies().add(late("ms"));
        fake.lies().add(late("md"));
        fake.lies().add(late("ma"));
        fake.lies().add(Lie::new(Act::Close).command("ms").every(11));
        fake.lies().add(Lie::new(Act::Reset).command("ma").every(11));
    };
    let timeouts = |seen: &Registry| exported(seen, "memcache_operation_results_total", Some("timeout"));
    let seen = |seen: &Registry| timeouts(seen) >= 100.0 && succeeded(seen) >= 5_000.0;
    let summary = load(MIX, 5, client, lie, seen).await;
    assert!(summary.totals.outcomes().get(Outcome::Timeout) > 0);
    assert_eq!((summary.totals.oracles, summary.wrong_values()), (Default::default(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_shows_as_stale_reads_with_their_age_and_fails_no_run() {
    // Few writes: the age is counted from the oldest one that is remembered, and a fast machine soon forgets.
    let lie = async |fake: &FakeMemcached| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("ms"));
    };
    let seen = |seen: &Registry| {
        exported(seen, "loadgen_stale_reads_total", None) > 10.0
            && exported(seen, "loadgen_stale_read_age_seconds_max", None) >= 0.01
    };
    let summary = load("get=199,set=1", 3, Config::default(), lie, seen).await;
    let found = summary.totals.oracles;
    assert!(found.stale > 10, "{found:?}");
    assert!((10_000..2_000_000).contains(&found.stale_worst_us), "{found:?}");
    assert_eq!((found.resurrected, found.counter_resets, summary.wrong_values()), (0, 0, 0));
    assert!(summary.to_string().contains("\nstale: "), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_delete_shows_as_resurrected_values() {
    let lie = async |fake: &FakeMemcached| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("md"));
    };
    let seen = |seen: &Registry| exported(seen, "loadgen_resurrected_reads_total", None) > 0.0;
    let summary = load("get=95,set=3,delete=2", 3, Config::default(), lie, seen).await;
    let found = summary.totals.oracles;
    assert!(found.resurrected > 0 && found.stale == 0, "{found:?}");
    assert_eq!(summary.wrong_values(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_count_is_a_wrong_value_and_a_counter_that_began_anew_is_not() {
    let seen = |seen: &Registry| exported(seen, "loadgen_incr_resets_total", None) >= 1.0;
    let summary = load("incr=1", 1, Config::default(), async |fake| fake.flush(), seen).await;
    let found = summary.totals.oracles;
    assert!((1..=64).contains(&found.counter_resets), "{found:?}");
    assert_eq!(summary.wrong_values(), 0);
    let lie = async |fake: &FakeMemcached| {
        fake.lies().add(Lie::new(Act::LoseWrite).command("ma").every(50));
    };
    let summary = load("incr=1", 1, Config::default(), lie, |seen| wrong_values(seen) > 0.0).await;
    assert!(summary.wrong_values() > 0, "{:?}", summary.totals.oracles);
}

#[cfg(feature = "op-log")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violation_leaves_the_ops_before_it_and_the_op_log_has_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let config = LoadConfig {
        keys: 50,
        mix: Some(MIX.parse().unwrap()),
        flight_dir: Some(dir.path().to_owned()),
        op_log: Some(dir.path().join("ops")),
        ..LoadConfig::default()
    };
    let lie = async |fake: &FakeMemcached| {
        fake.lies().add(Lie::new(Act::ForeignValue).command("mg").times(3));
    };
    let summary = load_of(config, Config::default(), lie, |seen| wrong_values(seen) > 0.0).await;
    assert!((1..=3).contains(&summary.wrong_values()));
    let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let flights: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson")).collect();
    assert_eq!(flights.len() as u64, summary.wrong_values());
    let text = std::fs::read_to_string(&flights[0]).unwrap();
    let head: FlightHead = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(["wrong_key", "foreign"].contains(&head.found.as_str()), "{head:?}");
    let last: OpLine = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((last.outcome, last.home.as_str()), (Outcome::WrongValue, "fake"));
    assert!(last.started_us >= last.intended_us && last.ended_us > last.started_us);

    let mut log = OpLogReader::open(&dir.path().join("ops")).unwrap();
    let ops: Vec<_> = log.by_ref().collect();
    assert_eq!(log.tail(), Some(&Tail::Complete { dropped: 0 }));
    let wrong = ops.iter().filter(|op| op.outcome == Outcome::WrongValue).count() as u64;
    let counts = summary.totals.outcomes();
    assert_eq!((ops.len() as u64, wrong), (counts.total(), summary.wrong_values()));
    assert_eq!(summary.op_log.unwrap().written, counts.total());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_side_by_side_share_no_key_and_find_nothing_wrong() {
    let fake = fake_server().await;
    let registries = [Registry::new(), Registry::new()];
    let load = |shard: &str, registry: &Registry| {
        let config = LoadConfig {
            arrivals: Arrivals::Constant(4_000.0),
            in_flight_max: 64,
            keys: 20,
            mix: Some(MIX.parse().unwrap()),
            shard: shard.parse().unwrap(),
            ..LoadConfig::default()
        };
        Load::start(&config, ours(&fake, Config::default()), registry).unwrap()
    };
    let loads = [load("1/2", &registries[0]), load("2/2", &registries[1])];
    let hello = loads[1].hub().subscribe().next_line().await.unwrap();
    assert!(hello.contains(r#""shard":{"number":2,"count":2}"#) && hello.contains(r#""keys":10"#), "{hello}");
    assert!(hello.contains(r#""rate_ops_per_s":2000.0"#), "{hello}");
    let offered = |registry| exported(registry, "loadgen_offered_operations_total", None);
    until(|| registries.iter().all(|registry| offered(registry) >= 600.0)).await;
    for load in loads {
        let summary = load.stop().await;
        assert_eq!((summary.totals.oracles, summary.wrong_values()), (Default::default(), 0));
        assert!((500..=2_500).contains(&summary.totals.offered), "{}", summary.totals.offered);
    }
    let config = LoadConfig { keys: 2, shard: "1/3".parse().unwrap(), ..LoadConfig::default() };
    assert_eq!(config.validate().unwrap_err().to_string(), "2 keys are too few for 3 shards");
}
