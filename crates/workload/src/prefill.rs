//! Writes every key once before the load, so that its reads find something from the beginning.

use std::time::Duration;

use futures::StreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::op::Planned;
use crate::recording::tell_oracles;
use crate::shared::Shared;
use crate::target::Op;
use crate::values;

/// Writes in flight at most.
const IN_FLIGHT_MAX: usize = 64;
/// From one progress report to the next.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The random stream of the values' sizes and lives; drivers have others.
const STREAM: u64 = u64::MAX;

/// How far a prefill is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefilled {
    /// Keys that were written.
    pub written: u64,
    /// Keys whose write failed; they are not tried again.
    pub failed: u64,
    /// All keys.
    pub total: u64,
}

/// Until all are written or `stop`; says once a second and at the end how far it is. `aged`: as if each had been written at any
/// moment of its life, because values that were written together expire together.
pub(crate) async fn run(
    shared: &Shared,
    seed: u64,
    aged: bool,
    stop: &CancellationToken,
    mut report: impl FnMut(Prefilled),
) -> Prefilled {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut done = Prefilled { total: shared.table.len() as u64, ..Prefilled::default() };
    let mut writes = futures::stream::iter(0..shared.table.len())
        .map(|n| {
            let key = shared.table.key(n);
            let version = shared.oracles.plan_write(n);
            let value = values::encode(key.as_bytes(), version, shared.value_size.draw(&mut rng));
            let ttl = shared.ttl.draw(&mut rng);
            let ttl = if aged { ttl.map(|ttl| ttl.mul_f64(rng.random::<f64>())) } else { ttl };
            Planned::one(Op::Set { key, value, ttl }, n, version).run(&shared.target, Instant::now())
        })
        .buffer_unordered(IN_FLIGHT_MAX);
    let mut timer = tokio::time::interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
    loop {
        let finished = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = timer.tick() => {
                report(done);
                continue;
            }
            finished = writes.next() => finished,
        };
        let Some(finished) = finished else { break };
        tell_oracles(shared, &finished);
        for result in &finished.results {
            if result.outcome.is_ok() {
                done.written += 1;
            } else {
                done.failed += 1;
            }
        }
    }
    report(done);
    done
}

#[cfg(test)]
mod tests {
    use memcache_client::Config;
    use memcached_fake::FakeMemcached;
    use memcached_fake::lies::{Act, Lie};
    use observation::{Outcome, Record};
    use prometheus::Registry;

    use super::*;
    use crate::fixture::{exported, fake_server, ours, until};
    use crate::load::Prepared;
    use crate::oracles::OracleCounts;
    use crate::{Load, LoadConfig};

    async fn prepared(keys: usize, warm_up: Duration) -> (FakeMemcached, Prepared, Registry) {
        let fake = fake_server().await;
        let mix = Some("get=9,set=1".parse().unwrap());
        let config = LoadConfig { keys, mix, warm_up, ..LoadConfig::default() };
        let registry = Registry::new();
        let prepared = Load::prepare(&config, ours(&fake, Config::default()), &registry).unwrap();
        (fake, prepared, registry)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_a_prefill_no_read_misses() {
        let (fake, prepared, registry) = prepared(3_000, Duration::ZERO).await;
        let mut reports = Vec::new();
        let done = prepared.prefill(&CancellationToken::new(), |done| reports.push(done)).await;
        assert_eq!(done, Prefilled { written: 3_000, failed: 0, total: 3_000 });
        assert_eq!(reports.last(), Some(&done));
        assert!(fake.value(b"lg:k:00002999").is_some());
        let load = prepared.start();
        until(|| exported(&registry, "memcache_operation_results_total", Some("hit")) > 100.0).await;
        let summary = load.stop().await;
        let counts = summary.totals.outcomes();
        assert!(counts.get(Outcome::Hit) > 100 && counts.get(Outcome::Miss) == 0, "{summary}");
        assert_eq!((summary.totals.oracles, summary.wrong_values()), (OracleCounts::default(), 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_prefill_reports_each_second_keeps_its_bound_and_stops_at_once() {
        let (fake, prepared, _registry) = prepared(100_000, Duration::ZERO).await;
        fake.lies().add(Lie::new(Act::Delay(Duration::from_millis(100))).command("ms"));
        let stop = CancellationToken::new();
        let mut reports = Vec::new();
        let began = Instant::now();
        let report = |done| {
            reports.push(done);
            if reports.len() == 2 {
                stop.cancel();
            }
        };
        let done = prepared.prefill(&stop, report).await;
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(reports.len(), 3);
        // 64 at a time, 100 ms each.
        assert!(done.written <= 64 * 24 && done.written + done.failed > 0, "{done:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_warm_up_is_not_counted_but_its_wrong_values_are() {
        let (fake, prepared, _registry) = prepared(10, Duration::from_millis(600)).await;
        prepared.prefill(&CancellationToken::new(), |_| {}).await;
        fake.lies().add(Lie::new(Act::ForeignValue).command("mg").times(20));
        let mut ticks = prepared.hub().subscribe();
        let load = prepared.start();
        let mut lasted = Duration::ZERO;
        while lasted < Duration::from_millis(900) {
            let line = ticks.next_line().await.unwrap();
            if let Ok(Record::Tick(tick)) = serde_json::from_str(&line) {
                lasted += Duration::from_micros(tick.period_us);
            }
        }
        let summary = load.stop().await;
        assert_eq!(summary.totals.outcomes().get(Outcome::WrongValue), 0);
        assert!(summary.totals.outcomes().ok() > 0 && summary.wrong_values() > 0, "{summary}");
        assert!((0.1..=0.7).contains(&summary.elapsed.as_secs_f64()), "{:?}", summary.elapsed);

        let (_fake, prepared, registry) = self::prepared(10, Duration::from_secs(60)).await;
        let load = prepared.start();
        until(|| exported(&registry, "memcache_operations_total", Some("success")) > 100.0).await;
        let summary = load.stop().await;
        assert_eq!((summary.totals.outcomes().total(), summary.elapsed), (0, Duration::ZERO));
    }
}
