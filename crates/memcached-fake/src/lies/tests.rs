//! Each act as a raw connection sees it.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::FakeMemcached;

/// Far beyond what any step takes.
const LONG: Duration = Duration::from_secs(20);
/// Short, and only ever a lower bound.
const SHORT: Duration = Duration::from_millis(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("in time")
}

async fn fake() -> FakeMemcached {
    FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A fake that tells this one lie.
async fn liar(lie: impl Into<Lie>) -> (FakeMemcached, Peer) {
    let fake = fake().await;
    fake.lies().add(lie);
    let peer = Peer::to(&fake).await;
    (fake, peer)
}

/// The same with `k1` and `k2` stored before.
async fn liar_with_items(lie: impl Into<Lie>) -> (FakeMemcached, Peer) {
    let fake = fake().await;
    let mut peer = Peer::to(&fake).await;
    peer.asks("ms k1 3 F1\r\nabc\r\nms k2 5 F2\r\nvwxyz\r\n", "HD\r\nHD\r\n").await;
    fake.lies().add(lie);
    (fake, peer)
}

struct Peer(TcpStream);

impl Peer {
    async fn to(fake: &FakeMemcached) -> Self {
        Self(soon(TcpStream::connect(fake.addr())).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        soon(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    async fn expect(&mut self, wanted: &str) {
        let mut got = vec![0; wanted.len()];
        let mut length = 0;
        while length < got.len() {
            let read = soon(self.0.read(&mut got[length..])).await.unwrap();
            assert!(read > 0, "closed after {:?}, not {wanted:?}", got[..length].escape_ascii().to_string());
            length += read;
            assert!(
                wanted.as_bytes().starts_with(&got[..length]),
                "{:?}, not {wanted:?}",
                got[..length].escape_ascii().to_string()
            );
        }
    }

    async fn asks(&mut self, text: &str, wanted: &str) {
        self.send(text).await;
        self.expect(wanted).await;
    }

    /// Closed in order after exactly this.
    async fn ends(&mut self, wanted: &str) {
        self.expect(wanted).await;
        assert_eq!(soon(self.0.read(&mut [0; 1])).await.unwrap(), 0);
    }

    /// Reset after exactly this.
    async fn is_reset(&mut self, wanted: &str) {
        self.expect(wanted).await;
        let error = soon(self.0.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// Nothing has come, and the connection stands.
    fn has_nothing(self) -> std::net::TcpStream {
        let mut stream = self.0.into_std().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream
    }
}

/// Waits until the key holds this.
async fn holds(fake: &FakeMemcached, key: &str, value: &str) {
    soon(async {
        while fake.value(key.as_bytes()).as_deref() != Some(value.as_bytes()) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_lie_is_told_when_its_rule_holds() {
    let fake = fake().await;
    let says = |text: &str| Act::Reply(Bytes::from(format!("{text}\r\n")));
    let mg = fake.lies().add(Lie::new(says("MG")).command("mg").key_prefix("a"));
    let third = fake.lies().add(Lie::new(says("THIRD")).command("md").every(3).times(2));
    let mut peer = Peer::to(&fake).await;
    peer.asks("mg ab\r\nmg b\r\nms ab 0\r\n\r\nmg a\r\nmn\r\n", "MG\r\nEN\r\nHD\r\nMG\r\nMN\r\n").await;
    for expected in ["NF", "NF", "THIRD", "NF", "NF", "THIRD", "NF", "NF", "NF"] {
        peer.asks("md x\r\n", &format!("{expected}\r\n")).await;
    }
    assert_eq!((fake.lies().told(mg), fake.lies().told(third)), (2, 2));
    // Any key of several.
    fake.lies().set([Lie::new(says("GET")).key_prefix("q")]);
    peer.asks("get p q\r\nget p\r\nmn\r\n", "GET\r\nEND\r\nMN\r\n").await;
    let all = fake.lies().add(Lie::from(says("ALL")).once());
    peer.asks("mn\r\nmn\r\n", "ALL\r\nMN\r\n").await;
    assert!(fake.lies().remove(all) && !fake.lies().remove(all));
    fake.lies().clear();
    assert!(fake.lies().is_empty());
    peer.asks("get q\r\n", "END\r\n").await;
}

#[tokio::test]
async fn counters_count() {
    let fake = fake().await;
    let (mut one, two) = (Peer::to(&fake).await, Peer::to(&fake).await);
    soon(fake.counters().until(|counters| counters.open() == 2)).await;
    one.asks("mn\r\nmg a\r\nmg b\r\nwhat\r\nms k x\r\n", "MN\r\nEN\r\nEN\r\nERROR\r\nCLIENT_ERROR").await;
    assert_eq!(fake.counters().requests(), 5);
    assert_eq!(fake.counters().commands().collect::<Vec<_>>(), [("mg", 2), ("mn", 1)]);
    assert_eq!((fake.counters().seen("mg"), fake.counters().seen("what")), (2, 0));
    drop(two);
    soon(fake.counters().until(|counters| counters.open() == 1)).await;
    assert_eq!(fake.counters().accepted(), 2);
}

#[tokio::test]
async fn delay_and_the_replies_behind_it() {
    let (fake, mut peer) = liar(Lie::new(Act::Delay(SHORT)).command("ms")).await;
    let start = Instant::now();
    // The reply before it is not held up; the command itself is carried out at once.
    peer.asks("mn\r\nms k 1\r\n1\r\nmn\r\n", "MN\r\n").await;
    holds(&fake, "k", "1").await;
    peer.expect("HD\r\nMN\r\n").await;
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_peer_that_goes_during_a_delay_is_noticed() {
    let (fake, mut peer) = liar(Act::Delay(LONG * 10)).await;
    peer.send("mn\r\n").await;
    soon(fake.counters().until(|counters| counters.requests() == 1)).await;
    drop(peer);
    soon(fake.counters().until(|counters| counters.open() == 0)).await;
}

#[tokio::test]
async fn hang_reads_on_and_never_replies() {
    let (fake, mut peer) = liar(Lie::new(Act::Hang).command("mg")).await;
    peer.asks("mn\r\n", "MN\r\n").await;
    peer.send("mg k\r\nms k 1\r\n1\r\n").await;
    soon(fake.counters().until(|counters| counters.seen("ms") == 1)).await;
    assert_eq!(fake.value(b"k"), None);
    let stream = peer.has_nothing();
    // Another connection is served.
    Peer::to(&fake).await.asks("mn\r\n", "MN\r\n").await;
    drop(stream);
    soon(fake.counters().until(|counters| counters.open() == 0)).await;
}

#[tokio::test]
async fn close_and_reset_before_the_reply() {
    for (act, resets) in [(Act::Close, false), (Act::Reset, true)] {
        let (fake, mut peer) = liar(Lie::new(act).command("ms")).await;
        peer.send("mn\r\nms k 1\r\n1\r\nmn\r\nmn\r\n").await;
        match resets {
            true => peer.is_reset("MN\r\n").await,
            false => peer.ends("MN\r\n").await,
        }
        holds(&fake, "k", "1").await;
        soon(fake.counters().until(|counters| counters.open() == 0)).await;
    }
}

#[tokio::test]
async fn cuts_end_inside_the_reply() {
    let (fake, mut peer) = liar_with_items(Act::CloseInsideValue).await;
    peer.send("mg k2 v k\r\n").await;
    peer.ends("VA 5 kk2\r\nvw").await;
    let mut peer = Peer::to(&fake).await;
    peer.send("get k2\r\n").await;
    peer.ends("VALUE k2 2 5\r\nvw").await;
    let mut peer = Peer::to(&fake).await;
    peer.send("mg none\r\n").await;
    peer.ends("EN").await;
    fake.lies().set([Lie::new(Act::CutAfter(3))]);
    let mut peer = Peer::to(&fake).await;
    peer.send("mg k1 v\r\n").await;
    peer.ends("VA ").await;
    fake.lies().add(Act::Reset);
    let mut peer = Peer::to(&fake).await;
    peer.send("mg k1 v\r\n").await;
    peer.is_reset("VA ").await;
}

#[tokio::test]
async fn echoes_are_wrong_or_bare() {
    let (fake, mut peer) = liar_with_items(Act::WrongKey).await;
    peer.asks("mg k1 v k O7 f\r\n", "VA 3 kkz O7 f1\r\nabc\r\n").await;
    peer.asks("get k1 k2\r\n", "VALUE kz 1 3\r\nabc\r\nVALUE kz 2 5\r\nvwxyz\r\nEND\r\n").await;
    peer.asks("md kz k\r\nversionn\r\n", "NF kky\r\nERROR\r\n").await;
    fake.lies().set([Lie::new(Act::WrongOpaque)]);
    peer.asks("mg k1 k O7\r\nmg k1 Oab k\r\n", "HD kk1 O8\r\nHD Oaz kk1\r\n").await;
    fake.lies().set([Lie::new(Act::BareEcho)]);
    peer.asks("mg k1 v k O7 s\r\nmn\r\n", "VA 3 s3\r\nabc\r\nMN\r\n").await;
}

#[tokio::test]
async fn lengths_are_wrong() {
    let (fake, mut peer) = liar_with_items(Act::WrongLength(-2)).await;
    peer.asks("mg k1 v k\r\nget k1\r\n", "VA 1 kk1\r\nabc\r\nVALUE k1 1 1\r\nabc\r\nEND\r\n").await;
    fake.lies().set([Lie::new(Act::WrongLength(4))]);
    peer.asks("mg k1 v\r\nmg k1\r\n", "VA 7\r\nabc\r\nHD\r\n").await;
    fake.lies().set([Lie::new(Act::HugeLength(u64::MAX))]);
    peer.asks("mg k1 v\r\n", "VA 18446744073709551615\r\nabc\r\n").await;
}

#[tokio::test]
async fn more_than_one_reply() {
    let (fake, mut peer) = liar_with_items(Act::DuplicateReply).await;
    peer.asks("mg k1 v\r\n", "VA 3\r\nabc\r\nVA 3\r\nabc\r\n").await;
    fake.lies().set([Lie::new(Act::TrailingBytes(Bytes::from_static(b"HD\r\n")))]);
    peer.asks("mg k1 v\r\nmn\r\n", "VA 3\r\nabc\r\nHD\r\nMN\r\nHD\r\n").await;
    fake.lies().set([Lie::new(Act::ServerError("out of memory".into()))]);
    peer.asks("ms k1 1\r\n1\r\n", "SERVER_ERROR out of memory\r\n").await;
    assert_eq!(fake.value(b"k1").as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn replies_change_places() {
    let (fake, mut peer) = liar(Lie::new(Act::SwapWithNext).command("mg").once()).await;
    peer.send("mg a O1 k\r\n").await;
    soon(fake.counters().until(|counters| counters.requests() == 1)).await;
    // A quiet command has no reply to change places with.
    peer.asks("mg q q\r\nmg b O2 k\r\nmn\r\n", "EN O2 kb\r\nEN O1 ka\r\nMN\r\n").await;
    // Always told: each two replies change places.
    fake.lies().set([Lie::new(Act::SwapWithNext)]);
    peer.asks("mg a k\r\nmg b k\r\nmg c k\r\nmg d k\r\n", "EN kb\r\nEN ka\r\nEN kd\r\nEN kc\r\n").await;
}

#[tokio::test]
async fn unasked_bytes() {
    let hello = Bytes::from_static(b"HELLO\r\n");
    let (fake, mut peer) = liar(Act::Early { at: Moment::Accept, bytes: hello.clone() }).await;
    peer.expect("HELLO\r\n").await;
    fake.lies()
        .set([Lie::new(Act::Early { at: Moment::AfterReply(Duration::ZERO), bytes: hello.clone() }).once()]);
    peer.asks("mn\r\nmn\r\n", "MN\r\nHELLO\r\nMN\r\n").await;
    let start = Instant::now();
    fake.lies().set([Lie::new(Act::Early { at: Moment::AfterReply(SHORT), bytes: hello }).once()]);
    peer.asks("mn\r\nmn\r\n", "MN\r\nMN\r\nHELLO\r\n").await;
    assert!(start.elapsed() >= SHORT);
    peer.asks("mn\r\n", "MN\r\n").await;
}

#[tokio::test]
async fn drip_takes_its_time() {
    let (_fake, mut peer) = liar(Act::Drip(SHORT / 4)).await;
    let start = Instant::now();
    peer.asks("mn\r\n", "MN\r\n").await;
    assert!(start.elapsed() >= SHORT / 4 * 3);
}

#[tokio::test]
async fn values_of_others_and_of_the_past() {
    let (fake, mut peer) = liar_with_items(Act::ForeignValue).await;
    peer.asks("mg k1 v k O1 f s\r\n", "VA 5 kk1 O1 f2 s5\r\nvwxyz\r\n").await;
    peer.asks("get k2 k1\r\n", "VALUE k2 1 3\r\nabc\r\nVALUE k1 2 5\r\nvwxyz\r\nEND\r\n").await;
    // A miss too; a write is honest, and so is the store.
    peer.asks("mg none v\r\nmd k2\r\nmg k1 v\r\n", "VA 3\r\nabc\r\nHD\r\nVA 3\r\nabc\r\n").await;
    fake.lies().set([Lie::new(Act::StaleValue)]);
    peer.asks("mg k1 v\r\n", "EN\r\n").await;
    peer.asks(
        "ms k1 2 F9\r\nde\r\nmg k1 v f\r\nget k1\r\n",
        "HD\r\nVA 3 f1\r\nabc\r\nVALUE k1 1 3\r\nabc\r\nEND\r\n",
    )
    .await;
    peer.asks("set n 0 0 1\r\n5\r\nincr n 1\r\nget n\r\n", "STORED\r\n6\r\nVALUE n 0 1\r\n5\r\nEND\r\n")
        .await;
    // A touch is no lie.
    peer.asks("mg k1 T-1\r\n", "EN\r\n").await;
    assert_eq!(fake.value(b"k1"), None);
}

#[tokio::test]
async fn writes_are_lost() {
    let (fake, mut peer) = liar_with_items(Act::LoseWrite).await;
    peer.asks("ms k1 1 k O1\r\n1\r\nms new 1\r\n1\r\nmd k2\r\n", "HD kk1 O1\r\nHD\r\nHD\r\n").await;
    peer.asks("ma c N0 J5 v\r\nset k1 0 0 1\r\n1\r\n", "VA 1\r\n5\r\nSTORED\r\n").await;
    let now = |key: &str| fake.value(key.as_bytes());
    assert_eq!((now("k1").as_deref(), now("k2").as_deref()), (Some(&b"abc"[..]), Some(&b"vwxyz"[..])));
    assert_eq!((now("new"), now("c")), (None, None));
}

#[tokio::test]
async fn a_late_write_outlives_its_connection() {
    let (fake, mut peer) = liar(Lie::new(Act::LateApply(SHORT)).command("ms")).await;
    let start = Instant::now();
    peer.asks("mn\r\nms a 1\r\n1\r\nmn\r\n", "MN\r\nHD\r\nMN\r\n").await;
    assert!(start.elapsed() >= SHORT);
    assert_eq!(fake.value(b"a").as_deref(), Some(&b"1"[..]));
    let start = Instant::now();
    peer.send("ms b 1\r\n2\r\n").await;
    soon(fake.counters().until(|counters| counters.seen("ms") == 2)).await;
    drop(peer);
    soon(fake.counters().until(|counters| counters.open() == 0)).await;
    holds(&fake, "b", "2").await;
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn lies_are_told_together() {
    let (fake, mut peer) = liar_with_items(Lie::new(Act::LoseWrite).command("ms")).await;
    fake.lies().add(Lie::new(Act::Close).command("ms"));
    peer.send("ms k1 1\r\n1\r\n").await;
    peer.ends("").await;
    assert_eq!(fake.value(b"k1").as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_line_without_an_end() {
    let (fake, mut peer) = liar(Act::NoNewline).await;
    peer.send("mg k v\r\n").await;
    let mut got = vec![0; 3 << 20];
    soon(peer.0.read_exact(&mut got)).await.unwrap();
    assert!(!got.contains(&b'\n'));
    drop(peer);
    soon(fake.counters().until(|counters| counters.open() == 0)).await;
}

#[tokio::test]
async fn new_connections_are_refused_or_hang() {
    let (fake, mut peer) = liar(Lie::new(Act::RefuseNew).once()).await;
    peer.ends("ERROR Too many open connections\r\n").await;
    Peer::to(&fake).await.asks("mn\r\n", "MN\r\n").await;
    soon(fake.counters().until(|counters| counters.open() == 0)).await;
    fake.lies().set([Lie::new(Act::HangNew).every(2)]);
    let (mut one, mut two) = (Peer::to(&fake).await, Peer::to(&fake).await);
    two.send("mn\r\n").await;
    one.asks("mn\r\n", "MN\r\n").await;
    soon(fake.counters().until(|counters| counters.open() == 2)).await;
    assert_eq!(fake.counters().requests(), 2);
    // Seen to go though nothing was read.
    drop(two.has_nothing());
    soon(fake.counters().until(|counters| counters.open() == 1)).await;
    assert_eq!(fake.counters().requests(), 2);
}

#[tokio::test]
async fn no_more_connections_than_the_limit() {
    let (fake, mut one) = liar(Act::AcceptLimit(1)).await;
    one.asks("mn\r\n", "MN\r\n").await;
    let mut two = Peer::to(&fake).await;
    two.send("mn\r\n").await;
    one.asks("mn\r\n", "MN\r\n").await;
    assert_eq!(fake.counters().accepted(), 1);
    drop(one);
    two.expect("MN\r\n").await;
    let mut three = Peer::to(&fake).await;
    fake.lies().clear();
    three.asks("mn\r\n", "MN\r\n").await;
    assert_eq!(fake.counters().open(), 2);
}

#[tokio::test]
async fn listening_stops_and_resumes() {
    let fake = fake().await;
    let mut peer = Peer::to(&fake).await;
    peer.asks("ms k 1\r\n1\r\n", "HD\r\n").await;
    fake.stop_listening().await;
    let refused = soon(TcpStream::connect(fake.addr())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    peer.asks("mn\r\n", "MN\r\n").await;
    fake.resume().await.unwrap();
    assert!(fake.resume().await.is_err());
    Peer::to(&fake).await.asks("mg k v\r\n", "VA 1\r\n1\r\n").await;
    fake.flush();
    peer.asks("mg k v\r\n", "EN\r\n").await;
    fake.disconnect().await;
    peer.ends("").await;
    assert_eq!(fake.counters().open(), 0);
}
