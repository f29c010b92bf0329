//! A process without a free descriptor. In a binary of its own: the limit is that of the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::time::Duration;

use descriptors::Acceptor;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections that wait when the limit is reached.
const WAITING: usize = 8;
/// Open files of this process.
const LIMIT: u64 = 256;
/// Given up: late enough for any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes every descriptor that this process may still have.
fn take_all() -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Both tests take all descriptors of the process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn where_no_connection_waits_the_spare_descriptors_are_kept() {
    let _alone = ALONE.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut acceptor = Acceptor::new(listener);
    let _client = TcpStream::connect(addr).await.unwrap();
    let _first = acceptor.accept().await;
    let _taken = take_all();
    let serving = tokio::spawn(async move { drop(acceptor.accept().await) });
    // What is given up here is taken by a dial, and the next connection hangs.
    for _ in 0..200 {
        // Sleeps: that nothing happens is what is tested, for ten times the pause of the acceptor.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(File::open("/dev/null").is_err(), "a descriptor was given up though no connection waits");
    }
    serving.abort();
}

#[tokio::test]
async fn every_connection_beyond_the_limit_is_closed_and_not_the_first_alone() {
    let _alone = ALONE.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut acceptor = Acceptor::new(listener);
    let mut clients = Vec::new();
    for _ in 0..WAITING {
        clients.push(TcpStream::connect(addr).await.unwrap());
    }
    let _taken = take_all();
    let serving = tokio::spawn(async move {
        let mut served = Vec::new();
        loop {
            let (mut stream, _) = acceptor.accept().await;
            stream.write_all(b"x").await.unwrap();
            served.push(stream);
        }
    });
    let mut closed = 0;
    for (n, client) in clients.iter_mut().enumerate() {
        let read = timeout(PATIENCE, client.read(&mut [0])).await;
        let read = read.unwrap_or_else(|_| panic!("connection {n} of {WAITING} hangs, {closed} were closed"));
        closed += usize::from(!matches!(read, Ok(1)));
    }
    assert_eq!(closed, WAITING);
    serving.abort();
}
