//! Real loss on real TCP: what it does to round trips, against the closed form that everything else is computed from.
//!
//! `KERNEL_LOSS_OPS=40000 cargo test -p end-to-end --test tests kernel_loss -- --nocapture` is the whole sweep of
//! docs/kernel-loss.md: as many round trips a level, and 50 % too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use scenario::backends::Resource;
use scenario::backends::nftables::{self, Counted, Maker, Namespace, TableName, Tables};
use scenario::janitor::Janitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{binary, judged};

/// Round trips a level, unless `KERNEL_LOSS_OPS` asks for more.
const OPS: usize = 2_500;
/// A round trip of the control group, where nothing is lost, every so often.
const CONTROL_PERIOD: Duration = Duration::from_millis(1);
/// More of them late: the machine stalled, and nothing can be said.
const CONTROL_LATE: f64 = 0.001;
/// Round trips of each connection before the loss: TCP must know the round trip's time.
const WARM_UP: usize = 10;
/// Bytes each way.
const PAYLOAD: usize = 100;
/// A round trip that takes longer has lost a packet that mattered.
const DELAYED: Duration = Duration::from_millis(100);
/// The client's timeout, unless another is asked for: what a level of loss makes of it is told, not judged.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Given up: late enough for any share.
const PATIENCE: Duration = Duration::from_secs(20);
/// New connections under loss, and what tells a lost SYN: the next is sent after a second.
const DIALS: usize = 320;
/// At once: far fewer than a listener's queue holds, which loses first packets of its own when it is full.
const DIALS_AT_ONCE: usize = 40;
const SYN_LOST: Duration = Duration::from_millis(900);

/// May this process change packet filters? If not, says so loudly: that is no failure, not even where `CI` is set.
pub async fn permitted() -> bool {
    let namespace = match Namespace::find(None) {
        Ok(namespace) => namespace,
        Err(refused) => return refuse(&refused.to_string()),
    };
    match nftables::permitted(&namespace).await {
        Ok(()) => true,
        Err(refused) => refuse(&refused.to_string()),
    }
}

fn refuse(why: &str) -> bool {
    eprintln!("NOT PERMITTED here, so not tested: {why}");
    false
}

async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; PAYLOAD];
            // The client ends it, or has given up.
            while stream.read_exact(&mut bytes).await.is_ok() && stream.write_all(&bytes).await.is_ok() {}
        });
    }
}

/// One round trip; `None`: given up. A byte that comes back changed fails the test.
async fn round_trip(stream: &mut TcpStream, n: usize) -> Option<Duration> {
    // Different bytes each time, and no pattern of one length.
    let sent: Vec<u8> = (0..PAYLOAD).map(|i| (n.wrapping_mul(2_654_435_761) >> (i % 32)) as u8).collect();
    let mut back = [0; PAYLOAD];
    let began = Instant::now();
    let trip = async {
        stream.write_all(&sent).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
    };
    timeout(PATIENCE, trip).await.ok()?;
    assert_eq!(sent, back, "round trip {n}");
    Some(began.elapsed())
}

/// What one level of loss did.
struct Measured {
    loss: f64,
    took: Vec<Duration>,
    dials: Vec<Duration>,
    counted: Counted,
}

/// A level of loss: per cent, round trips, connections with one of them in flight on each. The more is lost the more
/// connections, so that the processors never are the limit.
type Level = (u32, usize, usize);

async fn listen() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(echo(listener));
    addr
}

/// Round trips on a connection that nothing is done to, until `done`: the share of late ones.
async fn control(done: CancellationToken) -> f64 {
    let mut stream = TcpStream::connect(listen().await).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut n, mut late) = (0, 0);
    while !done.is_cancelled() {
        n += 1;
        late += usize::from(round_trip(&mut stream, n).await.is_none_or(|took| took > DELAYED));
        // Sleeps: round trips are made at this pace.
        tokio::time::sleep(CONTROL_PERIOD).await;
    }
    late as f64 / n as f64
}

async fn measure((percent, ops, connections): Level) -> Measured {
    let addr = listen().await;
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for n in 0..WARM_UP {
            round_trip(&mut stream, n).await.unwrap();
        }
        streams.push(stream);
    }

    let loss = f64::from(percent) / 100.0;
    let janitor = Janitor::start(&binary("scenariod")).await.unwrap();
    let mut tables = Tables::default();
    let namespace = Namespace::find(None).unwrap();
    let name = TableName::new(Maker::this().unwrap(), addr.port(), 1, 0);
    let resource = Resource::Table { netns: None, name: name.clone() };
    janitor.own(&resource, Duration::from_secs(300)).await.unwrap();
    tables.create(&namespace, name, addr, loss).await.unwrap();
    let took = trips(streams, ops).await;
    let counted = tables.count().await[0].1.counted;
    let dials = dial(addr).await;
    tables.remove().await.unwrap();
    janitor.gone(&resource).await.unwrap();
    janitor.done().await.unwrap();
    Measured { loss, took, dials, counted }
}

