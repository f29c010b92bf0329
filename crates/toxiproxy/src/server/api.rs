//! The HTTP API: statuses, texts and defaults of the stock server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, SERVER, USER_AGENT,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body;
use super::listen::ListenError;
use super::metrics::{self, MetricsConfig};
use super::path::{self, Path};
use super::pipe::Spec;
use super::proxy::Proxy;
use super::store::{CreateError, Store};
use crate::wire::{self, EXTENSIONS_HEADER, Stream};

/// Version of the stock server whose API this is.
pub const VERSION: &str = "2.12.0";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-toxiproxy-request-id");
/// Who we are, beside the version whose API this is.
const OURS: &str = concat!("embedded-toxiproxy/", env!("CARGO_PKG_VERSION"));
/// Body of an answer that took too long.
const LATE: &str = "<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>";

type Reply = Response<Full<Bytes>>;

/// What a handler answers instead of success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

fn refuse(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal { status, text: text.into() }
}

fn bad_body(detail: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, format!("bad request body: {detail}"))
}

/// Of an extension: a stock kind takes everything.
fn bad_attributes(why: String) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, format!("bad attributes: {why}"))
}

fn missing(field: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, format!("missing required field: {field}"))
}

fn no_proxy() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "proxy not found")
}

fn no_toxic() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "toxic not found")
}

impl From<ListenError> for Refusal {
    fn from(error: ListenError) -> Self {
        refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl Refusal {
    fn reply(self) -> Reply {
        let body = json!({"error": self.text, "status": self.status.as_u16()});
        plain(self.status, format!("{body}\n"))
    }
}

/// What all requests share.
pub(super) struct Api {
    pub(super) store: Store,
    /// Bytes of a body.
    pub(super) body_max: usize,
    /// Time for a handler; what it has begun goes on behind the answer.
    pub(super) handler: Duration,
    pub(super) metrics: MetricsConfig,
    /// Handlers that run.
    pub(super) handlers: TaskTracker,
    /// Ends them.
    pub(super) end: CancellationToken,
}

impl Api {
    /// One request. `read` is told when all of it has been read.
    pub(super) async fn answer<B>(self: &Arc<Self>, request: Request<B>, read: impl FnOnce()) -> Reply
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        if parts.version == Version::HTTP_11
            && parts.uri.host().is_none()
            && !parts.headers.contains_key(HOST)
        {
            return bad_request("400 Bad Request: missing required Host header");
        }
        if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
            return bare(StatusCode::OK);
        }
        let path = match path::read(parts.uri.path()) {
            Some(Path::Clean(path)) => path,
            Some(Path::Unclean { clean }) => return redirect(&clean, parts.uri.query()),
            None => return bad_request("400 Bad Request"),
        };
        let Some(route) = Route::of(&path, self.metrics.is_on()) else {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if !route.takes(&parts.method) {
            return bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        let browser =
            parts.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
        let mut reply = if browser {
            plain(StatusCode::FORBIDDEN, "User agent not allowed\n")
        } else {
            let body = Limited::new(body, self.body_max).collect().await;
            read();
            match body {
                Ok(body) => {
                    self.handle(route, parts.method.clone(), parts.uri.clone(), body.to_bytes()).await
                }
                Err(error) if error.is::<LengthLimitError>() => self.too_large(),
                Err(error) => bad_body(error).reply(),
            }
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let headers = reply.headers_mut();
        headers.insert(REQUEST_ID, HeaderValue::from(id));
        headers.insert(SERVER, HeaderValue::from_static(OURS));
        headers.insert(HeaderName::from_static(EXTENSIONS_HEADER), self.store.announced().clone());
        tracing::debug!(
            request_id = id,
            method = %parts.method,
            url = %parts.uri,
            status = reply.status().as_u16(),
            duration_ms = began.elapsed().as_secs_f64() * 1e3,
            "request"
        );
        reply
    }

    /// In a task of its own, so that neither a client that goes away nor a late answer leaves a change half done.
    async fn handle(self: &Arc<Self>, route: Route, method: Method, uri: Uri, bytes: Bytes) -> Reply {
        let api = Arc::clone(self);
        let task = self.handlers.spawn(async move {
            tokio::select! {
                biased;
                () = api.end.cancelled() => None,
                done = api.run(route, &method, uri.query().unwrap_or_default(), &bytes) => Some(done.unwrap_or_else(Refusal::reply)),
            }
        });
        match tokio::time::timeout(self.handler, task).await {
            Ok(Ok(Some(reply))) => reply,
            Ok(Ok(None)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is ending").reply(),
            Ok(Err(error)) => {
                tracing::error!(%error, "a handler died");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "the handler of this request died").reply()
            }
            Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, HTML, LATE),
        }
    }

    fn too_large(&self) -> Reply {
        let text = format!("request body too large: at most {} bytes are read", self.body_max);
        let mut reply = refuse(StatusCode::PAYLOAD_TOO_LARGE, text).reply();
        // The rest of it is not read.
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        reply
    }
}

/// Request ids only have to differ.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Known paths.
#[derive(Debug, Clone)]
enum Route {
    Version,
    Proxies,
    Populate,
    Reset,
    Dose,
    DoseLinks,
    DoseBuckets,
    Metrics,
    Lease(String),
    Proxy(String),
    Toxics(String),
    Toxic(String, String),
}

impl Route {
    fn of(path: &str, metrics: bool) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match *segments.as_slice() {
            ["version"] => Route::Version,
            ["proxies"] => Route::Proxies,
            ["populate"] => Route::Populate,
            ["reset"] => Route::Reset,
            ["dose"] => Route::Dose,
            ["dose", "links"] => Route::DoseLinks,
            ["dose", "buckets"] => Route::DoseBuckets,
            ["leases", prefix] if !prefix.is_empty() => Route::Lease(prefix.to_owned()),
            ["metrics"] if metrics => Route::Metrics,
            ["proxies", proxy] if !proxy.is_empty() => Route::Proxy(proxy.to_owned()),
            ["proxies", proxy, "toxics"] => Route::Toxics(proxy.to_owned()),
            ["proxies", proxy, "toxics", toxic] if !toxic.is_empty() => {
                Route::Toxic(proxy.to_owned(), toxic.to_owned())
            }
            _ => return None,
        })
    }

