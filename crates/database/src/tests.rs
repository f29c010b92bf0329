//! The laws of queues, under paused time.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn database(config: Config) -> Database {
    Database::start(config).unwrap()
}

fn one_worker(queue: Queue) -> Database {
    database(Config { workers: 1, service: Service::Constant(20 * MS), queue, seed: 1 })
}

/// Poisson queries at `rate` for `seconds`, until all are answered or have given up: answered, and the mean of their
/// latencies, s.
async fn offer(database: &Database, rate: f64, seconds: u64, patience: Duration, seed: u64) -> (usize, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut at = Instant::now();
    let end = at + Duration::from_secs(seconds);
    let mut queries = JoinSet::new();
    while at < end {
        at += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / rate);
        // Sleeps: queries come at this pace, in paused time.
        sleep_until(at).await;
        let database = database.clone();
        queries.spawn(async move {
            let asked = Instant::now();
            database.query(patience).await.ok().map(|()| asked.elapsed().as_secs_f64())
        });
    }
    let took: Vec<f64> = queries.join_all().await.into_iter().flatten().collect();
    (took.len(), took.iter().sum::<f64>() / took.len() as f64)
}

#[tokio::test(start_paused = true)]
async fn a_saturated_database_serves_its_capacity() {
    let config = Config::default();
    let database = database(config);
    offer(&database, 400.0, 60, Duration::from_secs(1), 1).await;
    let served = database.snapshot().served as f64 / 61.0;
    // The service times of 15 000 queries spread by 0.8 %.
    assert!((served / config.capacity() - 1.0).abs() < 0.03, "{served}");
}