async fn trips(streams: Vec<TcpStream>, ops: usize) -> Vec<Duration> {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for mut stream in streams {
        let begun = Arc::clone(&begun);
        clients.spawn(async move {
            let mut took = Vec::new();
            loop {
                let n = begun.fetch_add(1, Relaxed);
                if n >= ops {
                    return took;
                }
                match round_trip(&mut stream, n).await {
                    Some(trip) => took.push(trip),
                    None => {
                        took.push(PATIENCE);
                        return took;
                    }
                }
            }
        });
    }
    clients.join_all().await.concat()
}

async fn dial(addr: SocketAddr) -> Vec<Duration> {
    let mut dials = JoinSet::new();
    for _ in 0..DIALS_AT_ONCE {
        dials.spawn(async move {
            let mut took = Vec::new();
            for _ in 0..DIALS / DIALS_AT_ONCE {
                let began = Instant::now();
                match timeout(PATIENCE, TcpStream::connect(addr)).await {
                    Ok(connected) => took.push(connected.map(|_| began.elapsed()).unwrap()),
                    Err(_) => took.push(PATIENCE),
                }
            }
            took
        });
    }
    dials.join_all().await.concat()
}

/// Fails unless `hits` of `n` is within four standard errors of `share`.
fn assert_share(what: &str, hits: usize, n: usize, share: f64) -> f64 {
    let measured = hits as f64 / n as f64;
    let error = (share * (1.0 - share) / n as f64).sqrt();
    assert!(
        (measured - share).abs() <= 4.0 * error,
        "{what}: {measured:.4} of {n}, expected {share:.4} ± 4 * {error:.4}"
    );
    measured
}

impl Measured {
    /// Compares with the law; gives a line of the table.
    fn judge(mut self) -> String {
        let Self { loss, counted, .. } = self;
        let law = 1.0 - (1.0 - loss).powi(2);
        let name = |what: &str| format!("{what} at {:.0} %", loss * 100.0);
        self.took.sort();
        let late: Vec<Duration> = self.took.iter().copied().filter(|took| *took > DELAYED).collect();
        let share = assert_share(&name("delayed round trips"), late.len(), self.took.len(), law);
        let dropped =
            assert_share(&name("lost packets"), counted.dropped as usize, counted.seen as usize, loss);
        let syns = self.dials.iter().filter(|took| **took > SYN_LOST).count();
        let dials = assert_share(&name("dials that lost a packet"), syns, DIALS, law);
        // The most frequent delay, in steps of 4 ms.
        let mut steps = std::collections::BTreeMap::<u128, usize>::new();
        late.iter().for_each(|took| *steps.entry(took.as_millis() / 4).or_default() += 1);
        let mode = steps.iter().max_by_key(|(_, n)| **n).unwrap().0 * 4;
        assert!((196..=260).contains(&mode), "{}: {mode} ms", name("first mode"));
        let beyond = self.took.iter().filter(|took| **took > TIMEOUT).count();
        let timeouts = beyond as f64 / self.took.len() as f64;
        let quantile = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_millis();
        format!(
            "| {:.0} % | {} | {share:.4} | {law:.4} | {timeouts:.4} | {mode} ms | {} / {} / {} ms | {dropped:.4} of {} | {dials:.3} |",
            loss * 100.0,
            self.took.len(),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            counted.seen
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_loss_delays_the_share_of_round_trips_that_the_law_says_and_changes_no_byte() {
    if !permitted().await {
        return;
    }
    // Built before anything is timed.
    binary("scenariod");
    let asked = std::env::var("KERNEL_LOSS_OPS").ok().map(|ops| ops.parse::<usize>().unwrap());
    let ops = asked.unwrap_or(OPS);
    let mut levels = vec![(2, ops, 20), (5, ops, 40), (10, ops, 80), (20, ops, 160)];
    if asked.is_some() {
        // Half of all packets: each round trip takes seconds.
        levels.push((50, ops / 10, 400));
    }
    let measured = judged(async || {
        let done = CancellationToken::new();
        let control = tokio::spawn(control(done.clone()));
        let at_once: JoinSet<Measured> = levels.iter().map(|level| measure(*level)).collect();
        let measured = at_once.join_all().await;
        done.cancel();
        (control.await.unwrap() <= CONTROL_LATE).then_some(measured)
    });
    let mut measured = measured.await;
    measured.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    println!(
        "| loss | round trips | P(> 100 ms) | 1-(1-p)^2 | P(> 250 ms) | mode | p50 / p90 / p99 of the delayed | packets lost | dials > 0.9 s |"
    );
    measured.into_iter().for_each(|measured| println!("{}", measured.judge()));
}
