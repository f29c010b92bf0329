//! A hundred thousand ops over sockets, of which one in a hundred is dropped at a random poll and one in ninety has
//! its reply after its time. Every value says whose it is: none is ever given to another. `CANCEL_OPS` is their number.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "how much was seen is worth reading")]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use memcache_client::{Bytes, Client, Config, Error, Key, Mode, PoolConfig, ServerAddr, Silent};
use memcached_fake::FakeMemcached;
use memcached_fake::lies::{Act, Lie};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

const KEYS: usize = 64;
const OP_TIMEOUT: Duration = Duration::from_millis(6);
/// Beyond the timeout, and soon enough to meet the ops behind.
const LATE: Duration = Duration::from_millis(9);
const ONE_LATE_IN: u32 = 90;
/// More than one in a hundred, because some end before their poll has come.
const ONE_DROPPED_IN: u32 = 25;

/// Drops `op` instead of polling it for the `polls`th time.
async fn drop_after<F: Future>(op: F, polls: u32) -> Option<F::Output> {
    let (mut op, mut polled) = (pin!(op), 0);
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        op.as_mut().poll(cx).map(Some)
    })
    .await
}

#[derive(Debug, Default)]
struct Seen {
    values: AtomicU64,
    dropped: AtomicU64,
    timeouts: AtomicU64,
}

/// A value that names its key and which write of it this is.
fn value(key: usize, nonce: u64) -> Bytes {
    // Of several lengths, so that one reply's end could be another's middle.
    format!("key{key}:{nonce}:{}", "x".repeat(nonce as usize * 37 % 400)).into()
}

fn check(key: usize, issued: &[AtomicU64], got: &Bytes) {
    let text = std::str::from_utf8(got).unwrap();
    let nonce: u64 = text.split(':').nth(1).unwrap().parse().unwrap();
    assert_eq!(*got, value(key, nonce), "asked for key{key}");
    assert!(nonce <= issued[key].load(Ordering::Relaxed), "key{key} has never held {nonce}");
}

async fn work(client: Client, seed: u64, ops: u64, issued: Arc<Vec<AtomicU64>>, seen: Arc<Seen>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = |count: &AtomicU64| _ = count.fetch_add(1, Ordering::Relaxed);
    for _ in 0..ops {
        let (n, several) = (rng.random_range(0..KEYS), rng.random_ratio(1, 10));
        let key = |n: usize| Key::new(format!("key{n}")).unwrap();
        let polls = if rng.random_ratio(1, ONE_DROPPED_IN) { rng.random_range(1..4) } else { u32::MAX };
        let ended = if rng.random_ratio(1, 5) {
            let nonce = issued[n].fetch_add(1, Ordering::Relaxed) + 1;
            drop_after(client.set(&key(n), value(n, nonce), None), polls).await
        } else if several {
            let asked: Vec<usize> = (0..4).map(|more| (n + more * 7) % KEYS).collect();
            let keys: Vec<Key> = asked.iter().map(|n| key(*n)).collect();
            drop_after(client.multi_get(&keys), polls).await.map(|done| {
                for (n, done) in asked.iter().zip(done.keys) {
                    check(*n, &issued, &done.result?.unwrap());
                    count(&seen.values);
                }
                Ok(())
            })
        } else {
            drop_after(client.get(&key(n)), polls).await.map(|got| {
                check(n, &issued, &got?.unwrap());
                count(&seen.values);
                Ok(())
            })
        };
        match ended {
            None => count(&seen.dropped),
            Some(Ok(())) => {}
            Some(Err(Error::Timeout(_))) => count(&seen.timeouts),
            // A pool that waits for a late reply fills up; a shared connection that was given up fails its ops.
            Some(Err(Error::PoolExhausted(_) | Error::Reset(_) | Error::ConnectTimeout { .. })) => {}
            Some(Err(other)) => panic!("{other}"),
        }
    }
}

/// How many late replies there were.
async fn run(mode: Mode, max: usize, tasks: u64, ops: u64) -> u64 {
    let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let config = Config {
        mode,
        op_timeout: OP_TIMEOUT,
        pool: PoolConfig { max, max_wait_share: 1.0, dials_per_s: Some(1e6), ..PoolConfig::default() },
        breaker: None,
        retries: 0,
        ..Config::default()
    };
    let server = ServerAddr { name: "s".to_owned(), addr: fake.addr().to_string() };
    let client = Client::new(vec![server.clone()], config, Arc::new(Silent)).unwrap();
    let writer = Config { breaker: None, ..Config::default() };
    let writer = Client::new(vec![server], writer, Arc::new(Silent)).unwrap();
    for key in 0..KEYS {
        let name = Key::new(format!("key{key}")).unwrap();
        writer.set(&name, value(key, 0), None).await.unwrap();
    }
    let late = fake.lies().add(Lie::new(Act::Delay(LATE)).every(ONE_LATE_IN));
    let issued: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let seen = Arc::new(Seen::default());
    let workers = (0..tasks).map(|seed| {
        tokio::spawn(work(client.clone(), seed, ops / tasks, Arc::clone(&issued), Arc::clone(&seen)))
    });
    join_all(workers).await.into_iter().for_each(Result::unwrap);
    let told = fake.lies().told(late);
    println!("{mode:?} of {max}: {ops} ops, {told} late replies, {seen:?}");
    let (dropped, values) = (seen.dropped.load(Ordering::Relaxed), seen.values.load(Ordering::Relaxed));
    assert!(dropped * 100 > ops && values * 4 > ops, "{seen:?}");
    fake.lies().clear();
    let deadline = Instant::now() + Duration::from_secs(10);
    let busy =
        || Some(client.stats()[0]).map(|stats| (stats.pool.active, stats.pool.waiting, stats.in_flight));
    while busy() != Some((0, 0, 0)) {
        assert!(Instant::now() < deadline, "active, waiting, in flight: {:?}", busy());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = client.stats()[0];
    assert!(stats.pool.total <= max);
    for key in 0..KEYS {
        let asked = Key::new(format!("key{key}")).unwrap();
        // The machine may be slow; no other error has an excuse now.
        let got = loop {
            match client.get(&asked).await {
                Err(Error::Timeout(_) | Error::ConnectTimeout { .. } | Error::Reset(_)) => {}
                got => break got,
            }
        };
        check(key, &issued, &got.unwrap().unwrap());
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_ever_given_to_another_op() {
    let ops: u64 = std::env::var("CANCEL_OPS").map_or(110_000, |ops| ops.parse().unwrap());
    let late = run(Mode::Pooled, 1, 2, ops / 5).await
        + run(Mode::Pooled, 8, 16, ops / 5 * 2).await
        + run(Mode::Pipelined { connections: 2, depth: 16 }, 2, 16, ops / 5 * 2).await;
    assert!(late * 100 >= ops, "{late} late replies in {ops} ops");
}
