//! One connection: heads in, answers out, within the limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::routes::{Asked, Document, Pieces, Route, Routes};
use super::{Limits, Patient};

type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

const TEXT: &str = "text/plain; charset=utf-8";
/// Of what is no page.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// What all connections share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Served {
    routes: Arc<Routes>,
    /// Readers that may still come, by stream.
    readers: Arc<BTreeMap<&'static str, Arc<Semaphore>>>,
    limits: Limits,
    stop: CancellationToken,
}

impl Served {
    pub(super) fn new(routes: Routes, limits: Limits, stop: CancellationToken) -> Self {
        let streams = routes.routes.iter().filter(|(_, route)| matches!(route, Route::Stream(..)));
        let readers = streams.map(|(path, _)| (*path, Arc::new(Semaphore::new(limits.streams)))).collect();
        Self { routes: Arc::new(routes), readers: Arc::new(readers), limits, stop }
    }

    /// Until its end. `crowded`: it is not kept alive.
    pub(super) async fn connection(self, stream: TcpStream, peer: SocketAddr, crowded: bool) {
        let (limits, stop) = (self.limits, self.stop.clone());
        let service = service_fn(move |request| {
            let served = self.clone();
            async move {
                let mut response = served.answer(&request, peer).await;
                if crowded {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .max_headers(limits.headers)
            .serve_connection(TokioIo::new(Patient::new(stream, limits.write)), service);
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

    async fn answer(&self, request: &Request<Incoming>, peer: SocketAddr) -> Response<ResponseBody> {
        let head = request.method() == Method::HEAD;
        if !head && request.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read-only\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        if !request.body().is_end_stream() {
            let mut refused = text(StatusCode::PAYLOAD_TOO_LARGE, TEXT, "no body is read here\n");
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return refused;
        }
        let Some((name, route, rest)) = self.routes.find(request.uri().path()) else {
            return self.nothing();
        };
        let failed = |why: String| text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{why}\n"));
        match route {
            Route::Text(handler) => match handler() {
                Ok((content_type, body)) => {
                    text(StatusCode::OK, content_type, if head { String::new() } else { body })
                }
                Err(why) => failed(why),
            },
            Route::Metrics(scrapes) => match scrapes.text().await {
                Ok(body) => {
                    text(StatusCode::OK, crate::metrics::CONTENT_TYPE, if head { Bytes::new() } else { body })
                }
                Err(why) => failed(why),
            },
            Route::Page(page) => document(page(), head),
            Route::Below(find) => {
                let (find, rest) = (Arc::clone(find), rest.to_owned());
                match tokio::task::spawn_blocking(move || find(&rest)).await {
                    Ok(Some(page)) => document(page, head),
                    Ok(None) => self.nothing(),
                    Err(error) => failed(error.to_string()),
                }
            }
            Route::Stream(content_type, _) if head => text(StatusCode::OK, content_type, ""),
            Route::Stream(content_type, open) => {
                let readers = self.readers.get(name).map(Arc::clone);
                let Some(Ok(place)) = readers.map(Semaphore::try_acquire_owned) else {
                    let why = format!("{} readers are here already\n", self.limits.streams);
                    let mut refused = text(StatusCode::SERVICE_UNAVAILABLE, TEXT, why);
                    refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                    return refused;
                };
                let asked =
                    Asked { peer: peer.ip(), query: request.uri().query(), headers: request.headers() };
                let ended = Box::pin(self.stop.clone().cancelled_owned());
                let body = StreamBody { pieces: open(&asked), ended, _place: place };
                dressed(Response::new(body.boxed_unsync()), content_type, NO_PAGE)
            }
        }
    }

    fn nothing(&self) -> Response<ResponseBody> {
        let known: Vec<&str> = self.routes.routes.keys().copied().collect();
        text(StatusCode::NOT_FOUND, TEXT, format!("not here; there are: {}\n", known.join(" ")))
    }
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    dressed(response, content_type, NO_PAGE)
}

fn document(page: Document, head: bool) -> Response<ResponseBody> {
    let body = if head { Bytes::new() } else { page.body };
    let policy = format!("{}; frame-ancestors 'none'", page.policy);
    dressed(Response::new(Full::new(body).boxed_unsync()), page.content_type, &policy)
}

fn dressed(
    mut response: Response<ResponseBody>,
    content_type: &'static str,
    policy: &str,
) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A policy that is no header would be a mistake of ours; then nothing is allowed at all.
    let policy = HeaderValue::from_str(policy).unwrap_or(HeaderValue::from_static(NO_PAGE));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// Pieces until the source or the server ends.
struct StreamBody {
    pieces: Pieces,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // What is there already still goes: the last word of a run comes just before the end.
        match self.pieces.as_mut().poll_next(cx) {
            Poll::Ready(piece) => Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes)))),
            Poll::Pending => self.ended.as_mut().poll(cx).map(|()| None),
        }
    }
}
