//! The server on real sockets.

mod asking;
mod clients;
mod edges;
mod leases;
mod limits;
mod loss;
mod metrics;
mod replay;
mod seed;
mod stock;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Server, ServerConfig};
use crate::Client;
use crate::wire::NewProxy;

/// A running server of ours.
struct Running {
    client: Client,
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn config() -> ServerConfig {
        ServerConfig { addr: loopback(0), seed: Some(1), ..ServerConfig::default() }
    }

    async fn start() -> Self {
        Self::with(Self::config()).await
    }

    async fn with(config: ServerConfig) -> Self {
        Self::run(Server::bind(config).await.unwrap())
    }

    /// With the proxies of a config file.
    async fn populated(file: &[u8]) -> Self {
        let server = Server::bind(Self::config()).await.unwrap();
        server.populate(file).await.unwrap();
        Self::run(server)
    }

    fn run(server: Server) -> Self {
        let addr = server.addr();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        Self { client: Client::new(&format!("http://{addr}")).unwrap(), addr, stop, task }
    }

    /// Returns when all its ports are free again.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits for a condition, with a deadline.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Echoes everything on every connection.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(loopback(0)).await.unwrap();
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

async fn proxied(client: &Client, upstream: SocketAddr) -> SocketAddr {
    let new = NewProxy {
        name: "p".to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        upstream: upstream.to_string(),
        enabled: true,
    };
    client.create_proxy(&new).await.unwrap().listen.parse().unwrap()
}

/// Sends a byte and waits for its echo.
async fn ping(stream: &mut TcpStream, patience: Duration) -> Option<Duration> {
    let began = tokio::time::Instant::now();
    stream.write_all(b"x").await.ok()?;
    let mut byte = [0];
    tokio::time::timeout(patience, stream.read_exact(&mut byte)).await.ok()?.ok()?;
    Some(began.elapsed())
}

#[tokio::test]
async fn the_server_ends_with_all_its_proxies() {
    let running = Running::start().await;
    let addr = proxied(&running.client, echo().await).await;
    let mut open = TcpStream::connect(addr).await.unwrap();
    assert!(ping(&mut open, Duration::from_secs(5)).await.is_some());
    running.stop.cancel();
    running.task.await.unwrap();
    assert_eq!(open.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
    assert!(TcpStream::connect(running.addr).await.is_err());
}

#[tokio::test]
async fn connections_on_threads_of_their_own_carry_change_and_end() {
    let threads = |wanted: &str| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks
            .filter(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == wanted)
            })
            .count()
    };
    let running = Running::with(ServerConfig { threads: 3, ..Running::config() }).await;
    // A thread gives itself its name.
    eventually("three threads", async || threads("toxiproxy-0") + threads("toxiproxy-2") == 2).await;
    assert_eq!(threads("toxiproxy-3"), 0);
    let addr = proxied(&running.client, echo().await).await;
    let mut open = Vec::new();
    for _ in 0..7 {
        open.push(TcpStream::connect(addr).await.unwrap());
    }
    let patience = Duration::from_secs(5);
    for stream in &mut open {
        assert!(ping(stream, patience).await.unwrap() < Duration::from_millis(300));
    }
    let toxic = crate::wire::Toxic {
        name: "slow".to_owned(),
        kind: "latency".to_owned(),
        stream: "downstream".to_owned(),
        toxicity: 1.0,
        attributes: [("latency".to_owned(), 300.into())].into(),
    };
    running.client.add_toxic("p", &toxic).await.unwrap();
    for stream in &mut open {
        assert!(ping(stream, patience).await.unwrap() >= Duration::from_millis(300));
    }
    running.stop().await;
    for stream in &mut open {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    eventually("no thread is left", async || threads("toxiproxy-0") == 0).await;
}