    fn takes(&self, method: &Method) -> bool {
        let methods: &[Method] = match self {
            Route::Metrics => return true,
            Route::Version | Route::Dose | Route::DoseLinks | Route::DoseBuckets => &[Method::GET],
            Route::Lease(_) => &[Method::PUT, Method::DELETE],
            Route::Populate | Route::Reset => &[Method::POST],
            Route::Proxies | Route::Toxics(_) => &[Method::GET, Method::POST],
            Route::Proxy(_) | Route::Toxic(..) => &[Method::GET, Method::POST, Method::PATCH, Method::DELETE],
        };
        methods.contains(method)
    }
}

impl Api {
    async fn run(&self, route: Route, method: &Method, query: &str, bytes: &[u8]) -> Result<Reply, Refusal> {
        let store = &self.store;
        let proxy = async |name: &str| store.get(name).await.ok_or_else(no_proxy);
        match (&route, method.as_str()) {
            (Route::Version, _) => {
                let text = format!("{{\"version\": \"{VERSION}\"}}\n");
                Ok(reply(StatusCode::OK, "application/json;charset=utf-8", text))
            }
            (Route::Dose, _) => Ok(success(StatusCode::OK, &store.dose().await)),
            (Route::DoseLinks, _) => Ok(success(StatusCode::OK, &store.dose_links().await)),
            (Route::DoseBuckets, _) => {
                Ok(success(StatusCode::OK, &store.dose_buckets(after_us(query)?).await))
            }
            (Route::Lease(prefix), "PUT") => renew_lease(store, prefix, bytes),
            (Route::Lease(prefix), _) => match store.leases.end(prefix) {
                true => Ok(empty()),
                false => Err(refuse(StatusCode::NOT_FOUND, "lease not found")),
            },
            (Route::Metrics, _) => match metrics::text(&self.metrics, &store.all().await) {
                Ok(text) => Ok(reply(StatusCode::OK, metrics::CONTENT_TYPE, text)),
                Err(error) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
            },
            (Route::Reset, _) => {
                store.reset().await?;
                Ok(empty())
            }
            (Route::Populate, _) => {
                let (made, failed) = populate(store, bytes).await;
                Ok(populated(&made, failed))
            }
            (Route::Proxies, "GET") => {
                let all = store.all().await;
                let shown: BTreeMap<_, _> = all.iter().map(|proxy| (&proxy.name, proxy.show())).collect();
                Ok(success(StatusCode::OK, &shown))
            }
            (Route::Proxies, _) => create(store, bytes).await,
            (Route::Proxy(name), "GET") => Ok(success(StatusCode::OK, &proxy(name).await?.show())),
            (Route::Proxy(name), "DELETE") => {
                if store.delete(name).await {
                    Ok(empty())
                } else {
                    Err(no_proxy())
                }
            }
            (Route::Proxy(name), _) => {
                let proxy = proxy(name).await?;
                let update = body::fields(bytes).and_then(|fields| fields.proxy_update());
                proxy.update(update.map_err(bad_body)?).await?;
                Ok(success(StatusCode::OK, &proxy.show()))
            }
            (Route::Toxics(name), "GET") => Ok(success(StatusCode::OK, &proxy(name).await?.toxics())),
            (Route::Toxics(name), _) => add_toxic(store, &*proxy(name).await?, bytes),
            (Route::Toxic(name, toxic), "GET") => {
                let toxics = proxy(name).await?.toxics();
                let found = toxics.into_iter().find(|shown| shown.name == *toxic);
                Ok(success(StatusCode::OK, &found.ok_or_else(no_toxic)?))
            }
            (Route::Toxic(name, toxic), "DELETE") => {
                if proxy(name).await?.remove_toxic(toxic) {
                    Ok(empty())
                } else {
                    Err(no_toxic())
                }
            }
            (Route::Toxic(name, toxic), _) => update_toxic(&*proxy(name).await?, toxic, bytes),
        }
    }
}

