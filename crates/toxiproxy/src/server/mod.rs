//! The embedded server: Toxiproxy's API (`api`) over a set of proxies (`store`), each with its connections (`proxy`),
//! each of those with two links through chains of toxics (`connection`, `pipe`). Nothing is global: several servers can run in
//! one process.

mod api;
mod body;
mod connection;
mod dice;
mod dose;
mod listen;
mod pipe;
mod proxy;
mod store;
mod timer;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use store::Store;

use crate::toxic::ToxicKind;

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the API listens.
    pub addr: SocketAddr,
    /// Seed of the dice; `None`: a random one.
    pub seed: Option<u64>,
    /// Kinds of toxics beside the built-in ones.
    pub extensions: &'static [ToxicKind],
    /// API connections at the same time.
    pub connections: usize,
    /// Time for the head of a request, as with the stock server's read limit.
    pub head: Duration,
    /// Time for running requests to end after the stop.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8474)),
            seed: None,
            extensions: &[],
            connections: 256,
            head: Duration::from_secs(15),
            grace: Duration::from_secs(1),
        }
    }
}

/// The API's port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

/// A server whose API port is bound.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    config: ServerConfig,
}

impl Server {
    /// Binds the API's port.
    pub async fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let bound = async {
            let listener = TcpListener::bind(config.addr).await?;
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        };
        match bound.await {
            Ok((listener, addr)) => Ok(Self { listener, addr, config }),
            Err(source) => Err(BindError { addr: config.addr, source }),
        }
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`; then closes all proxies and their connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let store =
            Arc::new(Store::new(self.config.seed.unwrap_or_else(rand::random), self.config.extensions));
        let slots = Arc::new(Semaphore::new(self.config.connections));
        let buckets = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.keep_buckets().await }
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&slots).try_acquire_owned()) {
                (Ok((stream, _)), Ok(slot)) => {
                    let (store, stop, head) = (Arc::clone(&store), stop.clone(), self.config.head);
                    tasks.spawn(async move {
                        serve(stream, store, head, stop).await;
                        drop(slot);
                    });
                }
                (Ok(_), Err(_)) => tracing::warn!("too many API connections: one refused"),
                (Err(error), _) => {
                    // Out of descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        drop(self.listener);
        buckets.abort();
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(self.config.grace, tasks.wait()).await.is_err() {
            tracing::debug!("API requests were cut at the end");
        }
        store.stop_all().await;
    }
}

async fn serve(stream: TcpStream, store: Arc<Store>, head: Duration, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let store = Arc::clone(&store);
        async move { Ok::<_, Infallible>(api::answer(&store, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "API connection");
    }
}

#[cfg(test)]
mod tests;
