//! Every op, dropped at every point: ten gates at which it can be made to wait, each held or not, 1,024 settings; the
//! op is polled so many times, from none until it ends, and then dropped, or left to its deadline. After each, nothing
//! is in use, nobody waits, no probe of the breaker is out, and the next op on the same client has its right value.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "how much was seen is worth reading")]

#[path = "models/gates.rs"]
mod gates;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use futures::future::join;
use gates::{Gate, Gates, HOLDER, value_of};
use memcache_client::breaker::BreakerState;
use memcache_client::{
    BreakerConfig, Bytes, Client, Config, Error, Key, Login, Mode, Op, PoolConfig, Reply, Routing,
    ServerAddr, Silent,
};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

const OP_TIMEOUT: Duration = Duration::from_millis(100);
const OPEN: Duration = Duration::from_millis(1);
/// The gate before all those of the server: the only slot is taken.
const SLOT: u32 = 1 << Gate::COUNT;
const SETTINGS: u32 = SLOT << 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Lease,
    Cas,
    Invalidate,
    Set,
    Add,
    Delete,
    Incr,
    Touch,
    MultiGet,
}

const KINDS: [Kind; 10] = [
    Kind::Get,
    Kind::Lease,
    Kind::Cas,
    Kind::Invalidate,
    Kind::Set,
    Kind::Add,
    Kind::Delete,
    Kind::Incr,
    Kind::Touch,
    Kind::MultiGet,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Drop,
    Deadline,
}

fn key(text: &'static str) -> Key {
    Key::new(text).unwrap()
}

