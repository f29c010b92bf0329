//! A read-only HTTP server for a handful of routes. GET and HEAD only: whatever changes state does not belong on a port
//! that is scraped from outside.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ListenAddr;

/// What a handler gives: media type and text, or a reason why not (status 500).
pub type Answer = Result<(&'static str, String), String>;
type Handler = Arc<dyn Fn() -> Answer + Send + Sync>;
/// A stream of a body's pieces.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;
type Streamer = Arc<dyn Fn() -> Pieces + Send + Sync>;
type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// A stream route's source out of anything that gives one line after the other.
pub fn lines<S, R, L, F>(
    source: S,
    open: impl Fn(&S) -> R + Send + Sync + 'static,
    next: impl Fn(R) -> F + Clone + Send + Sync + 'static,
) -> impl Fn() -> Pieces + Send + Sync + 'static
where
    S: Send + Sync + 'static,
    R: Send + 'static,
    L: AsRef<str>,
    F: Future<Output = Option<(L, R)>> + Send + 'static,
{
    move || {
        let next = next.clone();
        Box::pin(futures::stream::unfold(open(&source), move |reader| {
            let next = next(reader);
            async move {
                next.await.map(|(line, reader)| (Bytes::copy_from_slice(line.as_ref().as_bytes()), reader))
            }
        }))
    }
}

/// Bounds of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; further ones are closed at once.
    pub connections: usize,
    /// Time for the head of a request.
    pub head: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Time for connections to end after the stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(5),
            head_bytes: 16 * 1024,
            grace: Duration::from_secs(1),
        }
    }
}

#[derive(Clone)]
enum Route {
    Text(Handler),
    Stream(&'static str, Streamer),
}

/// Paths and what they answer.
#[derive(Clone, Default)]
pub struct Routes {
    routes: BTreeMap<&'static str, Route>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Routes {
    /// `/healthz`, which answers `ok`, and `/metrics` of a registry.
    pub fn with_metrics(registry: prometheus::Registry) -> Self {
        Self::default().get("/healthz", || Ok(("text/plain; charset=utf-8", "ok\n".to_owned()))).get(
            "/metrics",
            move || match crate::metrics::render(&registry) {
                Ok(text) => Ok((crate::metrics::CONTENT_TYPE, text)),
                Err(error) => Err(error.to_string()),
            },
        )
    }

    /// A route that answers a whole text.
    pub fn get(mut self, path: &'static str, handler: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        self.routes.insert(path, Route::Text(Arc::new(handler)));
        self
    }

    /// A route that answers pieces until its reader leaves or the server ends.
    pub fn stream(
        mut self,
        path: &'static str,
        content_type: &'static str,
        open: impl Fn() -> Pieces + Send + Sync + 'static,
    ) -> Self {
        self.routes.insert(path, Route::Stream(content_type, Arc::new(open)));
        self
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

    /// Serves until `stop`, then lets connections end for the grace time.
    pub async fn serve(self, routes: Routes, stop: CancellationToken) {
        let routes = Arc::new(routes);
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                tracing::warn!(limit = self.limits.connections, "too many connections: one refused");
                continue;
            };
            let (routes, stop, limits) = (Arc::clone(&routes), stop.clone(), self.limits);
            tasks.spawn(async move {
                serve_connection(stream, routes, limits, stop).await;
                drop(slot);
            });
        }
        tasks.close();
        if tokio::time::timeout(self.limits.grace, tasks.wait()).await.is_err() {
            tracing::debug!("connections were cut at the end");
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Arc<Routes>, limits: Limits, stop: CancellationToken) {
    let ended = stop.clone();
    let service = service_fn(move |request| {
        let response = answer(&routes, &request, &ended);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
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
        tracing::debug!(%error, "http connection");
    }
}

fn answer(routes: &Routes, request: &Request<Incoming>, stop: &CancellationToken) -> Response<ResponseBody> {
    let path = request.uri().path();
    let head = request.method() == Method::HEAD;
    match routes.routes.get(path) {
        None => {
            let known: Vec<&str> = routes.routes.keys().copied().collect();
            text(
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                format!("not here; there are: {}\n", known.join(" ")),
            )
        }
        Some(_) if !head && request.method() != Method::GET => {
            let mut refused =
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "read-only\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        Some(Route::Text(handler)) => match handler() {
            Ok((content_type, body)) => {
                text(StatusCode::OK, content_type, if head { String::new() } else { body })
            }
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", format!("{error}\n"))
            }
        },
        Some(Route::Stream(content_type, _)) if head => text(StatusCode::OK, content_type, String::new()),
        Some(Route::Stream(content_type, open)) => {
            let body = StreamBody { pieces: open(), ended: Box::pin(stop.clone().cancelled_owned()) };
            with_type(Response::new(body.boxed_unsync()), content_type)
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    with_type(response, content_type)
}

fn with_type(mut response: Response<ResponseBody>, content_type: &'static str) -> Response<ResponseBody> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Pieces until the source or the server ends.
struct StreamBody {
    pieces: Pieces,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.pieces.as_mut().poll_next(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests;
