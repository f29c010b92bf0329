//! Every fault as a client sees it, through a real server over real sockets, before a memcached: the fault is there, it goes,
//! and then the connection works again; where harm is the point, a new one does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memcache_toxics::{FAULTS, Harm, KINDS};
use memcached_fake::FakeMemcached;
use memcached_fake::real::RealMemcached;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use toxiproxy::Client;
use toxiproxy::server::{Server, ServerConfig};
use toxiproxy::wire::{Attribute, Attributes, NewProxy, Toxic, ToxicUpdate};

/// For what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what must not come.
const SILENCE: Duration = Duration::from_millis(60);

/// A server with one proxy before a memcached.
struct Scene {
    api: Client,
    listen: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Scene {
    async fn new(upstream: SocketAddr) -> Self {
        let config = ServerConfig {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: Some(7),
            extensions: KINDS,
            ..ServerConfig::default()
        };
        let server = Server::bind(config).await.unwrap();
        let api = Client::new(&format!("http://{}", server.addr())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let proxy = NewProxy {
            name: "cache".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: upstream.to_string(),
            enabled: true,
        };
        let listen = api.create_proxy(&proxy).await.unwrap().listen.parse().unwrap();
        Self { api, listen, stop, running }
    }

    async fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.listen).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer(stream)
    }

    async fn add(&self, kind: &str, words: &str) {
        self.add_named("fault", kind, words).await;
    }

    async fn add_named(&self, name: &str, kind: &str, words: &str) {
        let toxic = Toxic {
            name: name.to_owned(),
            kind: kind.to_owned(),
            stream: "downstream".to_owned(),
            toxicity: 1.0,
            attributes: given(words),
        };
        self.api.add_toxic("cache", &toxic).await.unwrap();
    }

    async fn remove(&self) {
        self.api.remove_toxic("cache", "fault").await.unwrap();
    }

    /// Chunks that a toxic has touched so far.
    async fn touched(&self) -> u64 {
        self.api.dose().await.unwrap()["cache"].total.chunks_touched
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }
}

fn given(words: &str) -> Attributes {
    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
    let value = |text: &str| text.parse().map_or_else(|_| text.into(), Attribute::Number);
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

/// A client that speaks bytes.
struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The next bytes, as many as `wanted` has.
    async fn sees(&mut self, wanted: &str, what: &str) {
        let mut got = vec![0; wanted.len()];
        let read = timeout(PATIENCE, self.0.read_exact(&mut got)).await;
        read.unwrap_or_else(|_| panic!("{what}: {wanted:?} did not come")).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), wanted, "{what}");
    }

    async fn sees_nothing(&mut self, what: &str) {
        let mut byte = [0];
        let read = timeout(SILENCE, self.0.read(&mut byte)).await;
        assert!(read.is_err(), "{what}: {byte:?} came");
    }

    async fn sees_the_end(&mut self, what: &str) {
        let mut byte = [0];
        let read =
            timeout(PATIENCE, self.0.read(&mut byte)).await.unwrap_or_else(|_| panic!("{what}: no end"));
        assert!(matches!(read, Ok(0) | Err(_)), "{what}: {byte:?} came");
    }

    async fn works(&mut self, what: &str) {
        self.send("set after 0 0 2\r\nok\r\nget after\r\nmn\r\n").await;
        self.sees("STORED\r\nVALUE after 0 2\r\nok\r\nEND\r\nMN\r\n", what).await;
    }
}

