//! Writes every key once before the load, so that its reads find something from the beginning.

use std::time::Duration;

use futures::StreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smallvec::smallvec;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::Shared;
use crate::flight::Ring;
use crate::op::{Planned, PlannedOp};
use crate::oracles::OracleCounts;
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
            let op = PlannedOp::Set(key, value, ttl);
            let planned = Planned { op, numbers: smallvec![n], tick: version, token: None };
            planned.run(&shared.client, Instant::now())
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
        for (number, result) in finished.numbers.iter().zip(&finished.results) {
            // A write finds nothing; the oracles only hear of it.
            shared.judge(&mut OracleCounts::default(), &finished, *number, result, &Ring::default());
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
    use memcache_client::{Config, ServerAddr};
    use memcached_fake::FakeMemcached;
    use memcached_fake::lies::{Act, Lie};
    use observation::Outcome;
    use prometheus::Registry;

    use super::*;
    use crate::load::Prepared;
    use crate::{Load, LoadConfig};

    async fn prepared(keys: usize, warm_up: Duration) -> (FakeMemcached, Prepared) {
        let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let servers = vec![ServerAddr { name: "fake".to_owned(), addr: fake.addr().to_string() }];
        let mix = Some("get=9,set=1".parse().unwrap());
        let config = LoadConfig { keys, mix, warm_up, ..LoadConfig::default() };
        let prepared = Load::prepare(&config, Config::default(), servers, &Registry::new()).unwrap();
        (fake, prepared)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_a_prefill_no_read_misses() {
        let (fake, prepared) = prepared(3_000, Duration::ZERO).await;
        let mut reports = Vec::new();
        let done = prepared.prefill(&CancellationToken::new(), |done| reports.push(done)).await;
        assert_eq!(done, Prefilled { written: 3_000, failed: 0, total: 3_000 });
        assert_eq!(reports.last(), Some(&done));
        assert!(fake.value(b"lg:k:00002999").is_some());
        let load = prepared.start();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let summary = load.stop().await;
        let counts = summary.totals.outcomes();
        assert!(counts.get(Outcome::Hit) > 100 && counts.get(Outcome::Miss) == 0, "{summary}");
        assert_eq!((summary.totals.oracles, summary.wrong_values()), (OracleCounts::default(), 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_prefill_reports_each_second_keeps_its_bound_and_stops_at_once() {
        let (fake, prepared) = prepared(100_000, Duration::ZERO).await;
        fake.lies().add(Lie::new(Act::Delay(Duration::from_millis(100))).command("ms"));
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2_300)).await;
            stopper.cancel();
        });
        let mut reports = Vec::new();
        let began = Instant::now();
        let done = prepared.prefill(&stop, |done| reports.push(done)).await;
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(reports.len(), 3);
        // 64 at a time, 100 ms each.
        assert!(done.written <= 64 * 24 && done.written + done.failed > 0, "{done:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_warm_up_is_not_counted_but_its_wrong_values_are() {
        let (fake, prepared) = prepared(10, Duration::from_millis(600)).await;
        prepared.prefill(&CancellationToken::new(), |_| {}).await;
        fake.lies().add(Lie::new(Act::ForeignValue).command("mg").times(20));
        let load = prepared.start();
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let summary = load.stop().await;
        assert_eq!(summary.totals.outcomes().get(Outcome::WrongValue), 0);
        assert!(summary.totals.outcomes().ok() > 0 && summary.wrong_values() > 0, "{summary}");
        assert!((0.1..=0.7).contains(&summary.elapsed.as_secs_f64()), "{:?}", summary.elapsed);

        let (_fake, prepared) = self::prepared(10, Duration::from_secs(60)).await;
        let load = prepared.start();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let summary = load.stop().await;
        assert_eq!((summary.totals.outcomes().total(), summary.elapsed), (0, Duration::ZERO));
    }
}