fn renew_lease(store: &Store, prefix: &str, bytes: &[u8]) -> Result<Reply, Refusal> {
    let terms = serde_json::from_slice(bytes).map_err(bad_body)?;
    let state = store.leases.renew(prefix, terms);
    Ok(success(StatusCode::OK, &state.map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?))
}

/// The one query that is not ignored, of an extension.
fn after_us(query: &str) -> Result<u64, Refusal> {
    match query.split('&').find_map(|pair| pair.strip_prefix("after_us=")) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            refuse(StatusCode::BAD_REQUEST, format!("after_us is {text:?}; write whole microseconds"))
        }),
    }
}

async fn create(store: &Store, bytes: &[u8]) -> Result<Reply, Refusal> {
    let new = body::fields(bytes).and_then(|fields| fields.new_proxy()).map_err(bad_body)?;
    if new.name.is_empty() {
        return Err(missing("name"));
    }
    if new.upstream.is_empty() {
        return Err(missing("upstream"));
    }
    match store.create(new).await {
        Ok(proxy) => Ok(success(StatusCode::CREATED, &proxy.show())),
        Err(CreateError::Exists) => Err(refuse(StatusCode::CONFLICT, "proxy already exists")),
        Err(CreateError::Listen(error)) => Err(error.into()),
    }
}

/// The proxies that were made or left alone, and why there are no more of them. Nothing is made when a name or an upstream
/// is missing anywhere.
pub(super) async fn populate(store: &Store, bytes: &[u8]) -> (Vec<Arc<Proxy>>, Option<Refusal>) {
    let wanted = match body::proxies(bytes) {
        Ok(wanted) => wanted,
        Err(bad) => return (Vec::new(), Some(bad_body(bad))),
    };
    for (index, new) in wanted.iter().enumerate() {
        for (field, text) in [("name", &new.name), ("upstream", &new.upstream)] {
            if text.is_empty() {
                return (Vec::new(), Some(missing(&format!("{field} at proxy {}", index + 1))));
            }
        }
    }
    let (made, error) = store.populate(wanted).await;
    (made, error.map(Refusal::from))
}