/// What a client does and sees under a fault.
struct Case {
    fault: &'static str,
    words: &'static str,
    send: &'static str,
    /// While the fault is there.
    sees: &'static str,
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// The same connection works after the removal.
    Works,
    /// After the removal it sees this first.
    Late(&'static str),
    /// The connection has ended.
    Ended,
    /// It is out of step.
    OutOfStep,
}

/// `k` is `value`; `big` has 2000 bytes.
const CASES: &[Case] = &[
    Case {
        fault: "mc_delay",
        words: "latency=150 commands=get",
        send: "mn\r\nget k\r\n",
        sees: "MN\r\nVALUE k 0 5\r\nvalue\r\nEND\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_delay_request",
        words: "latency=150 commands=write",
        send: "mn\r\nset w 0 0 1\r\n1\r\n",
        sees: "MN\r\nSTORED\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_stall",
        words: "commands=get",
        send: "mn\r\nget k\r\nmn\r\n",
        sees: "MN\r\n",
        then: Then::Late("VALUE k 0 5\r\nvalue\r\nEND\r\nMN\r\n"),
    },
    Case {
        fault: "mc_hold_reply",
        words: "min_size=6",
        send: "get k\r\nset w 0 0 6\r\n123456\r\nget k\r\n",
        sees: "VALUE k 0 5\r\nvalue\r\nEND\r\n",
        then: Then::Late("STORED\r\nVALUE k 0 5\r\nvalue\r\nEND\r\n"),
    },
    Case {
        fault: "mc_slow_value",
        words: "rate=25",
        send: "mg k v\r\nmn\r\n",
        sees: "VA 5\r\nvalue\r\nMN\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_split_reply",
        words: "delay=3",
        send: "get k\r\nmn\r\n",
        sees: "VALUE k 0 5\r\nvalue\r\nEND\r\nMN\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_health_only",
        words: "version=v9",
        send: "version\r\nmn\r\nmg k v\r\nmn\r\n",
        sees: "VERSION v9\r\nMN\r\n",
        then: Then::Late("VA 5\r\nvalue\r\nMN\r\n"),
    },
    Case {
        fault: "mc_server_error",
        words: "text=no commands=get,ms",
        send: "mn\r\nget k\r\nms k 1 O1\r\nx\r\nmg k v\r\n",
        sees: "MN\r\nSERVER_ERROR no\r\nSERVER_ERROR no\r\nVA 5\r\nvalue\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_error_reply",
        words: "commands=ms",
        send: "ms w 1\r\n7\r\nmg w v\r\n",
        sees: "SERVER_ERROR out of memory storing object\r\nVA 1\r\n7\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_miss",
        words: "key_prefix=k",
        send: "mg big q O1\r\nmg k v O2 k\r\nget k\r\n",
        sees: "HD O1\r\nEN O2 kk\r\nEND\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_lost_write",
        words: "",
        send: "set k 0 0 1\r\nx\r\nms k 1 O3\r\nx\r\ndelete k\r\nget k\r\n",
        sees: "STORED\r\nHD O3\r\nDELETED\r\nVALUE k 0 5\r\nvalue\r\nEND\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_truncate_value",
        words: "shorter=2",
        send: "get k\r\nmg k v\r\n",
        sees: "VALUE k 0 3\r\nval\r\nEND\r\nVA 3\r\nval\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_wrong_key",
        words: "",
        send: "get k\r\nmg k v k\r\n",
        sees: "VALUE z 0 5\r\nvalue\r\nEND\r\nVA 5 kz\r\nvalue\r\n",
        then: Then::Works,
    },
    Case {
        fault: "mc_busy",
        words: "",
        send: "get k\r\n",
        sees: "ERROR Too many open connections\r\n",
        then: Then::Ended,
    },
    Case {
        fault: "mc_poison",
        words: "key_prefix=k",
        send: "mn\r\nget k\r\n",
        sees: "MN\r\n",
        then: Then::Ended,
    },
    Case {
        fault: "mc_cut_value",
        words: "",
        send: "get k\r\n",
        sees: "VALUE k 0 5\r\nva",
        then: Then::Ended,
    },
    Case {
        fault: "mc_wrong_length",
        words: "",
        send: "get k\r\n",
        sees: "VALUE k 0 6\r\nvalue\r\nEND\r\n",
        then: Then::OutOfStep,
    },
    Case {
        fault: "mc_duplicate_reply",
        words: "commands=mg",
        send: "mg k v\r\nmn\r\n",
        sees: "VA 5\r\nvalue\r\nVA 5\r\nvalue\r\nMN\r\n",
        then: Then::OutOfStep,
    },
    Case {
        fault: "mc_swap_replies",
        words: "commands=get",
        send: "get k\r\nmn\r\n",
        sees: "MN\r\nVALUE k 0 5\r\nvalue\r\nEND\r\n",
        then: Then::OutOfStep,
    },
    Case {
        fault: "mc_drop_reply",
        words: "commands=get",
        send: "get k\r\nmn\r\n",
        sees: "MN\r\n",
        then: Then::OutOfStep,
    },
    Case {
        fault: "mc_garbage_after_reply",
        words: "text=huh",
        send: "get k\r\n",
        sees: "VALUE k 0 5\r\nvalue\r\nEND\r\nhuh\r\n",
        then: Then::OutOfStep,
    },
];

/// Whose bytes are no text, with a test of its own.
const APART: &[&str] = &["mc_corrupt_value"];

/// Adds each fault to a connection that is open and has been used, and removes it.
async fn every_fault(upstream: SocketAddr) {
    let scene = Scene::new(upstream).await;
    scene.connect().await.works("before").await;
    for Case { fault, words, send, sees, then } in CASES {
        let mut peer = scene.connect().await;
        let big = "x".repeat(2000);
        peer.send(&format!("set k 0 0 5\r\nvalue\r\nset big 0 0 2000\r\n{big}\r\n")).await;
        peer.sees("STORED\r\nSTORED\r\n", fault).await;
        scene.add(fault, words).await;
        let (before, begin) = (scene.touched().await, Instant::now());
        peer.send(send).await;
        peer.sees(sees, fault).await;
        let took = begin.elapsed();
        match then {
            Then::Works | Then::OutOfStep => {}
            Then::Late(_) => peer.sees_nothing(fault).await,
            Then::Ended => peer.sees_the_end(fault).await,
        }
        if fault.starts_with("mc_delay") || *fault == "mc_slow_value" {
            assert!(took >= Duration::from_millis(140), "{fault}: {took:?}");
        }
        assert!(scene.touched().await > before, "{fault} touched nothing");
        scene.remove().await;
        match then {
            Then::Works => peer.works(fault).await,
            Then::Late(late) => {
                peer.sees(late, fault).await;
                peer.works(fault).await;
            }
            Then::Ended | Then::OutOfStep => scene.connect().await.works(fault).await,
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn every_fault_is_seen_and_goes_before_the_fake() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    every_fault(fake.addr()).await;
}

#[tokio::test]
async fn every_fault_is_seen_and_goes_before_the_real_memcached() {
    let Some(real) = RealMemcached::for_test().await else { return };
    every_fault(real.addr()).await;
}

#[test]
fn no_fault_is_left_out_and_harm_is_what_it_is_said_to_be() {
    let cases: BTreeSet<&str> = CASES.iter().map(|case| case.fault).chain(APART.iter().copied()).collect();
    let declared: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.kind.name).collect();
    assert_eq!(cases, declared);
    for case in CASES {
        let fault = FAULTS.iter().find(|fault| fault.kind.name == case.fault).unwrap();
        let breaks = matches!(case.then, Then::Ended | Then::OutOfStep);
        assert_eq!(breaks, fault.harm == Harm::Connection, "{}", case.fault);
    }
}

#[tokio::test]
async fn a_corrupted_value_differs_in_one_bit_and_not_the_next_time() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let scene = Scene::new(fake.addr()).await;
    let mut peer = scene.connect().await;
    peer.send("set k 0 0 5\r\nvalue\r\n").await;
    peer.sees("STORED\r\n", "set").await;
    scene.add("mc_corrupt_value", "").await;
    peer.send("get k\r\n").await;
    let mut got = [0; 25];
    timeout(PATIENCE, peer.0.read_exact(&mut got)).await.unwrap().unwrap();
    let bits: u32 =
        got.iter().zip(b"VALUE k 0 5\r\nvalue\r\nEND\r\n").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(bits, 1, "{}", got.escape_ascii());
    scene.remove().await;
    peer.works("after").await;
    scene.end().await;
}

#[tokio::test]
async fn a_write_that_was_given_up_happens_late() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let scene = Scene::new(fake.addr()).await;
    scene.add("mc_delay_request", "latency=300 key_prefix=late").await;
    let mut peer = scene.connect().await;
    peer.send("set late 0 0 3\r\nold\r\n").await;
    peer.sees_nothing("the client gives up").await;
    drop(peer);
    let mut other = scene.connect().await;
    other.send("set other 0 0 1\r\nx\r\n").await;
    other.sees("STORED\r\n", "other keys are not delayed").await;
    let deadline = Instant::now() + PATIENCE;
    while fake.value(b"late").is_none() {
        assert!(Instant::now() < deadline, "the write never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn faults_nest_so_that_each_sees_the_answers_of_the_others() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let scene = Scene::new(fake.addr()).await;
    scene.add_named("slow", "mc_delay", "latency=80 commands=get,mg,ms").await;
    let mut open = scene.connect().await;
    open.works("before").await;
    scene.add_named("full", "mc_server_error", "commands=set,ms text=no").await;
    for peer in [&mut open, &mut scene.connect().await] {
        // The error goes through the delay; a probe for it is no stranger there.
        for send in ["get k\r\nset k 0 0 1\r\nx\r\nms k 1\r\nx\r\nmn\r\n", "mg k q\r\nms k 1\r\nx\r\nmn\r\n"]
        {
            let begin = Instant::now();
            peer.send(send).await;
            if send.starts_with("get") {
                peer.sees("END\r\nSERVER_ERROR no\r\n", send).await;
            }
            peer.sees("SERVER_ERROR no\r\nMN\r\n", send).await;
            assert!(begin.elapsed() >= Duration::from_millis(70), "{send}: {:?}", begin.elapsed());
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn probes_are_answered_though_the_server_is_gone_quiet() {
    // Accepts and never answers.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let scene = Scene::new(silent.local_addr().unwrap()).await;
    scene.add("mc_health_only", "").await;
    let mut peer = scene.connect().await;
    peer.send("version\r\nmn\r\n").await;
    peer.sees("VERSION 1.6.0-mc_health_only\r\nMN\r\n", "probes").await;
    scene.end().await;
}

#[tokio::test]
async fn nonsense_is_refused_over_the_api_and_a_change_frees_what_is_held() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let scene = Scene::new(fake.addr()).await;
    let toxic = Toxic {
        name: "fault".to_owned(),
        kind: "mc_stall".to_owned(),
        stream: "upstream".to_owned(),
        toxicity: 1.0,
        attributes: given("commands=gett"),
    };
    let refused = scene.api.add_toxic("cache", &toxic).await.unwrap_err().to_string();
    assert!(refused.contains("400") && refused.contains("gett"), "{refused}");
    scene.add("mc_stall", "").await;
    let mut peer = scene.connect().await;
    peer.send("get k\r\n").await;
    peer.sees_nothing("stalled").await;
    let update = ToxicUpdate { attributes: given("key_prefix=other"), toxicity: None };
    scene.api.update_toxic("cache", "fault", &update).await.unwrap();
    peer.sees("END\r\n", "freed").await;
    peer.works("other keys").await;
    scene.end().await;
}

/// One line and, behind `VA`, the value.
async fn reply(peer: &mut Peer, buffer: &mut Vec<u8>) -> String {
    loop {
        if let Some(end) = buffer.windows(2).position(|two| two == b"\r\n") {
            let line = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let value = line
                .strip_prefix("VA ")
                .map(|rest| rest.split(' ').next().unwrap().parse::<usize>().unwrap());
            let whole = end + 2 + value.map_or(0, |length| length + 2);
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return line;
            }
        }
        let mut more = [0; 4096];
        let n = timeout(PATIENCE, peer.0.read(&mut more)).await.unwrap().unwrap();
        assert!(n > 0, "the connection ended");
        buffer.extend_from_slice(&more[..n]);
    }
}

/// Pipelines until told to stop: no reply may be missing or another op's. Gives how many rounds there were.
async fn pipelines(mut peer: Peer, quiet: &'static str, stop: Arc<AtomicBool>) -> u32 {
    let mut buffer = Vec::new();
    for n in 0.. {
        let store = format!("ms k{quiet} 5 O{n}a {quiet}\r\nvalue\r\n");
        peer.send(&format!("{store}mg k{quiet} v k O{n}b\r\nmn\r\n")).await;
        let mut seen = Vec::new();
        loop {
            match reply(&mut peer, &mut buffer).await.as_str() {
                "MN" => break,
                error if error.starts_with("SERVER_ERROR") => seen.push("error".to_owned()),
                line => {
                    let opaque = line.split(' ').find_map(|word| word.strip_prefix('O'));
                    seen.push(opaque.unwrap_or_else(|| panic!("no opaque: {line}")).to_owned());
                }
            }
        }
        let fits = |seen: &String, op: char| *seen == format!("{n}{op}") || seen == "error";
        match &seen[..] {
            [read] => assert!(!quiet.is_empty() && fits(read, 'b'), "{n}: {seen:?}"),
            [store, read] => assert!(fits(store, 'a') && fits(read, 'b'), "{n}: {seen:?}"),
            _ => panic!("{n}: {seen:?}"),
        }
        if stop.load(Ordering::Relaxed) {
            return n;
        }
    }
    unreachable!("an endless loop")
}

#[tokio::test]
async fn under_traffic_faults_come_and_go_and_no_reply_is_lost_or_another_ops() {
    let fake = FakeMemcached::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let scene = Scene::new(fake.addr()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let loud = tokio::spawn(pipelines(scene.connect().await, "", Arc::clone(&stop)));
    let quiet = tokio::spawn(pipelines(scene.connect().await, "q", Arc::clone(&stop)));
    let before = scene.touched().await;
    for round in 0..4 {
        for (fault, words) in [
            ("mc_delay", "latency=2 jitter=2"),
            ("mc_delay_request", "latency=2 share_ppm=300000"),
            ("mc_stall", ""),
            ("mc_hold_reply", "commands=mg"),
            ("mc_slow_value", "rate=1000"),
            ("mc_split_reply", "delay=0 size=3"),
            ("mc_health_only", "commands=ms"),
            ("mc_server_error", "share_ppm=500000"),
            ("mc_error_reply", "share_ppm=500000"),
            ("mc_miss", ""),
            ("mc_lost_write", ""),
            ("mc_corrupt_value", ""),
            ("mc_truncate_value", ""),
        ] {
            scene.add(fault, words).await;
            // Sleeps: each fault is there for a while, of another length each round.
            tokio::time::sleep(Duration::from_millis(3 * round + 1)).await;
            scene.remove().await;
        }
    }
    assert!(scene.touched().await > before);
    stop.store(true, Ordering::Relaxed);
    for client in [loud, quiet] {
        assert!(client.await.unwrap() > 10);
    }
    scene.end().await;
}