/// Runs one op of a kind and checks its reply, if it has one.
async fn run(client: Client, kind: Kind) -> Result<(), Error> {
    let (k, v) = (key("k"), Bytes::from_static(b"the new value"));
    let value = Bytes::from(value_of(b"k"));
    let second = Duration::from_secs(1);
    let (op, expected) = match kind {
        Kind::MultiGet => {
            let keys = ["k", "l", "m"].map(key);
            for (key, done) in keys.iter().zip(client.multi_get(&keys).await.keys) {
                assert_eq!(done.result?.unwrap(), value_of(key.as_bytes()));
            }
            return Ok(());
        }
        Kind::Lease => {
            let op = Op::Lease { key: k, lease: second, refresh: Some(second) };
            let Reply::Lease(lease) = client.execute(op).await.result? else { panic!("no lease") };
            assert_eq!(lease.value.unwrap(), value);
            return Ok(());
        }
        Kind::Get => (Op::Get(k), Reply::Value(value)),
        Kind::Cas => (Op::Cas { key: k, value: v, ttl: None, token: 5 }, Reply::Stored),
        Kind::Invalidate => (Op::Invalidate { key: k, stale_for: second }, Reply::Deleted),
        Kind::Set => (Op::Set { key: k, value: v, ttl: None }, Reply::Stored),
        Kind::Add => (Op::Add { key: k, value: v, ttl: None }, Reply::Stored),
        Kind::Delete => (Op::Delete(k), Reply::Deleted),
        Kind::Incr => (Op::Incr { key: k, delta: 1, initial: None }, Reply::Counter(7)),
        Kind::Touch => (Op::Touch(k, Some(second)), Reply::Touched),
    };
    assert_eq!(client.execute(op).await.result?, expected);
    Ok(())
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Lets the tasks of shared connections run as far as they get.
async fn settle() {
    for _ in 0..4 {
        yield_now().await;
    }
}

/// A client whose breaker is half-open for ever, with two probes: every op is one.
async fn client(mode: Mode, gates: &Gates) -> Client {
    let mut config = Config {
        mode,
        op_timeout: OP_TIMEOUT,
        retries: 0,
        pool: PoolConfig { max: 1, max_waiting: 4, ..PoolConfig::default() },
        breaker: Some(BreakerConfig {
            open: OPEN,
            open_jitter: 0.0,
            half_open_probes: 2,
            successes_to_close: u32::MAX,
            ..BreakerConfig::default()
        }),
        routing: Routing { max_ejected: Some(1), ..Routing::default() },
        ..Config::default()
    };
    config.dial.login = Login::new("name", "word");
    config.dial.connector = Some(Arc::new(gates.clone()));
    let server = ServerAddr { name: "s".to_owned(), addr: "memory".to_owned() };
    let client = Client::new(vec![server], config, Arc::new(Silent)).unwrap();
    gates.refuse(true);
    assert!(matches!(client.get(&key("k")).await, Err(Error::Connect(_))));
    gates.refuse(false);
    advance(OPEN).await;
    client
}

/// `false`: the op ended before it was polled so often.
async fn try_one(mode: Mode, kind: Kind, setting: u32, polls: usize, ending: Ending) -> bool {
    let gates = Gates::default();
    let client = client(mode, &gates).await;
    let mut holder = None;
    if setting & SLOT != 0 {
        gates.silence(true);
        let (client, taken) = (client.clone(), key(HOLDER));
        let mut op: Pin<Box<dyn Future<Output = _>>> = Box::pin(async move { client.get(&taken).await });
        assert!(poll(op.as_mut()).is_none());
        settle().await;
        assert!(poll(op.as_mut()).is_none());
        holder = Some(op);
    }
    gates.hold(setting & !SLOT);
    let mut op = Box::pin(run(client.clone(), kind));
    let mut ended = false;
    for n in 0..polls {
        if let Some(result) = poll(op.as_mut()) {
            result.unwrap();
            ended = true;
            break;
        }
        if n == 0 && holder.take().is_some() {
            gates.silence(false);
        }
        if mode != Mode::Pooled {
            // A connection's task has come as far as the gate before this; now it comes to the next.
            gates.step();
            settle().await;
        }
    }
    if ended || ending == Ending::Drop {
        drop(op);
    } else {
        gates.freeze(true);
        advance(OP_TIMEOUT).await;
        // The task of a shared connection may have had the reply before.
        assert!(op.await.is_err() || mode != Mode::Pooled);
        gates.freeze(false);
    }
    drop(holder);
    gates.silence(false);
    let stats = client.stats()[0];
    assert_eq!((stats.pool.waiting, stats.in_flight), (0, 0));
    if mode == Mode::Pooled {
        assert_eq!((stats.pool.active, gates.open()), (0, stats.pool.idle));
    }
    gates.hold(0);
    settle().await;
    if ending == Ending::Deadline {
        // A timeout that was the server's has opened the breaker again.
        advance(OPEN).await;
    }
    let rejections = client.stats()[0].breaker.unwrap().rejections;
    let began = Instant::now();
    assert_eq!(client.get(&key("next")).await.unwrap().unwrap(), value_of(b"next"));
    let (a, b) = (key("a"), key("b"));
    let (a, b) = join(client.get(&a), client.get(&b)).await;
    assert_eq!((a.unwrap().unwrap(), b.unwrap().unwrap()), (value_of(b"a").into(), value_of(b"b").into()));
    // Time stands still as long as somebody is awake: whoever missed his wake-up would have ended at his deadline.
    assert_eq!(began.elapsed(), Duration::ZERO);
    let stats = client.stats()[0];
    let breaker = stats.breaker.unwrap();
    assert_eq!((breaker.state, breaker.rejections), (BreakerState::HalfOpen, rejections));
    assert_eq!((stats.pool.active, stats.pool.waiting, stats.in_flight), (0, 0, 0));
    assert!(gates.open() <= 1);
    !ended
}

/// Number of runs.
async fn matrix(mode: Mode, ending: Ending) -> usize {
    let mut runs = 0;
    for kind in KINDS {
        for setting in 0..SETTINGS {
            let mut polls = 0;
            loop {
                let done = !try_one(mode, kind, setting, polls, ending).await;
                runs += 1;
                if done {
                    break;
                }
                polls += 1;
                assert!(polls < 40, "{kind:?} at {setting:#b} does not end");
            }
        }
    }
    runs
}

fn all(mode: Mode, ending: Ending) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let runs = runtime.block_on(matrix(mode, ending));
    println!("{runs} runs");
    // Each gate that is held is a poll more, on average five of ten; and a poll that ends it, and none.
    assert!(runs > 5 * KINDS.len() * SETTINGS as usize, "{runs}");
}

const PIPELINED: Mode = Mode::Pipelined { connections: 1, depth: 1 };

#[test]
fn a_pooled_op_may_be_dropped_anywhere() {
    all(Mode::Pooled, Ending::Drop);
}

#[test]
fn a_pipelined_op_may_be_dropped_anywhere() {
    all(PIPELINED, Ending::Drop);
}

#[test]
fn a_pooled_op_may_run_out_of_time_anywhere() {
    all(Mode::Pooled, Ending::Deadline);
}

#[test]
fn a_pipelined_op_may_run_out_of_time_anywhere() {
    all(PIPELINED, Ending::Deadline);
}
