//! Breakers and the whole client under random schedules (CONTRIBUTING.md, "Random schedules");
//! built with the feature `shuttle` alone.
//!
//! Shuttle decides about: the breaker's lock, the fleet's counts, the gate's semaphore and its waiters, the locks of the
//! pool and of shared connections, every task, and when each time limit strikes. Not decided about, because they never
//! wait: counters for people, `AtomicWaker`, `Notify`, the list of servers. The semaphore is shuttle's own in place of
//! tokio's, with the same promises. All atomics act as if sequentially consistent. Limits look at what they limit again
//! and again, so that a wake-up that is lost is not seen here; `cancel_matrix.rs` sees it. How many
//! may wait for a slot is the business of the pool's model.
//!
//! Shuttle and not loom: tasks and futures take part, and a whole client has far too many orders to try all.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "models/duplex.rs"]
mod duplex;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duplex::{Memory, value_of};
use memcache_client::breaker::{Breaker, BreakerState, Fleet, Verdict};
use memcache_client::{
    BreakerConfig, Client, Config, Dial, Error, Key, Mode, PoolConfig, RatioRule, ServerAddr, Silent,
    Transition,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Runner, thread};
use tokio::time::Instant;

const OPEN: Duration = Duration::from_millis(10);

/// Runs `test` in its share of `SHUTTLE_SCHEDULES` random schedules.
fn check(share: f64, test: fn()) {
    let all = std::env::var("SHUTTLE_SCHEDULES").map_or(100_000.0, |all| all.parse().unwrap());
    let schedules = (all * share) as usize;
    let mut config = shuttle::Config::new();
    config.stack_size = 256 * 1024;
    Runner::new(RandomScheduler::new(schedules), config).run(test);
}

fn settings() -> BreakerConfig {
    BreakerConfig { open: OPEN, open_jitter: 0.0, ..BreakerConfig::default() }
}

fn breakers(n: usize, max_ejected: Option<usize>, config: &BreakerConfig) -> Arc<Vec<Breaker>> {
    let fleet = Fleet::new(n, max_ejected);
    let breaker = |seed| Breaker::new(config.clone(), Arc::clone(&fleet), ChaCha8Rng::seed_from_u64(seed));
    Arc::new((0..n as u64).map(breaker).collect())
}

fn trip(breaker: &Breaker, now: Instant) -> Option<Transition> {
    breaker.try_acquire(now).0.unwrap().end(Verdict::Refused, now)
}

/// Threads that ask a half-open breaker; probes succeed, say nothing, or are dropped.
fn probes(limit: u32) {
    let config = BreakerConfig { half_open_probes: limit, successes_to_close: 3, ..settings() };
    let breakers = breakers(2, None, &config);
    let begin = Instant::now();
    assert!(trip(&breakers[0], begin).is_some());
    let out = Arc::new(AtomicI64::new(0));
    let successes = Arc::new(AtomicI64::new(0));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (breakers, out) = (Arc::clone(&breakers), Arc::clone(&out));
            let successes = Arc::clone(&successes);
            thread::spawn(move || {
                let now = begin + OPEN;
                for _ in 0..3 {
                    let Some(permit) = breakers[0].try_acquire(now).0 else { continue };
                    if !permit.is_probe() {
                        assert_eq!(successes.load(Ordering::SeqCst), 3);
                        continue;
                    }
                    let before = out.fetch_add(1, Ordering::SeqCst);
                    assert!(before < i64::from(limit), "{before} probes out already");
                    thread::yield_now();
                    // Its slot is free from here on, at the earliest.
                    out.fetch_sub(1, Ordering::SeqCst);
                    let lucky = thread_rng().gen_range(0..4);
                    if lucky == 0 {
                        drop(permit);
                        continue;
                    }
                    let verdict = if lucky == 1 { Verdict::Nothing } else { Verdict::Success };
                    // Before anybody can see it closed.
                    successes.fetch_add(i64::from(lucky > 1), Ordering::SeqCst);
                    let _ = permit.end(verdict, now);
                }
            })
        })
        .collect();
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    // Every slot is free again.
    if breakers[0].stats().state == BreakerState::HalfOpen {
        let permits: Vec<_> = (0..8).filter_map(|_| breakers[0].try_acquire(begin + OPEN).0).collect();
        assert!(!permits.is_empty() && permits.len() <= limit as usize);
    }
}