pub(super) fn show(proxies: &[Arc<Proxy>]) -> Vec<wire::Proxy> {
    proxies.iter().map(|proxy| proxy.show()).collect()
}

fn populated(made: &[Arc<Proxy>], failed: Option<Refusal>) -> Reply {
    let shown = show(made);
    let Some(refusal) = failed else {
        return success(StatusCode::CREATED, &json!({ "proxies": shown }));
    };
    // Here even a refusal is JSON by its media type.
    let shown = if shown.is_empty() { Value::Null } else { json!(shown) };
    let body = json!({"error": refusal.text, "status": refusal.status.as_u16(), "proxies": shown});
    reply(refusal.status, JSON, body.to_string())
}

fn add_toxic(store: &Store, proxy: &Proxy, bytes: &[u8]) -> Result<Reply, Refusal> {
    let fields = body::fields(bytes).map_err(bad_body)?;
    let given = || {
        Ok::<_, body::Bad>((
            fields.text("name")?,
            fields.text("type")?.unwrap_or_default(),
            fields.text("stream")?.unwrap_or_else(|| Stream::Downstream.name().to_owned()),
            fields.number("toxicity")?.unwrap_or(1.0),
            fields.attributes()?,
        ))
    };
    let (name, kind, stream_text, toxicity, attributes) = given().map_err(bad_body)?;
    let stream = Stream::parse(&stream_text).ok_or_else(|| {
        refuse(StatusCode::BAD_REQUEST, "stream was invalid, can be either upstream or downstream")
    })?;
    let kind = store.kind(&kind).ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "invalid toxic type"))?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("{}_{stream_text}", kind.name));
    let taken = || refuse(StatusCode::CONFLICT, "toxic already exists");
    // A name that is taken comes before attributes that are wrong.
    if proxy.spec(&name).is_some() {
        return Err(taken());
    }
    let attributes = kind.complete(&attributes.of(kind.params).map_err(bad_body)?);
    if kind.extension {
        kind.check_all(&attributes).map_err(bad_attributes)?;
    }
    let spec = Spec { name, kind, toxicity, attributes };
    let shown = proxy.add_toxic(stream, stream_text, spec).ok_or_else(taken)?;
    Ok(success(StatusCode::OK, &shown))
}

fn update_toxic(proxy: &Proxy, name: &str, bytes: &[u8]) -> Result<Reply, Refusal> {
    let spec = proxy.spec(name).ok_or_else(no_toxic)?;
    let fields = body::fields(bytes).map_err(bad_body)?;
    // Everything is read before anything is changed: a bad field changes nothing.
    let (attributes, toxicity) = fields
        .attributes()
        .and_then(|attributes| attributes.of(spec.kind.params))
        .and_then(|attributes| Ok((attributes, fields.number("toxicity")?)))
        .map_err(bad_body)?;
    if spec.kind.extension {
        let mut all = spec.attributes.clone();
        all.extend(attributes.clone());
        spec.kind.check_all(&all).map_err(bad_attributes)?;
    }
    let updated = proxy.update_toxic(name, |spec| {
        spec.attributes.extend(attributes);
        spec.toxicity = toxicity.unwrap_or(spec.toxicity);
    });
    Ok(success(StatusCode::OK, &updated.ok_or_else(no_toxic)?))
}

fn success(status: StatusCode, body: &impl Serialize) -> Reply {
    match serde_json::to_string(body) {
        Ok(text) => reply(status, JSON, text),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).reply(),
    }
}

fn empty() -> Reply {
    bare(StatusCode::NO_CONTENT)
}

fn bare(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

fn redirect(clean: &str, query: Option<&str>) -> Reply {
    let mut reply = bare(StatusCode::MOVED_PERMANENTLY);
    let location = match query {
        Some(query) => format!("{clean}?{query}"),
        None => clean.to_owned(),
    };
    // A path that was encoded, and a query that was parsed, are a valid header value.
    if let Ok(location) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Not even a path.
fn bad_request(text: &'static str) -> Reply {
    let mut reply = reply(StatusCode::BAD_REQUEST, TEXT, text);
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A text that no browser shall take for anything else.
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = reply(status, TEXT, text);
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
