//! What the cases do with sockets, and how they judge times on a machine that may stall.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// Longest wait for what must come.
pub const LONG: Duration = Duration::from_secs(20);
/// Wait for what must not come.
pub const SHORT: Duration = Duration::from_millis(300);
/// Measurements of a time before a stalling machine is no excuse any more.
const TRIES: usize = 6;

/// How a connection stands after reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Orderly close.
    Fin,
    /// Reset.
    Reset,
    /// Nothing more came, and it is open.
    Open,
}

/// That port on loopback; 0 is any.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An upstream whose connections the case takes itself.
pub async fn upstream() -> TcpListener {
    TcpListener::bind(loopback(0)).await.unwrap()
}

/// An upstream that echoes everything on every connection.
pub async fn echo() -> SocketAddr {
    let listener = upstream().await;
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    addr
}

/// Reads until the end, or until nothing has come for `patience`.
pub async fn read_on(stream: &mut TcpStream, patience: Duration) -> (Vec<u8>, End) {
    let mut got = Vec::new();
    let mut bytes = vec![0; 65_536];
    loop {
        match timeout(patience, stream.read(&mut bytes)).await {
            Err(_) => return (got, End::Open),
            Ok(Ok(0)) => return (got, End::Fin),
            Ok(Ok(n)) => got.extend_from_slice(&bytes[..n]),
            Ok(Err(_)) => return (got, End::Reset),
        }
    }
}

/// How a connection ends that must end, whatever it still sends.
pub async fn end_of(stream: &mut TcpStream) -> End {
    read_on(stream, LONG).await.1
}

/// Does it stay open, and silent, for a while?
pub async fn is_idle(stream: &mut TcpStream) -> bool {
    read_on(stream, SHORT).await == (Vec::new(), End::Open)
}

/// Exactly that many bytes, which must come.
pub async fn read_exactly(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut got = vec![0; n];
    timeout(LONG, stream.read_exact(&mut got)).await.unwrap().unwrap();
    got
}

/// Sends a byte and waits for its echo: the round trip, or `None` when nothing comes.
pub async fn ping(stream: &mut TcpStream, patience: Duration) -> Option<Duration> {
    let began = Instant::now();
    stream.write_all(b"x").await.ok()?;
    let mut byte = [0];
    timeout(patience, stream.read_exact(&mut byte)).await.ok()?.ok()?;
    Some(began.elapsed())
}

/// A round trip that must work.
pub async fn works(stream: &mut TcpStream) -> Duration {
    ping(stream, LONG).await.unwrap()
}

/// Writes until nothing more fits anywhere on the way.
pub async fn fill(stream: &TcpStream) -> usize {
    let mut written = 0;
    while let Ok(ready) = timeout(SHORT, stream.writable()).await {
        ready.unwrap();
        written += stream.try_write(&[7; 65_536]).unwrap_or(0);
    }
    written
}

/// Measures until the time in milliseconds lies in `range`. A machine stalls, but it never hurries: too short fails at once,
/// too long (or `None`: this attempt says nothing) is tried again.
pub async fn takes(what: &str, range: Range<u64>, mut measure: impl AsyncFnMut() -> Option<Duration>) {
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let took = measure().await.map(|took| took.as_secs_f64() * 1_000.0);
        assert!(took.is_none_or(|took| took >= range.start as f64), "{what}: {took:?} ms, not in {range:?}");
        if took.is_some_and(|took| took < range.end as f64) {
            return;
        }
        seen.push(took);
    }
    panic!("{what}: {seen:?} ms, never in {range:?}")
}

/// Repeats what a stall of the machine can spoil until it says true.
pub async fn sooner_or_later(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES {
        if attempt().await {
            return;
        }
    }
    panic!("{what}: not in {TRIES} attempts")
}
