//! Toxicity: rolled per connection and direction when a stage starts, and at no other time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::servers::{Proxy, Server};
use crate::sockets::{End, LONG, echo, end_of, read_exactly, upstream, works};

on_both![
    a_tenth_of_connections_hangs_and_a_removed_timeout_closes_all,
    a_tenth_of_connections_hangs_and_a_removed_bandwidth_frees_all,
    dice_are_rolled_again_only_when_a_stage_starts,
    a_seed_repeats_the_dice,
];

/// When nobody has answered for so long, the others count as stalled. Those that live answer in milliseconds.
const QUIET: Duration = Duration::from_millis(700);

/// An echo server that counts, so that a stalled answer is told from a request that has not arrived yet.
struct Echo {
    addr: SocketAddr,
    received: Arc<AtomicU64>,
    sent: AtomicU64,
}

impl Echo {
    async fn start() -> Self {
        let listener = upstream().await;
        let addr = listener.local_addr().unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let received = Arc::clone(&counter);
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        received.fetch_add(1, Relaxed);
                        if stream.write_u8(byte).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, received, sent: AtomicU64::new(0) }
    }
}

/// A connection that counts its rounds: a stalled byte may arrive rounds later.
struct Client {
    stream: TcpStream,
    round: u8,
}

impl Client {
    async fn ask(&mut self, echo: &Echo) {
        self.round += 1;
        self.stream.write_all(&[self.round]).await.unwrap();
        echo.sent.fetch_add(1, Relaxed);
    }

    /// This round's byte. Older ones before it are ignored.
    async fn answer(&mut self) {
        while self.stream.read_u8().await.unwrap() != self.round {}
    }

    async fn works(&mut self, echo: &Echo) {
        self.ask(echo).await;
        timeout(LONG, self.answer()).await.unwrap();
    }
}

async fn open(proxy: &Proxy<'_>, n: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..n {
        clients.push(Client { stream: proxy.connect().await, round: 0 });
    }
    clients
}

/// Numbers of the connections that do not answer this round.
async fn stalled(clients: &mut [Client], echo: &Echo) -> BTreeSet<usize> {
    for client in &mut *clients {
        client.ask(echo).await;
    }
    let deadline = Instant::now() + LONG;
    while echo.received.load(Relaxed) < echo.sent.load(Relaxed) {
        assert!(Instant::now() < deadline, "requests do not arrive");
        sleep(Duration::from_millis(5)).await;
    }
    let mut stalled: BTreeSet<usize> = (0..clients.len()).collect();
    let answers = clients.iter_mut().enumerate().map(async |(n, client)| {
        client.answer().await;
        n
    });
    let mut answers: FuturesUnordered<_> = answers.collect();
    while let Ok(Some(answered)) = timeout(QUIET, answers.next()).await {
        stalled.remove(&answered);
    }
    stalled
}

