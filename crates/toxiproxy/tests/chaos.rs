//! Chaos on the proxy itself: toxics of all stock kinds come, change and go a hundred times a second under load that checks
//! every byte. `CHAOS_SECONDS` says for how long each of the two storms lasts; 5 without it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and say figures"
)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use toxiproxy::server::{Server, ServerConfig};
use toxiproxy::wire::{Toxic, ToxicUpdate};
use toxiproxy::{Client, ClientError};

/// Connections under load.
const CONNECTIONS: u64 = 50;
/// Between two changes.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
/// Longest API call, on a machine that does not stall.
const CALL_MAX: Duration = Duration::from_secs(1);
/// Between two writes of a connection.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// Longest write.
const WRITE_MAX: usize = 4_096;
/// Bytes of one connection that may be on the way.
const WINDOW: u64 = 128 * 1024;
/// Toxics at the same time.
const TOXICS_MAX: usize = 6;
/// Wait for what must come when all toxics have gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Growth of the resident memory from the second quarter of a storm to its last, in KiB.
const GROWTH_MAX: u64 = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storm {
    /// No connection may end.
    Harmless,
    /// Connections may end; what has arrived is right nevertheless.
    Harmful,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn harmless_toxics_end_no_connection_and_change_no_byte() {
    storm(Storm::Harmless).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn harmful_toxics_end_connections_and_change_no_byte() {
    storm(Storm::Harmful).await;
}

/// One storm at a time: they measure the memory of the process.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    checked: AtomicU64,
    ended: AtomicU64,
}

async fn storm(storm: Storm) {
    let _machine = MACHINE.lock().await;
    let lasts = std::env::var("CHAOS_SECONDS").map_or(5, |text| text.parse().unwrap());
    let lasts = Duration::from_secs(lasts);
    let stop = CancellationToken::new();
    let server = Server::bind(ServerConfig { addr: loopback(), ..ServerConfig::default() }).await.unwrap();
    let client = Client::new(&format!("http://{}", server.addr())).unwrap();
    let served = tokio::spawn(server.run(stop.clone().cancelled_owned()));
    let new = json!({"name": "p", "listen": "127.0.0.1:0", "upstream": echo().await, "enabled": true});
    let proxy = client.create_proxy(&serde_json::from_value(new).unwrap()).await.unwrap();
    let addr: SocketAddr = proxy.listen.parse().unwrap();

    let load = Arc::new(Load::default());
    let mut workers = JoinSet::new();
    for id in 0..CONNECTIONS {
        workers.spawn(work(storm, addr, id, Arc::clone(&load)));
    }
    // Ends the watch and the server when a check fails, too.
    let _ends = stop.clone().drop_guard();
    let longest_stall = watch_the_machine(stop.clone());
    let memory = tokio::spawn(watch_memory(lasts));
    let seed = rand::random();
    eprintln!("{storm:?}: seed of the changes {seed}");
    let chaos = Chaos { storm, client, rng: StdRng::seed_from_u64(seed), toxics: BTreeMap::new(), next: 0 };
    let (changes, slowest) = chaos.run(lasts).await;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(worked) = timeout(PATIENCE * 2, workers.join_next()).await.unwrap() {
        worked.unwrap();
    }
    let [warm, last] = memory.await.unwrap();
    stop.cancel();
    served.await.unwrap();
    let stalled = longest_stall.await.unwrap();

    let (checked, ended) = (load.checked.load(Ordering::Relaxed), load.ended.load(Ordering::Relaxed));
    eprintln!(
        "{storm:?}: {changes} changes in {lasts:?}, the slowest call {slowest:?} (the machine stalled {stalled:?}); \
         {checked} bytes checked, {ended} connections ended; memory {warm} KiB, then {last} KiB"
    );
    assert!(slowest < CALL_MAX + stalled, "an API call took {slowest:?}");
    assert!(last < warm + GROWTH_MAX, "memory grew from {warm} to {last} KiB");
    assert!(checked > 1_000_000, "hardly any load: {checked} bytes");
    assert_eq!(ended > 0, storm == Storm::Harmful, "{ended} connections ended");
    assert!(changes > 10 * lasts.as_secs(), "hardly any chaos: {changes} changes");
}

/// Makes the changes.
struct Chaos {
    storm: Storm,
    client: Client,
    rng: StdRng,
    /// Kinds by name.
    toxics: BTreeMap<String, &'static str>,
    next: u64,
}

impl Chaos {
    /// Changes, and the longest call; at the end all toxics have gone.
    async fn run(mut self, lasts: Duration) -> (u64, Duration) {
        let end = Instant::now() + lasts;
        let (mut changes, mut slowest) = (0, Duration::ZERO);
        let mut ticks = interval(CHANGE_EVERY);
        while Instant::now() < end {
            ticks.tick().await;
            let began = Instant::now();
            self.change().await.unwrap();
            slowest = slowest.max(began.elapsed());
            changes += 1;
        }
        for name in self.toxics.keys() {
            self.client.remove_toxic("p", name).await.unwrap();
        }
        (changes, slowest)
    }

    async fn change(&mut self) -> Result<(), ClientError> {
        if self.storm == Storm::Harmful && self.rng.random_ratio(1, 200) {
            let enabled = |enabled| serde_json::from_value(json!({"enabled": enabled})).unwrap();
            self.client.update_proxy("p", &enabled(false)).await?;
            self.client.update_proxy("p", &enabled(true)).await?;
            return Ok(());
        }
        let some = self.rng.random_range(0..=self.toxics.len());
        let known = self.toxics.iter().nth(some).map(|(name, kind)| (name.clone(), *kind));
        match known {
            Some((name, _)) if self.toxics.len() >= TOXICS_MAX || self.rng.random() => {
                self.toxics.remove(&name);
                self.client.remove_toxic("p", &name).await
            }
            Some((name, kind)) => {
                let mut update = json!({"attributes": self.attributes(kind)});
                if kind != "timeout" {
                    update["toxicity"] = json!(self.toxicity(kind));
                }
                let update: ToxicUpdate = serde_json::from_value(update).unwrap();
                self.client.update_toxic("p", &name, &update).await.map(drop)
            }
            None if self.toxics.len() >= TOXICS_MAX => Ok(()),
            None => {
                let kinds = self.kinds();
                let kind = kinds[self.rng.random_range(0..kinds.len())];
                let name = format!("t{}", self.next);
                self.next += 1;
                let toxic = json!({
                    "name": name,
                    "type": kind,
                    "stream": if self.rng.random() { "upstream" } else { "downstream" },
                    "toxicity": self.toxicity(kind),
                    "attributes": self.attributes(kind),
                });
                self.toxics.insert(name, kind);
                let toxic: Toxic = serde_json::from_value(toxic).unwrap();
                self.client.add_toxic("p", &toxic).await.map(drop)
            }
        }
    }

    fn kinds(&self) -> Vec<&'static str> {
        let harmful = |kind: &str| ["timeout", "reset_peer"].contains(&kind);
        let stock = toxiproxy::kinds().iter().filter(|kind| !kind.extension).map(|kind| kind.name);
        stock.filter(|kind| self.storm == Storm::Harmful || !harmful(kind)).collect()
    }

    /// A `timeout` discards: spared later by new dice, it would leave a hole in the stream, as with the stock server. So its
    /// dice are loaded.
    fn toxicity(&mut self, kind: &str) -> f64 {
        if kind == "timeout" { 1.0 } else { f64::from(self.rng.random_range(3..=10)) / 10.0 }
    }

    fn attributes(&mut self, kind: &str) -> Value {
        let storm = self.storm;
        let mut up_to = |most: u64| self.rng.random_range(0..=most);
        match kind {
            "latency" => json!({"latency": up_to(20), "jitter": up_to(20)}),
            "bandwidth" => json!({"rate": up_to(1) * up_to(10_000)}),
            "slow_close" => json!({"delay": up_to(50)}),
            "slicer" => {
                let average = 100 + up_to(2_000);
                json!({"average_size": average, "size_variation": up_to(average - 1), "delay": up_to(100)})
            }
            "limit_data" if storm == Storm::Harmless => json!({"bytes": u32::MAX}),
            "limit_data" => json!({"bytes": up_to(200_000)}),
            "timeout" => json!({"timeout": up_to(100)}),
            "reset_peer" => json!({"timeout": up_to(100)}),
            _ => json!({}),
        }
    }
}

