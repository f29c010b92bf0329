//! Fake servers, a client on them, everything that it tells, and load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use memcache_client::breaker::BreakerState;
use memcache_client::{
    Bytes, Client, CloseReason, Completion, Config, Error, Key, Observer, Op, Outcome, Reply, ServerAddr,
    Transition,
};
use memcached_fake::FakeMemcached;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Says what was measured; `cargo run -p end-to-end --bin guarantees` collects it.
#[expect(clippy::print_stdout, reason = "the figures are the output of these tests")]
pub fn figure(id: &str, text: impl std::fmt::Display) {
    println!("FIGURE {id}: {text}");
}

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Moves the clock by `time` without waiting, and lets everybody in this runtime do what is due then.
pub async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// Waits until `client` has begun `count` ops more. Under a steady load this is a time, of which the load has had its
/// share even on a slow machine.
pub async fn ops_later(client: &Client, count: u64) {
    let wanted = client.totals().ops + count;
    wait_for("ops to begin", || client.totals().ops >= wanted).await;
}

/// Everything that the client told, with its time.
#[derive(Debug, Default)]
pub struct Heard {
    transitions: Mutex<Vec<(Instant, usize, Transition)>>,
    dials: Mutex<Vec<(Instant, usize, bool)>>,
    closes: Mutex<Vec<(usize, CloseReason)>>,
    probes: Mutex<Vec<(Instant, usize, Outcome)>>,
}

impl Observer for Heard {
    fn breaker(&self, server: usize, transition: &Transition) {
        self.transitions.lock().unwrap().push((Instant::now(), server, transition.clone()));
    }

    fn probe(&self, server: usize, outcome: Outcome, _: Duration) {
        self.probes.lock().unwrap().push((Instant::now(), server, outcome));
    }

    fn dial(&self, server: usize, error: Option<String>, _: Duration) {
        self.dials.lock().unwrap().push((Instant::now(), server, error.is_none()));
    }

    fn closed(&self, server: usize, reason: CloseReason) {
        self.closes.lock().unwrap().push((server, reason));
    }
}

impl Heard {
    /// Times at which the server's breaker left the closed state.
    pub fn trips(&self, server: usize) -> Vec<Instant> {
        self.transitions_of(server)
            .into_iter()
            .filter(|(_, t)| t.from == BreakerState::Closed)
            .map(|(at, _)| at)
            .collect()
    }

    /// Times at which it closed.
    pub fn closings(&self, server: usize) -> Vec<Instant> {
        self.transitions_of(server)
            .into_iter()
            .filter(|(_, t)| t.to == BreakerState::Closed)
            .map(|(at, _)| at)
            .collect()
    }

    pub fn transitions_of(&self, server: usize) -> Vec<(Instant, Transition)> {
        let all = self.transitions.lock().unwrap();
        all.iter().filter(|(_, s, _)| *s == server).map(|(at, _, t)| (*at, t.clone())).collect()
    }

    /// Dials of a server since an instant, good and bad.
    pub fn dials_since(&self, server: usize, since: Instant) -> Vec<Instant> {
        let all = self.dials.lock().unwrap();
        all.iter().filter(|(at, s, _)| *s == server && *at >= since).map(|(at, ..)| *at).collect()
    }

    pub fn closes(&self, reason: CloseReason) -> usize {
        self.closes.lock().unwrap().iter().filter(|(_, r)| *r == reason).count()
    }

    pub fn probes(&self, server: usize) -> usize {
        self.probes.lock().unwrap().iter().filter(|(_, s, _)| *s == server).count()
    }
}

/// Shares of the machine: these tests measure time, and must not measure each other. They mostly wait: one alone keeps a
/// twentieth of two processors busy.
static MACHINE: Semaphore = Semaphore::const_new(SHARES);
const SHARES: usize = 3;

/// The whole machine, for as long as the guard lives.
pub async fn alone() -> SemaphorePermit<'static> {
    MACHINE.acquire_many(SHARES as u32).await.unwrap()
}

/// Fakes, a client, and what it tells, on one share of the machine.
pub struct Rig {
    _share: SemaphorePermit<'static>,
    pub fakes: Vec<FakeMemcached>,
    pub client: Client,
    pub heard: Arc<Heard>,
}

pub fn server(index: usize, addr: SocketAddr) -> ServerAddr {
    ServerAddr { name: format!("s{index}"), addr: addr.to_string() }
}