/// Five standard deviations around the mean: one honest run in a million lies outside.
fn likely(n: usize, p: f64) -> RangeInclusive<usize> {
    let (mean, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    (mean - 5.0 * deviation).max(0.0) as usize..=(mean + 5.0 * deviation) as usize
}

/// Both ends of 800 connections, and the proxy's: more files than a shell allows by default.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// The share that hangs, of connections opened before and after the toxic, stays the same ones; all of them after its removal.
async fn a_tenth_hangs(server: &Server, kind: &str) -> (Echo, [Vec<Client>; 2]) {
    allow_many_files();
    let echo = Echo::start().await;
    let proxy = server.proxy(echo.addr).await;
    let mut existing = open(&proxy, 400).await;
    join_all(existing.iter_mut().map(|client| client.works(&echo))).await;
    proxy.add_toxic(json!({"name": "t", "type": kind, "stream": "downstream", "toxicity": 0.1})).await;
    let mut new = open(&proxy, 400).await;
    let (mut hang, mut hang_new) = (stalled(&mut existing, &echo).await, stalled(&mut new, &echo).await);
    for (clients, hang) in [(&mut existing, &mut hang), (&mut new, &mut hang_new)] {
        assert!(likely(400, 0.1).contains(&hang.len()), "{} of 400 hang", hang.len());
        for _ in 0..5 {
            // The survivors answer each time, however long the machine takes.
            let alive = clients.iter_mut().enumerate().filter(|(n, _)| !hang.contains(n));
            join_all(alive.map(|(_, client)| client.works(&echo))).await;
        }
        for n in hang.iter() {
            let read = clients[*n].stream.try_read(&mut [0]);
            assert!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{n} is back");
        }
    }
    proxy.remove("t").await;
    (echo, [existing, new])
}

/// `toxicity_0.1_timeout`
async fn a_tenth_of_connections_hangs_and_a_removed_timeout_closes_all(server: &Server) {
    let (_, mut clients) = a_tenth_hangs(server, "timeout").await;
    for client in clients.iter_mut().flatten() {
        assert_eq!(end_of(&mut client.stream).await, End::Fin);
    }
}

/// `toxicity_0.1_bandwidth`
async fn a_tenth_of_connections_hangs_and_a_removed_bandwidth_frees_all(server: &Server) {
    let (echo, mut clients) = a_tenth_hangs(server, "bandwidth").await;
    for client in clients.iter_mut().flatten() {
        client.works(&echo).await;
    }
}

/// `toxicity_reroll`: by an update, and for the toxic directly before one that comes or goes; not by the other direction.
async fn dice_are_rolled_again_only_when_a_stage_starts(server: &Server) {
    const N: usize = 200;
    const P: f64 = 0.3;
    let echo = Echo::start().await;
    let proxy = server.proxy(echo.addr).await;
    let mut clients = open(&proxy, N).await;
    join_all(clients.iter_mut().map(|client| client.works(&echo))).await;
    let behind = |name| json!({"name": name, "type": "noop", "stream": "downstream"});
    proxy.add_toxic(json!({"name": "t", "type": "bandwidth", "stream": "downstream", "toxicity": P})).await;
    let mut before = stalled(&mut clients, &echo).await;
    assert!(likely(N, P).contains(&before.len()), "{} of {N} hang", before.len());
    for (what, rolls) in [
        ("nothing", false),
        ("an empty update", true),
        ("a toxic behind it comes", true),
        ("a second one behind that comes", false),
        ("that goes", false),
        ("the one behind it goes", true),
        ("one in the other direction comes", false),
    ] {
        match what {
            "nothing" => {}
            "an empty update" => proxy.update("t", json!({})).await,
            "a toxic behind it comes" => proxy.add_toxic(behind("behind")).await,
            "a second one behind that comes" => proxy.add_toxic(behind("far")).await,
            "that goes" => drop(proxy.remove("far").await),
            "the one behind it goes" => drop(proxy.remove("behind").await),
            _ => {
                let other = json!({"name": "other", "type": "noop", "stream": "upstream"});
                proxy.add_toxic(other).await;
            }
        }
        let now = stalled(&mut clients, &echo).await;
        assert!(likely(N, P).contains(&now.len()), "{what}: {} of {N} hang", now.len());
        let both = before.intersection(&now).count();
        if rolls {
            assert!(likely(before.len(), P).contains(&both), "{what}: {both} of {} again", before.len());
        } else {
            assert_eq!(now, before, "{what}");
        }
        before = now;
    }
}

/// Which of 24 new connections hang, opened one after another.
async fn pattern(server: &Server) -> Vec<bool> {
    let upstream = upstream().await;
    let proxy = server.proxy(upstream.local_addr().unwrap()).await;
    let hang = json!({"name": "t", "type": "bandwidth", "stream": "downstream", "toxicity": 0.5});
    proxy.add_toxic(hang).await;
    let mut pairs = Vec::new();
    for _ in 0..24 {
        let (mut client, mut far) = proxy.pair(&upstream).await;
        // Its links run, and have their dice, before the next one is opened.
        client.write_all(b"x").await.unwrap();
        read_exactly(&mut far, 1).await;
        far.write_all(b"y").await.unwrap();
        pairs.push((client, far));
    }
    join_all(pairs.iter_mut().map(async |(client, _)| timeout(QUIET * 2, client.read_u8()).await.is_err()))
        .await
}

/// `seed_42_twice`: has no effect on a stock server. Ours repeats its dice, and another seed gives others.
async fn a_seed_repeats_the_dice(server: &Server) {
    if server.is_ours() {
        let (one, again, other) = (Server::ours(42).await, Server::ours(42).await, Server::ours(43).await);
        let (one, again, other) = tokio::join!(pattern(&one), pattern(&again), pattern(&other));
        assert_eq!(again, one);
        assert_ne!(other, one);
    } else if let (Some(one), Some(two)) =
        (Server::stock(&["-seed", "42"]).await, Server::stock(&["-seed", "42"]).await)
    {
        let (one, two) = tokio::join!(pattern(&one), pattern(&two));
        // Equal by chance once in 16 million runs.
        assert_ne!(one, two);
    }
    works(&mut server.proxy(echo().await).await.connect().await).await;
}
