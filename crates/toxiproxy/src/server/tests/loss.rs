//! Loss-like delay on real sockets: the share that the law says, where the law says, and not a byte changed.

use std::time::Duration;

use futures::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Running, echo, ping, proxied};
use crate::Client;
use crate::wire::{Attributes, Toxic};

const CONNECTIONS: u32 = 100;
/// Ops with less than this are not delayed, those with more are.
const DELAYED: Duration = Duration::from_millis(100);
/// An op that takes longer has lost more than one send, and its connection is left.
const PATIENCE: Duration = Duration::from_millis(330);
/// Times that a measurement is begun again.
const TRIES: usize = 8;

async fn lose(client: &Client, streams: &[&str], ppm: i64, more: &[(&str, i64)]) {
    for stream in streams {
        let mut attributes: Attributes = [("loss_ppm".to_owned(), ppm.into())].into();
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        let toxic = Toxic {
            name: format!("loss-{stream}"),
            kind: "loss".to_owned(),
            stream: (*stream).to_owned(),
            toxicity: 1.0,
            attributes,
        };
        client.add_toxic("p", &toxic).await.unwrap();
    }
}

/// As [`round_trips_once`], while the machine itself does not stall: that would delay ops of every connection.
async fn round_trips(addr: std::net::SocketAddr, rounds: u32) -> Vec<Option<Duration>> {
    for _ in 0..TRIES {
        let mut watch = tokio::time::interval(Duration::from_millis(10));
        let (mut longest, mut before) = (Duration::ZERO, Instant::now());
        let measured = round_trips_once(addr, rounds);
        tokio::pin!(measured);
        let took = loop {
            tokio::select! {
                took = &mut measured => break took,
                now = watch.tick() => {
                    longest = longest.max(before.elapsed());
                    before = now.max(Instant::now());
                }
            }
        };
        if longest < DELAYED / 2 {
            return took;
        }
        eprintln!("the machine stalled for {longest:?}: measured again");
    }
    panic!("the machine stalls all the time");
}

/// Round trips of `rounds` ops on each of the connections; those beyond the patience are `None`.
async fn round_trips_once(addr: std::net::SocketAddr, rounds: u32) -> Vec<Option<Duration>> {
    descriptors::raise();
    let all = (0..CONNECTIONS).map(|_| async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut took = Vec::new();
        for _ in 0..rounds {
            let one = ping(&mut stream, PATIENCE).await;
            if one.is_none() {
                stream = TcpStream::connect(addr).await.unwrap();
            }
            took.push(one);
        }
        took
    });
    join_all(all).await.into_iter().flatten().collect()
}

/// Is `seen` of `n` within four standard errors of `share`? Ops that the machine itself delayed are not many.
fn check_share(what: &str, seen: usize, n: usize, share: f64) {
    let measured = seen as f64 / n as f64;
    let error = (share * (1.0 - share) / n as f64).sqrt();
    assert!((measured - share).abs() <= 4.0 * error, "{what}: {measured} of {n}, not {share} ± 4 × {error}");
}

async fn both_ways(ppm: i64, rounds: u32) {
    let running = Running::start().await;
    let addr = proxied(&running.client, echo().await).await;
    lose(&running.client, &["upstream", "downstream"], ppm, &[]).await;
    let took = round_trips(addr, rounds).await;
    let p = ppm as f64 / 1e6;
    let delayed: Vec<Option<Duration>> =
        took.iter().copied().filter(|took| took.is_none_or(|took| took > DELAYED)).collect();
    check_share(&format!("{ppm} ppm"), delayed.len(), took.len(), 1.0 - (1.0 - p) * (1.0 - p));
    // The first mode: one lost send. The median of those that came back in time lies in it.
    let mut once: Vec<Duration> = delayed.into_iter().flatten().collect();
    once.sort_unstable();
    let first = once[once.len() / 2].as_millis();
    assert!((196..=260).contains(&first), "{ppm} ppm: {first} ms");
}

#[tokio::test]
async fn two_per_cent_delay_the_share_that_the_law_says() {
    both_ways(20_000, 60).await;
}

#[tokio::test]
async fn five_per_cent_delay_the_share_that_the_law_says() {
    both_ways(50_000, 40).await;
}

#[tokio::test]
async fn ten_per_cent_delay_the_share_that_the_law_says() {
    both_ways(100_000, 30).await;
}

#[tokio::test]
async fn twenty_per_cent_delay_the_share_that_the_law_says() {
    both_ways(200_000, 20).await;
}

#[tokio::test]
async fn fifty_per_cent_delay_the_share_that_the_law_says() {
    both_ways(500_000, 15).await;
}

#[tokio::test]
async fn one_direction_alone_delays_its_own_share() {
    for stream in ["upstream", "downstream"] {
        let running = Running::start().await;
        let addr = proxied(&running.client, echo().await).await;
        lose(&running.client, &[stream], 200_000, &[]).await;
        let took = round_trips(addr, 15).await;
        let delayed = took.iter().filter(|took| took.is_none_or(|took| took > DELAYED)).count();
        check_share(stream, delayed, took.len(), 0.2);
    }
}

#[tokio::test]
async fn not_a_byte_is_lost_changed_or_out_of_order() {
    let running = Running::start().await;
    let addr = proxied(&running.client, echo().await).await;
    lose(&running.client, &["upstream", "downstream"], 300_000, &[("rto_ms", 1), ("burst", 2)]).await;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let sent: Vec<u8> = (0..2_000_000).map(|_| rng.random()).collect();
    let (mut reader, mut writer) = TcpStream::connect(addr).await.unwrap().into_split();
    let copy = sent.clone();
    let began = Instant::now();
    let sender = tokio::spawn(async move {
        let mut rest = &copy[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.random_range(1..=rest.len().min(20_000)));
            writer.write_all(piece).await.unwrap();
            rest = behind;
        }
        writer
    });
    let mut got = vec![0; sent.len()];
    timeout(Duration::from_secs(60), reader.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == sent);
    assert!(began.elapsed() > Duration::from_millis(1), "nothing was delayed");
    drop(sender.await.unwrap());
    let dose = &running.client.dose().await.unwrap()["p"];
    assert!(dose.total.chunks_touched > 0 && dose.streams["upstream"].bytes == sent.len() as u64, "{dose:?}");
}