pub async fn fakes(count: usize) -> Vec<FakeMemcached> {
    let mut fakes = Vec::new();
    for _ in 0..count {
        fakes.push(FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
    }
    fakes
}

pub fn client_of(addrs: impl IntoIterator<Item = SocketAddr>, config: Config) -> (Client, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let servers = addrs.into_iter().enumerate().map(|(n, addr)| server(n, addr)).collect();
    let observer = Arc::clone(&heard) as Arc<dyn Observer>;
    (Client::new(servers, config, observer).unwrap(), heard)
}

impl Rig {
    pub async fn new(servers: usize, config: Config) -> Self {
        let _share = MACHINE.acquire().await.unwrap();
        let fakes = fakes(servers).await;
        let (client, heard) = client_of(fakes.iter().map(FakeMemcached::addr), config);
        Self { _share, fakes, client, heard }
    }

    /// `count` keys that live on `server`.
    pub fn keys_on(&self, server: usize, count: usize) -> Vec<Key> {
        keys_on(&self.client, server, count)
    }
}

pub fn keys_on(client: &Client, server: usize, count: usize) -> Vec<Key> {
    let all = (0..).map(|n| key(&format!("key{n}")));
    all.filter(|key| client.home(key) == server).take(count).collect()
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A value that says whose it is.
pub fn value_of(key: &Key, nonce: u64) -> Bytes {
    format!("{key}:{nonce}:{}", "x".repeat((nonce % 97) as usize)).into()
}

/// Is it one of `value_of(key, _)`, whole?
pub fn is_own(key: &Key, value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let mut parts = text.splitn(3, ':');
    let (Some(owner), Some(nonce), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(nonce) = nonce.parse::<u64>() else { return false };
    owner == key.to_string() && rest.len() as u64 == nonce % 97
}

/// What a load did.
#[derive(Debug, Default)]
pub struct Done {
    pub ends: BTreeMap<Outcome, u64>,
    /// By home server.
    pub errors_at: BTreeMap<usize, u64>,
    pub ok_at: BTreeMap<usize, u64>,
    pub wrong: u64,
    pub latencies: Vec<Duration>,
}

impl Done {
    pub fn add(&mut self, key: &Key, completion: &Completion, took: Duration) {
        let outcome = completion.outcome();
        *self.ends.entry(outcome).or_default() += 1;
        let by_home = if outcome.is_ok() { &mut self.ok_at } else { &mut self.errors_at };
        *by_home.entry(completion.home).or_default() += 1;
        if let Ok(Reply::Value(value)) = &completion.result {
            self.wrong += u64::from(!is_own(key, value));
        }
        self.latencies.push(took);
    }

    pub fn total(&self) -> u64 {
        self.ends.values().sum()
    }

    pub fn ok(&self) -> u64 {
        self.ends.iter().filter(|(outcome, _)| outcome.is_ok()).map(|(_, n)| n).sum()
    }

    pub fn errors(&self) -> u64 {
        self.total() - self.ok()
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.ends.get(&outcome).copied().unwrap_or(0)
    }

    pub fn error_share(&self) -> f64 {
        self.errors() as f64 / self.total().max(1) as f64
    }

    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() as f64 * q) as usize).min(sorted.len() - 1)]
    }
}

/// The next op of a mixed load: 80 % get, 20 % set, over `keys`.
pub fn mixed(keys: &[Key], n: u64) -> Op {
    let key = keys[(n as usize).wrapping_mul(7919) % keys.len()].clone();
    match n % 5 {
        0 => Op::Set { value: value_of(&key, n), key, ttl: None },
        _ => Op::Get(key),
    }
}

static NONCE: AtomicU64 = AtomicU64::new(0);

/// `workers` ops in flight for `time`.
pub async fn closed_loop(client: &Client, workers: usize, time: Duration, op: impl Fn(u64) -> Op) -> Done {
    let (end, mut done) = (Instant::now() + time, Done::default());
    let next = || {
        let op = op(NONCE.fetch_add(1, Ordering::Relaxed));
        async move {
            let (key, began) = (op.key().clone(), Instant::now());
            (key, client.execute(op).await, began.elapsed())
        }
    };
    let mut running: FuturesUnordered<_> = (0..workers).map(|_| next()).collect();
    while let Some((key, completion, took)) = running.next().await {
        done.add(&key, &completion, took);
        if Instant::now() < end {
            running.push(next());
        }
    }
    done
}

/// `rate` starts a second for `time`, whatever the replies do.
pub async fn open_loop(client: &Client, rate: u64, time: Duration, op: impl Fn(u64) -> Op) -> Done {
    let (begin, mut done) = (Instant::now(), Done::default());
    let mut running = FuturesUnordered::new();
    let total = (time.as_secs_f64() * rate as f64) as u64;
    let mut started = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while started < total || !running.is_empty() {
        tokio::select! {
            Some((key, completion, took)) = running.next(), if !running.is_empty() => {
                let (key, completion, took): (Key, Completion, Duration) = (key, completion, took);
                done.add(&key, &completion, took);
            }
            _ = ticks.tick(), if started < total => {
                let due = ((begin.elapsed().as_secs_f64() * rate as f64) as u64).min(total);
                for _ in started..due {
                    let op = op(NONCE.fetch_add(1, Ordering::Relaxed));
                    running.push(async move {
                        let (key, began) = (op.key().clone(), Instant::now());
                        (key, client.execute(op).await, began.elapsed())
                    });
                }
                started = due;
            }
        }
    }
    done
}

/// The error of a completion.
pub fn error_of(completion: Completion) -> Error {
    completion.result.unwrap_err()
}