/// Keeps one connection under load and checks what comes back, until the load stops; then all that is on the way must come.
async fn work(storm: Storm, addr: SocketAddr, id: u64, load: Arc<Load>) {
    let mut key = id << 32;
    while !load.stop.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(addr).await else {
            assert_eq!(storm, Storm::Harmful, "refused");
            // Sleeps: who was refused comes again at this pace.
            sleep(WRITE_EVERY).await;
            continue;
        };
        stream.set_nodelay(true).unwrap();
        key += 1;
        let whole = exchange(&stream, key, &load).await;
        if !whole {
            assert_eq!(storm, Storm::Harmful, "connection {id} ended");
            load.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
    // Nothing is left of the storm.
    let mut fresh = TcpStream::connect(addr).await.unwrap();
    fresh.write_all(&[id as u8; 100]).await.unwrap();
    let mut got = [0; 100];
    timeout(PATIENCE, fresh.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, [id as u8; 100]);
}

/// The bytes of a stream, from a position on: different at each position of each stream.
fn bytes(key: u64, from: u64) -> impl Iterator<Item = u8> {
    (from..).map(move |at| {
        // splitmix64
        let mut word = (key ^ (at / 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()[(at % 8) as usize]
    })
}

/// Sends and checks the echo until the load stops: did all come back? A wrong byte is a panic, an end is `false`.
async fn exchange(stream: &TcpStream, key: u64, load: &Load) -> bool {
    let mut rng = StdRng::seed_from_u64(key);
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut received) = (0u64, 0u64);
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    let mut stopped: Option<Instant> = None;
    loop {
        if load.stop.load(Ordering::Relaxed) {
            pending.clear();
            if sent == received {
                return true;
            }
            let waited = stopped.get_or_insert_with(Instant::now).elapsed();
            assert!(waited < PATIENCE, "{received} of {sent} bytes came back, and no more");
        }
        tokio::select! {
            _ = ticks.tick() => {
                if pending.is_empty() && stopped.is_none() && sent - received < WINDOW {
                    pending = bytes(key, sent).take(rng.random_range(1..=WRITE_MAX)).collect();
                }
            }
            ready = stream.writable(), if !pending.is_empty() => {
                match ready.and_then(|()| stream.try_write(&pending)) {
                    Ok(n) => {
                        sent += n as u64;
                        pending.drain(..n);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return false,
                }
            }
            ready = stream.readable() => match ready.and_then(|()| stream.try_read(&mut buffer)) {
                Ok(0) => return false,
                Ok(n) => {
                    let right = buffer[..n].iter().copied().eq(bytes(key, received).take(n));
                    assert!(right, "wrong bytes between {received} and {}", received + n as u64);
                    received += n as u64;
                    load.checked.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            },
        }
    }
}

/// The longest stall of the machine itself, seen by a clock of its own.
fn watch_the_machine(stop: CancellationToken) -> JoinHandle<Duration> {
    tokio::task::spawn_blocking(move || {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        clock.block_on(async {
            let mut longest = Duration::ZERO;
            while !stop.is_cancelled() {
                let began = Instant::now();
                // Sleeps: how much later than this it wakes up is what is measured.
                sleep(CHANGE_EVERY).await;
                longest = longest.max(began.elapsed().saturating_sub(CHANGE_EVERY));
            }
            longest
        })
    })
}

/// Median resident memory in the second and in the last quarter of the storm, in KiB.
async fn watch_memory(lasts: Duration) -> [u64; 2] {
    let mut samples = Vec::new();
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        samples.push(resident.trim().trim_end_matches(" kB").parse().unwrap());
        // Sleeps: samples are taken at this pace while the storm lasts.
        sleep(CHANGE_EVERY * 5).await;
    }
    let quarter = samples.len() / 4;
    let median = |samples: &mut [u64]| {
        samples.sort_unstable();
        samples[samples.len() / 2]
    };
    let (warm, last) = samples[quarter..].split_at_mut(quarter);
    let last_from = last.len() - quarter;
    [median(warm), median(&mut last[last_from..])]
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Echoes everything on every connection.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    addr
}
