//! The embedded server: Toxiproxy's API (`api`) over a set of proxies (`store`), each with its connections (`proxy`),
//! each of those with two links through chains of toxics (`connection`, `pipe`). Nothing is global: several servers can run in
//! one process.

mod api;
mod body;
mod connection;
mod dice;
mod dose;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod lanes;
mod leases;
mod listen;
mod metrics;
mod path;
mod patience;
mod pipe;
mod proxy;
mod store;
mod timer;
mod upstream;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use descriptors::Acceptor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use api::Api;
use lanes::Lanes;
use patience::{Now, Patient, Phase};
use store::Store;

use crate::toxic::ToxicKind;
use crate::wire;

pub use api::VERSION;
pub use listen::{ListenError, resolve};
pub use metrics::MetricsConfig;
pub use patience::Limits;

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the API listens.
    pub addr: SocketAddr,
    /// Seed of the dice; `None`: a random one.
    pub seed: Option<u64>,
    /// Threads that carry the proxies' bytes, each connection on one of them for life; 0: the runtime that binds the server.
    pub threads: usize,
    /// Kinds of toxics beside the built-in ones.
    pub extensions: &'static [ToxicKind],
    /// API connections at the same time; more are closed at once.
    pub connections: usize,
    /// How long an API client may take.
    pub limits: Limits,
    /// Time for a request to be done; then it is answered 503, and goes on.
    pub handler: Duration,
    /// Largest body of a request, in bytes.
    pub body_max: usize,
    /// Time for running requests to end after the stop.
    pub grace: Duration,
    /// What `/metrics` shows.
    pub metrics: MetricsConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8474)),
            seed: None,
            threads: 0,
            extensions: &[],
            connections: 256,
            limits: Limits::default(),
            handler: Duration::from_secs(25),
            body_max: 1024 * 1024,
            grace: Duration::from_secs(1),
            metrics: MetricsConfig::default(),
        }
    }
}

/// A server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The API's port cannot be had.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The threads of the proxies cannot be had.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        /// How many.
        threads: usize,
        /// Why.
        source: io::Error,
    },
}

/// Proxies could not be made as they were described.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; {} proxies were made before", made.len())]
pub struct PopulateError {
    /// Why, in the words of the API.
    pub reason: String,
    /// Those that stay.
    pub made: Vec<wire::Proxy>,
}

/// A server whose API port is bound.
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    config: ServerConfig,
    api: Arc<Api>,
}

impl Server {
    /// Binds the API's port. Needs a runtime.
    ///
    /// # Errors
    ///
    /// When the port is taken or not permitted, or there are no threads to be had.
    pub async fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let (listener, addr) = listen::bind_addr(config.addr)
            .map_err(|source| BindError::Listen { addr: config.addr, source })?;
        let threads = config.threads;
        let lanes = Lanes::start(threads).map_err(|source| BindError::Threads { threads, source })?;
        let api = Arc::new(Api {
            store: Store::new(config.seed.unwrap_or_else(rand::random), config.extensions, lanes),
            body_max: config.body_max,
            handler: config.handler,
            metrics: config.metrics.clone(),
            handlers: TaskTracker::new(),
            end: CancellationToken::new(),
        });
        Ok(Self { listener, addr, config, api })
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Makes proxies as `POST /populate` does, before the API is served: `json` is the text of a stock config file.
    ///
    /// # Errors
    ///
    /// As that request; what was made before the first failure stays.
    pub async fn populate(&self, json: &[u8]) -> Result<Vec<wire::Proxy>, PopulateError> {
        let (made, failed) = api::populate(&self.api.store, json).await;
        let made = api::show(&made);
        match failed {
            None => Ok(made),
            Some(refusal) => Err(PopulateError { reason: refusal.text, made }),
        }
    }

    /// Serves until `shutdown`; then closes all proxies and their connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, config, api, .. } = self;
        let mut acceptor = Acceptor::new(listener);
        let slots = Arc::new(Semaphore::new(config.connections));
        let keeping = tokio::spawn({
            let api = Arc::clone(&api);
            async move { tokio::join!(api.store.keep_buckets(), api.store.keep_leases()) }
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = acceptor.accept() => accepted,
            };
            match (accepted, Arc::clone(&slots).try_acquire_owned()) {
                ((stream, _), Ok(slot)) => {
                    let (api, stop, limits) = (Arc::clone(&api), stop.clone(), config.limits);
                    tasks.spawn(async move {
                        serve(stream, api, limits, stop).await;
                        drop(slot);
                    });
                }
                (_, Err(_)) => tracing::warn!("too many API connections: one refused"),
            }
        }
        drop(acceptor);
        keeping.abort();
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(config.grace, tasks.wait()).await.is_err() {
            tracing::debug!("API requests were cut at the end");
        }
        // Before the proxies are stopped: nothing may make a new one afterwards.
        api.end.cancel();
        api.handlers.close();
        api.handlers.wait().await;
        api.store.stop_all().await;
    }
}

async fn serve(stream: TcpStream, api: Arc<Api>, limits: Limits, stop: CancellationToken) {
    let now = Now::default();
    let stream = Patient::new(stream, limits, now.clone());
    let service = service_fn(move |request| {
        let (api, now) = (Arc::clone(&api), now.clone());
        async move {
            let reply = api.answer(request, || now.set(Phase::Serving)).await;
            now.set(Phase::Idle);
            Ok::<_, Infallible>(reply)
        }
    });
    // The times are kept by the stream: hyper's own limit for a head is one for idle connections too.
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
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