#[tokio::test(start_paused = true)]
async fn waits_are_those_of_the_theory_of_queues() {
    // M/M/1 at 70 %: a wait of rho / (mu - lambda) on average.
    let service = Service::Exponential(10 * MS);
    let database = database(Config { workers: 1, service, ..Config::default() });
    let patience = Duration::from_secs(60);
    let (answered, took) = offer(&database, 70.0, 1_000, patience, 3).await;
    let waits = database.take_waits();
    assert_eq!((answered as u64, waits.len()), (database.snapshot().served, database.snapshot().served));
    let wait = waits.mean() / 1e6;
    assert!((wait / (0.7 / 30.0) - 1.0).abs() < 0.1, "{wait}");
    assert!((took / (1.0 / 30.0) - 1.0).abs() < 0.1, "{took}");
    assert_eq!(database.take_waits().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_database() {
    let run = async |seed| {
        let database = database(Config { seed, ..Config::default() });
        offer(&database, 240.0, 20, 200 * MS, 7).await;
        (database.snapshot(), database.take_waits().mean())
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_gave_up_takes_a_worker_all_the_same() {
    let database = one_worker(Queue::default());
    let mut first = database.submit(50 * MS).unwrap();
    let queries: Vec<_> = (0..4).map(|_| database.submit(50 * MS).unwrap()).collect();
    assert_eq!(first.answer().await, Ok(()));
    drop(queries);
    sleep(85 * MS).await;
    let seen = database.snapshot();
    assert_eq!((seen.demanded, seen.served, seen.in_vain), (5, 5, 3));
    assert_eq!((seen.queued, seen.in_service, seen.queued_max), (0, 0, 5));
}

#[tokio::test(start_paused = true)]
async fn who_waits_after_all_hears_the_late_answer() {
    let database = one_worker(Queue::default());
    let mut tickets: Vec<_> = (0..3).map(|_| database.submit(30 * MS).unwrap()).collect();
    let mut last = tickets.pop().unwrap();
    assert_eq!(last.answer().await, Err(QueryError::TimedOut));
    assert!(last.late().await);
    let mut dropped = database.submit(10 * MS).unwrap();
    let mut waiting = database.submit(100 * MS).unwrap();
    sleep(MS).await;
    assert_eq!(database.drop_queue(), 1);
    assert_eq!(waiting.answer().await, Err(QueryError::Refused));
    assert_eq!(dropped.answer().await, Err(QueryError::TimedOut));
    assert_eq!(database.snapshot().cleared, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_newest_and_a_stack_the_oldest() {
    for (order, refused_is_new) in [(Order::Fifo, true), (Order::Lifo, false)] {
        let database = one_worker(Queue { limit: Some(2), order, drop_expired: false });
        let mut served = database.submit(1000 * MS).unwrap();
        sleep(MS).await;
        let mut oldest = database.submit(1000 * MS).unwrap();
        let mut middle = database.submit(1000 * MS).unwrap();
        let newest = database.submit(1000 * MS);
        assert_eq!(newest.is_err(), refused_is_new);
        assert_eq!(served.answer().await, Ok(()));
        assert_eq!(oldest.answer().await.is_err(), !refused_is_new);
        assert_eq!(middle.answer().await, Ok(()));
        let seen = database.snapshot();
        assert_eq!((seen.refused, seen.overflowed, seen.queued_max), (1, 0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_serves_the_newest_and_the_expired_may_be_thrown_away() {
    let database = one_worker(Queue { order: Order::Lifo, drop_expired: true, limit: None });
    let mut first = database.submit(1000 * MS).unwrap();
    sleep(MS).await;
    let mut old = database.submit(30 * MS).unwrap();
    let mut new = database.submit(1000 * MS).unwrap();
    assert_eq!((first.answer().await, old.answer().await), (Ok(()), Err(QueryError::TimedOut)));
    assert_eq!(new.answer().await, Ok(()));
    sleep(MS).await;
    let seen = database.snapshot();
    assert_eq!((seen.served, seen.in_vain, seen.expired), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slower_database_takes_longer_with_what_it_is_at_too() {
    let database = one_worker(Queue::default());
    let began = Instant::now();
    let mut query = database.submit(10_000 * MS).unwrap();
    sleep(10 * MS).await;
    database.set_capacity(0.1).unwrap();
    sleep(50 * MS).await;
    database.set_capacity(0.0).unwrap();
    let mut second = database.submit(10_000 * MS).unwrap();
    sleep(1_000 * MS).await;
    assert_eq!((database.capacity(), database.snapshot().served), (0.0, 0));
    database.set_capacity(1.0).unwrap();
    assert_eq!(query.answer().await, Ok(()));
    // Half at full speed, a quarter at a tenth, nothing in a second, and the rest.
    assert_eq!(began.elapsed(), 1_065 * MS);
    assert_eq!(second.answer().await, Ok(()));
    assert_eq!(began.elapsed(), 1_085 * MS);
    for bad in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(database.set_capacity(bad), Err(ConfigError::Capacity(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_was_cut_off_while_idle_begins_only_when_it_is_back() {
    let database = one_worker(Queue::default());
    database.set_capacity(0.0).unwrap();
    let began = Instant::now();
    let mut query = database.submit(10_000 * MS).unwrap();
    sleep(500 * MS).await;
    database.set_capacity(1.0).unwrap();
    assert_eq!(query.answer().await, Ok(()));
    assert_eq!(began.elapsed(), 520 * MS);
}

#[tokio::test(start_paused = true)]
async fn an_unbounded_queue_has_a_bound() {
    let database = one_worker(Queue::default());
    database.set_capacity(0.0).unwrap();
    let mut refused = 0;
    for _ in 0..QUEUE_MAX + 10 {
        refused += u64::from(database.submit(MS).is_err());
    }
    let seen = database.snapshot();
    assert_eq!((refused, seen.refused, seen.overflowed, seen.queued), (10, 10, 10, QUEUE_MAX));
    sleep(7 * MS).await;
    assert_eq!(database.snapshot().oldest, 7 * MS);
    assert_eq!(database.drop_queue(), QUEUE_MAX);
}

#[tokio::test]
async fn nonsense_is_refused_with_its_bounds() {
    let error = |config| Database::start(config).unwrap_err().to_string();
    let none = Config { workers: 0, ..Config::default() };
    assert_eq!(error(none), "a database has 1 to 1024 workers, not 0");
    let slow = Config { service: Service::Constant(Duration::from_secs(61)), ..Config::default() };
    assert_eq!(error(slow), "a database's service time is above 0 and at most 60s, not 61s");
}
