//! A read-only HTTP server for a handful of routes. GET and HEAD only: whatever changes state does not belong on a port
//! that is scraped from outside. Everything that a stranger may take of it has a limit: connections, heads, time, streams.

mod connection;
mod patient;
mod peers;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use descriptors::Acceptor;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ListenAddr;
use connection::Served;
pub use patient::Patient;
use peers::Peers;
pub use routes::{Answer, Asked, Document, Pieces, Routes, lines};

/// Niceness of a thread that serves: where the CPU is short, the load comes first.
const NICENESS: i32 = 5;
/// Blocking calls of such a thread at once: files that are read.
const FILES_MAX: usize = 2;

/// Bounds of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; further ones are closed at once. Beyond half of them none is kept alive after its answer.
    pub connections: usize,
    /// Of them from one address, so that one peer cannot shut out the others.
    pub per_peer: usize,
    /// Time for the head of a request, and for which a connection may idle.
    pub head: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time within which a reader must have taken what there is for it.
    pub write: Duration,
    /// Readers of one stream at the same time; further ones are told to come again.
    pub streams: usize,
    /// Time for connections to end after the stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_peer: 128,
            head: Duration::from_secs(5),
            head_bytes: 16 * 1024,
            headers: 64,
            write: Duration::from_secs(20),
            streams: 16,
            grace: Duration::from_secs(1),
        }
    }
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}{}", hint(.source))]
pub struct BindError {
    addr: String,
    source: std::io::Error,
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program has that port, choose one with --metrics-port (0: any free)"
        }
        _ => "",
    }
}

/// A bound port that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    limits: Limits,
}

impl Server {
    /// Binds: a taken port shows before anything else is started.
    pub async fn bind(addr: &ListenAddr, limits: Limits) -> Result<Self, BindError> {
        let bound = async {
            let listener = addr.bind().await?;
            let addr = listener.local_addr()?;
            Ok(Self { listener, addr, limits })
        };
        bound.await.map_err(|source| BindError { addr: addr.to_string(), source })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A URL under which this machine reaches it.
    pub fn local_url(&self) -> String {
        if self.addr.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", self.addr.port())
        } else {
            format!("http://{}", self.addr)
        }
    }

    /// Serves until `stop`, on a thread of its own and with less right to the CPU than the others: no number of scrapers stands in
    /// a queue with the load.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn spawn(self, routes: Routes, stop: CancellationToken) -> std::io::Result<Serving> {
        let Self { listener, addr, limits } = self;
        let listener = listener.into_std()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(FILES_MAX)
            .build()?;
        let (ended, serving) = oneshot::channel();
        std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            // On Linux this is the calling thread's alone. Where it is refused, the thread is like the others.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                Self { listener, addr, limits }.serve(routes, stop).await;
                Ok(())
            });
            // A file that is still read is not waited for.
            runtime.shutdown_background();
            // Nobody may wait for it any more.
            let _ = ended.send(served);
        })?;
        Ok(Serving(serving))
    }

    /// Serves until `stop`, then lets connections end for the grace time.
    pub async fn serve(self, routes: Routes, stop: CancellationToken) {
        let served = Served::new(routes, self.limits, stop.clone());
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let peers = Peers::new(self.limits.per_peer);
        let tasks = TaskTracker::new();
        let mut acceptor = Acceptor::new(self.listener);
        loop {
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = acceptor.accept() => accepted,
            };
            let slot = Arc::clone(&slots).try_acquire_owned().ok();
            let Some((slot, place)) = slot.zip(peers.enter(peer.ip())) else {
                // Not a warning: whoever can be refused a thousand times a second could fill a disk with it.
                tracing::debug!(%peer, limits = ?self.limits, "too many connections: one refused");
                continue;
            };
            let crowded = slots.available_permits() < self.limits.connections / 2;
            let served = served.clone();
            tasks.spawn(async move {
                served.connection(stream, peer, crowded).await;
                drop((slot, place));
            });
        }
        tasks.close();
        if tokio::time::timeout(self.limits.grace, tasks.wait()).await.is_err() {
            tracing::debug!("connections were cut at the end");
        }
    }
}

/// A server on a thread of its own.
#[derive(Debug)]
pub struct Serving(oneshot::Receiver<std::io::Result<()>>);

impl Serving {
    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// It ended although nobody asked for that.
    pub async fn ended(self) -> std::io::Result<()> {
        self.0.await.unwrap_or_else(|_| Err(std::io::Error::other("the HTTP server's thread has died")))
    }
}

#[cfg(test)]
mod tests;
