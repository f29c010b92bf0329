//! What an op asks of the heap, beyond the value that it returns. The server has a thread of its own; only the
//! client's thread is counted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memcache_client::{Bytes, Client, Config, Key, Mode, Op, ServerAddr, Silent};
use memcached_fake::FakeMemcached;
use tokio::runtime::{Builder, Runtime};

/// Ops that are counted. The first ones, which fill buffers, are not among them.
const OPS: u64 = 2_000;
const WARM_UP: u64 = 200;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A fake in a thread of its own, which lives as long as this process.
fn fake() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            tell.send(fake.addr()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

/// Allocations of `op`, an op, to two decimals.
fn each(runtime: &Runtime, mut op: impl AsyncFnMut()) -> f64 {
    let mut run = |ops: u64| {
        runtime.block_on(async {
            for _ in 0..ops {
                op().await;
            }
        });
    };
    run(WARM_UP);
    let counted = allocation_counter::measure(|| run(OPS));
    (counted.count_total as f64 / OPS as f64 * 100.0).round() / 100.0
}

/// Allocations an op: get hit, get miss, set, delete, incr, touch, a hit whose value is cut off the input.
fn all(mode: Mode) -> [f64; 7] {
    let runtime = runtime();
    let server = ServerAddr { name: "s".to_owned(), addr: fake().to_string() };
    let config = Config { mode, op_timeout: Duration::from_secs(1), ..Config::default() };
    let client = Client::new(vec![server], config, Arc::new(Silent)).unwrap();
    let [hit, miss, large, counter] = ["hit", "miss", "large", "counter"].map(|key| Key::new(key).unwrap());
    let value = Bytes::from_static(&[b'v'; 100]);
    runtime.block_on(async {
        client.set(&hit, value.clone(), None).await.unwrap();
        client.set(&large, vec![b'v'; 20_000].into(), None).await.unwrap();
        client.incr(&counter, 1, Some((1, None))).await.unwrap();
    });
    [
        each(&runtime, async || assert!(client.get(&hit).await.unwrap().is_some())),
        each(&runtime, async || assert!(client.get(&miss).await.unwrap().is_none())),
        each(&runtime, async || client.set(&hit, value.clone(), None).await.unwrap()),
        each(&runtime, async || assert!(!client.delete(&miss).await.unwrap())),
        each(&runtime, async || assert!(client.incr(&counter, 1, None).await.unwrap().is_some())),
        each(&runtime, async || assert!(client.execute(Op::Touch(hit.clone(), None)).await.result.is_ok())),
        each(&runtime, async || assert!(client.get(&large).await.unwrap().is_some())),
    ]
}

#[test]
fn an_op_allocates_the_value_that_it_returns_and_no_more() {
    let pooled = all(Mode::Pooled);
    let pipelined = all(Mode::Pipelined { connections: 1, depth: 16 });
    println!("pooled    {pooled:?}\npipelined {pipelined:?}");
    // A counter's text is a value too. One that is cut off the input takes the buffer with it, as long as it is kept.
    assert_eq!(pooled[..6], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(pipelined[..6], pooled[..6]);
    assert!(pooled[6] <= 3.0 && pipelined[6] <= 3.0);
}
