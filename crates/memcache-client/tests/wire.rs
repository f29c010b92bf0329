//! The client on real sockets: both codecs against a real and a fake memcached, and against servers that lie in ways
//! that the fake cannot. The failures that have a name in the catalogue are in `guarantees/`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use memcache_client::breaker::BreakerState;
use memcache_client::{
    BreakerConfig, Bytes, Client, Codec, Config, Error, Key, Mode, OnOpen, Op, Outcome, PoolConfig,
    ProtocolError, Reply, Routing, ServerAddr, Silent,
};
use memcached_fake::{FakeMemcached, real::RealMemcached};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn config() -> Config {
    Config { breaker: None, retries: 0, ..Config::default() }
}

fn client(addrs: &[std::net::SocketAddr], config: Config) -> Client {
    let servers = addrs
        .iter()
        .enumerate()
        .map(|(n, addr)| ServerAddr { name: format!("s{n}"), addr: addr.to_string() });
    Client::new(servers.collect(), config, Arc::new(Silent)).unwrap()
}

async fn fake() -> FakeMemcached {
    FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Ops of several kinds in one go: each has the end that it has alone, in the order of the batch.
async fn batch(client: &Client) {
    let (k, counter) = (key("batch"), key("batch-counter"));
    client.delete(&k).await.unwrap();
    client.delete(&counter).await.unwrap();
    let set = |value: &'static str| Op::Set { key: k.clone(), value: value.into(), ttl: None };
    let incr = |initial| Op::Incr { key: counter.clone(), delta: 2, initial };
    let too_large = Op::Set { key: k.clone(), value: vec![0; 1024 * 1024 + 1].into(), ttl: None };
    let ops = [
        (Op::Get(k.clone()), Some(Reply::Miss)),
        (set("1"), Some(Reply::Stored)),
        (Op::Add { key: k.clone(), value: "x".into(), ttl: None }, Some(Reply::NotStored)),
        (Op::Get(k.clone()), Some(Reply::Value("1".into()))),
        (too_large, None),
        (set("2"), Some(Reply::Stored)),
        (incr(None), Some(Reply::NotFound)),
        (incr(Some((5, None))), Some(Reply::Counter(5))),
        (incr(None), Some(Reply::Counter(7))),
        (Op::Get(k.clone()), Some(Reply::Value("2".into()))),
        (Op::Delete(k.clone()), Some(Reply::Deleted)),
        (Op::Get(k.clone()), Some(Reply::Miss)),
    ];
    let (ops, wanted): (Vec<Op>, Vec<Option<Reply>>) = ops.into_iter().unzip();
    let ends = client.execute_many(&ops).await.ops;
    assert_eq!(ends.len(), wanted.len());
    for ((op, wanted), end) in ops.iter().zip(wanted).zip(ends) {
        match wanted {
            Some(wanted) => assert_eq!(end.result.unwrap(), wanted, "{}", op.name()),
            None => assert!(matches!(end.result, Err(Error::ValueTooLarge { .. }))),
        }
    }
    assert!(client.execute_many(&[]).await.ops.is_empty());
}

/// Every op of a codec, with every outcome that it can have.
async fn conformance(client: &Client, codec: Codec) {
    let (k, counter) = (key("conf"), key("conf-counter"));
    client.delete(&k).await.unwrap();
    client.delete(&counter).await.unwrap();
    assert_eq!(client.get(&k).await.unwrap(), None);
    for length in [0, 1, 100, 16 * 1024, 70_000, 1_000_000] {
        let value = vec![b'v'; length];
        client.set(&k, value.clone().into(), Some(Duration::from_secs(60))).await.unwrap();
        assert_eq!(client.get(&k).await.unwrap().unwrap(), value, "{length}");
    }
    assert!(!client.add(&k, "x".into(), None).await.unwrap());
    if codec == Codec::Meta {
        assert!(client.touch(&k, Some(Duration::from_secs(50))).await.unwrap());
        assert!(client.delete(&k).await.unwrap());
        assert!(!client.delete(&k).await.unwrap());
        assert!(!client.touch(&k, None).await.unwrap());
    } else {
        client.delete(&k).await.unwrap();
        let touch = client.execute(Op::Touch(k.clone(), None)).await;
        assert!(matches!(touch.result, Err(Error::Unsupported { .. })));
    }
    assert!(client.add(&k, "x".into(), None).await.unwrap());
    assert_eq!(client.incr(&counter, 5, None).await.unwrap(), None);
    assert_eq!(client.incr(&counter, 5, Some((10, None))).await.unwrap(), Some(10));
    assert_eq!(client.incr(&counter, 5, None).await.unwrap(), Some(15));
    let keys = [key("m1"), key("m2"), key("m3")];
    client.set(&keys[0], "1".into(), None).await.unwrap();
    client.set(&keys[2], "3".into(), None).await.unwrap();
    client.delete(&keys[1]).await.unwrap();
    let got = client.multi_get(&keys).await.keys;
    let got: Vec<_> = got.into_iter().map(|key| key.result.unwrap()).collect();
    assert_eq!(got, [Some("1".into()), None, Some("3".into())]);
    batch(client).await;
    let large = vec![0; 1024 * 1024 + 1];
    assert!(matches!(client.set(&k, large.into(), None).await, Err(Error::ValueTooLarge { .. })));
}

/// More than all buffers on the way hold, both ways: a client that only writes before it reads would wait for ever.
#[tokio::test]
async fn a_batch_of_any_size_goes_through() {
    const SIZE: usize = 500_000;
    let (fake, real) = (fake().await, RealMemcached::for_test().await);
    let addrs = std::iter::once(fake.addr()).chain(real.as_ref().map(RealMemcached::addr));
    for addr in addrs {
        for mode in [Mode::Pooled, Mode::Pipelined { connections: 1, depth: 4 }] {
            let ten = Duration::from_secs(10);
            let config = Config { mode, op_timeout: ten, total_timeout: ten, ..config() };
            let client = client(&[addr], config);
            let keys: Vec<Key> = (0..20).map(|n| key(&format!("large-{n}"))).collect();
            let value = |n: usize| Bytes::from(vec![b'a' + (n % 26) as u8; SIZE]);
            let set = |(n, key): (usize, &Key)| Op::Set { key: key.clone(), value: value(n), ttl: None };
            let sets: Vec<Op> = keys.iter().enumerate().map(set).collect();
            let gets = keys.iter().cloned().map(Op::Get);
            client.execute_many(&sets).await.ops.into_iter().for_each(|end| drop(end.result.unwrap()));
            let both: Vec<Op> = gets.chain(sets.iter().cloned()).collect();
            let ends = client.execute_many(&both).await.ops;
            for (n, end) in ends.into_iter().enumerate() {
                let wanted = if n < keys.len() { Reply::Value(value(n)) } else { Reply::Stored };
                assert!(end.result.unwrap() == wanted, "op {n} of {addr}, {mode:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_its_turn_no_longer_than_its_op_has_left() {
    let ms = Duration::from_millis;
    let addr = liar(|_| Duration::from_secs(60), |_| Vec::new()).await;
    for mode in [Mode::Pooled, Mode::Pipelined { connections: 1, depth: 1 }] {
        let config = Config {
            mode,
            op_timeout: ms(400),
            total_timeout: ms(480),
            retries: 1,
            retry_budget: 1.0,
            routing: Routing { on_open: OnOpen::FailFast, ..Routing::default() },
            // Longer than what a retry has left.
            pool: PoolConfig { max: 1, max_wait_share: 1.0, ..PoolConfig::default() },
            ..config()
        };
        let client = client(&[addr], config);
        // Whoever comes while the first one waits for its answer is before its retry in the queue.
        let (client, k) = (&client, key("k"));
        let ops = (0..8).map(|n| {
            let k = k.clone();
            async move {
                tokio::time::sleep(n * ms(120)).await;
                let began = Instant::now();
                let error = client.get(&k).await.unwrap_err();
                (began.elapsed(), error)
            }
        });
        for (took, error) in futures::future::join_all(ops).await {
            assert!(took < ms(640), "{mode:?}: {error} after {took:?}");
        }
    }
}

#[tokio::test]
async fn a_retry_asks_the_same_server_when_there_is_no_other() {
    // The first request of each connection is answered too late, or by nonsense.
    let broken: [fn(&str) -> Vec<u8>; 2] = [|_| Vec::new(), |_| b"NONSENSE\r\n".to_vec()];
    for broken in broken {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let addr = liar(
            |_| Duration::ZERO,
            move |line| match counted.fetch_add(1, Ordering::Relaxed) {
                0 => broken(line),
                _ => b"EN\r\n".to_vec(),
            },
        )
        .await;
        for on_open in [OnOpen::Failover, OnOpen::FailFast] {
            asked.store(0, Ordering::Relaxed);
            let routing = Routing { on_open, ..Routing::default() };
            let (op_timeout, total_timeout) = (Duration::from_millis(300), Duration::from_secs(5));
            let config =
                Config { routing, op_timeout, total_timeout, retries: 1, retry_budget: 1.0, ..config() };
            let client = client(&[addr], config);
            assert_eq!(client.get(&key("k")).await.unwrap(), None, "{on_open:?}");
            let batch = client.multi_get(&[key("a"), key("b")]).await;
            assert!(batch.keys.iter().all(|key| key.result.is_ok()), "{on_open:?}: {batch:?}");
        }
    }
}

#[tokio::test]
async fn both_codecs_do_every_op_on_both_servers() {
    for codec in [Codec::Meta, Codec::MemcacheAsync] {
        let config = Config { codec, op_timeout: Duration::from_secs(1), ..config() };
        let fake = fake().await;
        conformance(&client(&[fake.addr()], config.clone()), codec).await;
        if let Some(real) = RealMemcached::for_test().await {
            conformance(&client(&[real.addr()], config), codec).await;
        }
    }
}

/// Answers each connection's requests with what `reply` makes of the request line, after a delay.
async fn liar(
    delay: impl Fn(usize) -> Duration + Send + Sync + 'static,
    reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (lie, asked) = (Arc::new((delay, reply)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (lie, asked) = (Arc::clone(&lie), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
                    while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                        let line: Vec<u8> = buffer.drain(..=end).collect();
                        // Sleeps: this is how late the server answers.
                        tokio::time::sleep((lie.0)(asked.fetch_add(1, Ordering::Relaxed))).await;
                        let line = String::from_utf8_lossy(&line).trim().to_owned();
                        if stream.write_all(&(lie.1)(&line)).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    addr
}

/// The right reply to `mg KEY v k O<n>`: the key is the value.
fn honest(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let (key, opaque) = (words[1], words.iter().find(|word| word.starts_with('O')).unwrap_or(&"O0"));
    format!("VA {} k{key} {opaque}\r\n{key}\r\n", key.len()).into_bytes()
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn ops_dropped_at_random_moments_poison_nothing_and_leak_nothing() {
    let fake = fake().await;
    let pool = PoolConfig { max: 4, ..PoolConfig::default() };
    let client = client(&[fake.addr()], Config { pool, op_timeout: Duration::from_secs(1), ..config() });
    for n in 0..50 {
        let text = format!("key{n}");
        client.set(&key(&text), text.clone().into(), None).await.unwrap();
    }
    let tasks = (0..8u64).map(|seed| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut dropped = 0;
            for _ in 0..2_000 {
                let text = format!("key{}", rng.random_range(0..50));
                let asked = key(&text);
                let op = client.get(&asked);
                // Polled a random number of times, then dropped.
                if rng.random_bool(0.3) {
                    let polls = rng.random_range(0..4);
                    let mut op = std::pin::pin!(op);
                    let mut ended = false;
                    for _ in 0..polls {
                        if let Some(value) = poll_once(op.as_mut()) {
                            assert_eq!(value.unwrap().unwrap(), text.as_bytes());
                            ended = true;
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    dropped += u32::from(!ended);
                } else if let Some(value) = match op.await {
                    Err(Error::PoolExhausted(_)) => None,
                    other => Some(other.unwrap().unwrap()),
                } {
                    assert_eq!(value, text.as_bytes());
                }
            }
            dropped
        })
    });
    let dropped: u32 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert!(dropped > 1_000, "{dropped}");
    let stats = client.stats()[0];
    assert_eq!((stats.pool.active, stats.pool.waiting, stats.in_flight), (0, 0, 0));
    assert!(stats.pool.total <= 4);
}

#[tokio::test]
async fn replies_that_must_not_be_are_protocol_errors_and_end_the_connection() {
    type Lie = fn(&str) -> Vec<u8>;
    let lies: [(&str, Lie); 9] = [
        ("wrong key", |line| {
            String::from_utf8(honest(line)).unwrap().replace("kasked", "kother").into_bytes()
        }),
        ("wrong opaque", |_| b"VA 1 kasked O99\r\nx\r\n".to_vec()),
        ("no echo", |_| b"VA 1\r\nx\r\n".to_vec()),
        ("short length", |line| {
            String::from_utf8(honest(line)).unwrap().replace("VA 5", "VA 1").into_bytes()
        }),
        ("huge length", |_| b"VA 18446744073709551615 kasked O1\r\n".to_vec()),
        ("negative length", |_| b"VA -1 kasked O1\r\n".to_vec()),
        ("twenty digits", |_| b"VA 99999999999999999999 kasked O1\r\n".to_vec()),
        ("endless line", |_| vec![b'x'; 100_000]),
        ("http", |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ];
    for (name, lie) in lies {
        let addr = liar(|_| Duration::ZERO, lie).await;
        let client = client(&[addr], config());
        let done = client.execute(Op::Get(key("asked"))).await;
        assert_eq!(done.outcome(), Outcome::Protocol, "{name}: {:?}", done.result);
        assert_eq!(client.stats()[0].pool.total, 0, "{name}");
    }
}

#[tokio::test]
async fn the_second_codec_believes_no_length_either() {
    let endless = [&b"VALUE asked 0 1\r\nx"[..], &[b'y'; 100_000]].concat();
    let lies = [
        ("huge length", b"VALUE asked 0 18446744073709551615\r\n".to_vec()),
        ("huge length of no value", b"VOLUME asked 0 18446744073709551615\r\n".to_vec()),
        ("length of no value", b"VOLUME asked 0 1\r\nx\r\nEND\r\n".to_vec()),
        ("endless end", endless),
    ];
    for (name, lie) in lies {
        let addr = liar(|_| Duration::ZERO, move |_| lie.clone()).await;
        let codec = Codec::MemcacheAsync;
        let client = client(&[addr], Config { codec, value_max: 1000, ..config() });
        let done = client.execute(Op::Get(key("asked"))).await;
        assert_eq!(done.outcome(), Outcome::Protocol, "{name}: {:?}", done.result);
        assert_eq!(client.stats()[0].pool.total, 0, "{name}");
    }
}

#[tokio::test]
async fn a_drip_meets_the_deadline_of_the_whole_op() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.write_all(b"V").await.is_ok() {
                    // Sleeps: this is the pace of the drip.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    let client = client(&[addr], Config { op_timeout: Duration::from_millis(150), ..config() });
    let began = Instant::now();
    // The first byte comes before the question, which is unexpected enough; the later ones must not prolong it.
    assert!(client.get(&key("k")).await.is_err());
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn refused_connects_trip_at_once_and_all_servers_down_is_a_quick_answer() {
    let nobody = || async { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let addrs = [nobody().await, nobody().await, nobody().await];
    let client = client(&addrs, Config { breaker: Some(BreakerConfig::default()), ..Config::default() });
    let began = Instant::now();
    let done = client.execute(Op::Get(key("k"))).await;
    assert!(done.result.is_err() && began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(done.attempts.len(), 3);
    let open = client.stats().iter().filter(|s| s.breaker.unwrap().state == BreakerState::Open).count();
    // The last one is kept.
    assert_eq!(open, 2);
}

#[test]
fn a_desync_says_what_was_expected() {
    let error = ProtocolError::Desync { what: "key", expected: "a".to_owned(), got: "b".to_owned() };
    assert_eq!(error.to_string(), "the reply carries key \"b\" instead of \"a\"");
}