#[test]
fn half_open_never_has_more_probes_than_it_may() {
    check(0.1, || probes(1));
    check(0.1, || probes(2));
}

/// Transitions of one breaker, as they were told to whoever caused them.
#[derive(Default)]
struct Told(Mutex<Vec<Transition>>);

impl Told {
    fn hear(&self, transition: Option<Transition>) {
        self.0.lock().unwrap().extend(transition);
    }

    /// Numbered without a gap, each beginning where the one before ended.
    fn check(&self, breaker: &Breaker) {
        let mut told = self.0.lock().unwrap();
        told.sort_unstable_by_key(|transition| transition.sequence);
        let mut state = BreakerState::Closed;
        for (n, transition) in told.iter().enumerate() {
            assert_eq!((transition.sequence, transition.from), (n as u64 + 1, state));
            state = transition.to;
        }
        assert_eq!(breaker.stats().state, state);
        assert_eq!(breaker.stats().transitions.iter().flatten().sum::<u64>(), told.len() as u64);
    }
}

/// Threads that do anything to three breakers on one fleet, over a time that jumps.
fn chaos() {
    let config = BreakerConfig {
        consecutive_timeouts: Some(2),
        ratio: Some(RatioRule { failure_ratio: 0.5, window: Duration::from_secs(1), min_calls: 3 }),
        half_open_probes: 2,
        successes_to_close: 2,
        ..settings()
    };
    let breakers = breakers(3, None, &config);
    let (begin, passed) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let told: Arc<[Told; 3]> = Arc::default();
    // Certainly ejected: counted after it is true, and no longer before it may be untrue.
    let ejected = Arc::new(AtomicI64::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (breakers, told) = (Arc::clone(&breakers), Arc::clone(&told));
            let (ejected, passed) = (Arc::clone(&ejected), Arc::clone(&passed));
            thread::spawn(move || {
                for _ in 0..6 {
                    let n = thread_rng().gen_range(0..3);
                    let now = begin + Duration::from_millis(passed.fetch_add(4, Ordering::SeqCst));
                    let (permit, transition) = breakers[n].try_acquire(now);
                    told[n].hear(transition);
                    let Some(permit) = permit else { continue };
                    thread::yield_now();
                    let verdict = match thread_rng().gen_range(0..6) {
                        0 | 1 => Verdict::Success,
                        2 => Verdict::Timeout,
                        3 => Verdict::Refused,
                        4 => Verdict::Nothing,
                        _ => {
                            drop(permit);
                            continue;
                        }
                    };
                    let probe = permit.is_probe();
                    let may_close = probe && verdict == Verdict::Success;
                    ejected.fetch_sub(i64::from(may_close), Ordering::SeqCst);
                    let transition = permit.end(verdict, now);
                    let to = transition.as_ref().map(|transition| transition.to);
                    // A late result causes nothing: who causes something was admitted by the state that it ends.
                    let admitted_by = if probe { BreakerState::HalfOpen } else { BreakerState::Closed };
                    assert!(transition.as_ref().is_none_or(|transition| transition.from == admitted_by));
                    let more = i64::from(may_close && to != Some(BreakerState::Closed))
                        + i64::from(!probe && to == Some(BreakerState::Open));
                    assert!(ejected.fetch_add(more, Ordering::SeqCst) + more <= 2);
                    told[n].hear(transition);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (told, breaker) in told.iter().zip(&*breakers) {
        told.check(breaker);
    }
    // The fleet's count is that of the breakers: as many more can be ejected as there is room for, and no more.
    let end = begin + Duration::from_millis(passed.load(Ordering::SeqCst));
    let closed = || breakers.iter().filter(|breaker| breaker.stats().state == BreakerState::Closed);
    for breaker in closed().collect::<Vec<_>>() {
        let room = closed().count() > 1;
        assert_eq!(trip(breaker, end).is_some(), room);
    }
    assert_eq!(closed().count(), 1);
}

#[test]
fn breakers_on_a_fleet_keep_their_order_and_the_last_server() {
    check(0.4, chaos);
}

/// Ops that were admitted before an outage end while it lasts, and after.
fn late_results() {
    let breakers = breakers(2, None, &BreakerConfig { successes_to_close: 1, ..settings() });
    let begin = Instant::now();
    let threads: Vec<_> = [Verdict::Success, Verdict::Refused]
        .map(|verdict| {
            let breakers = Arc::clone(&breakers);
            thread::spawn(move || {
                let Some(permit) = breakers[0].try_acquire(begin).0 else { return false };
                thread::yield_now();
                permit.end(verdict, begin).is_some_and(|transition| transition.to == BreakerState::Open)
            })
        })
        .into_iter()
        .collect();
    let own = breakers[0].try_acquire(begin).0.and_then(|permit| permit.end(Verdict::Refused, begin));
    let opened: usize = threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum();
    // Exactly one of the two refusals tripped it; the other one, and a late success, changed nothing.
    assert_eq!(opened + usize::from(own.is_some()), 1);
    assert_eq!(breakers[0].stats().state, BreakerState::Open);
    assert_eq!(breakers[0].open_until(), Some(begin + OPEN));
}

#[test]
fn late_results_are_harmless() {
    check(0.1, late_results);
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

async fn right(client: &Client, asked: &str) -> Result<(), Error> {
    let got = client.get(&key(asked)).await?;
    assert_eq!(got.unwrap(), value_of(asked));
    Ok(())
}

/// Tasks whose ops are answered, dropped, or out of time at random moments, while one may close the client.
fn ops(mode: Mode, max: usize, closes: bool) {
    shuttle::future::block_on(async move {
        let memory = Memory::default();
        let config = Config {
            mode,
            pool: PoolConfig { max, max_waiting: 2, ..PoolConfig::default() },
            breaker: None,
            retries: 0,
            dial: Dial { connector: Some(Arc::new(memory.clone())), ..Dial::default() },
            ..Config::default()
        };
        let server = ServerAddr { name: "s".to_owned(), addr: "memory".to_owned() };
        let client = Client::new(vec![server], config, Arc::new(Silent)).unwrap();
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let client = client.clone();
                shuttle::future::spawn(async move {
                    for n in 0..2 {
                        let asked = format!("k{task}{n}");
                        let op = right(&client, &asked);
                        if thread_rng().gen_ratio(1, 3) {
                            let polls = thread_rng().gen_range(0..8);
                            duplex::drop_after(op, polls).await;
                        } else {
                            // Out of time, out of room, or given up with its connection: but never another's value.
                            let ended = op.await;
                            assert!(!matches!(ended, Err(Error::Protocol(_))), "{ended:?}");
                        }
                    }
                })
            })
            .collect();
        if closes {
            client.close().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        let stats = client.stats()[0];
        assert_eq!((stats.pool.waiting, stats.in_flight), (0, 0));
        if mode == Mode::Pooled {
            assert_eq!(stats.pool.active, 0);
            assert!(memory.most() <= max as i64, "{} connections", memory.most());
        }
        if closes {
            assert!(matches!(right(&client, "after").await, Err(Error::Closed)));
            return;
        }
        // Limits strike at random, so that one of several has to do.
        let mut tries = 0..1_000;
        while right(&client, "after").await.is_err() {
            assert!(tries.next().is_some());
        }
    });
}

#[test]
fn a_pools_slots_come_back() {
    check(0.06, || ops(Mode::Pooled, 1, false));
    check(0.06, || ops(Mode::Pooled, 2, false));
}

#[test]
fn shared_connections_stay_in_step() {
    check(0.06, || ops(Mode::Pipelined { connections: 1, depth: 1 }, 1, false));
    check(0.06, || ops(Mode::Pipelined { connections: 1, depth: 3 }, 1, false));
}

#[test]
fn a_client_may_be_closed_at_any_moment() {
    check(0.03, || ops(Mode::Pooled, 1, true));
    check(0.03, || ops(Mode::Pipelined { connections: 1, depth: 2 }, 1, true));
}
