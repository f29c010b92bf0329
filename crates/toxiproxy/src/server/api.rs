//! The HTTP API: statuses, texts and defaults of the stock server.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{self, Fields};
use super::listen::ListenError;
use super::pipe::Spec;
use super::proxy::Proxy;
use super::store::{CreateError, Store};
use crate::wire::{self, EXTENSIONS, EXTENSIONS_HEADER, NewProxy, Stream};

/// Version of the stock server whose API this is.
pub(super) const VERSION: &str = "2.12.0";
/// Largest body.
const BODY_MAX: usize = 1024 * 1024;
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

type Reply = Response<Full<Bytes>>;

/// What a handler answers instead of success.
struct Refusal {
    status: StatusCode,
    text: String,
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
        let mut reply = reply(self.status, TEXT, format!("{body}\n"));
        reply
            .headers_mut()
            .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        reply
    }
}

/// One request.
pub(super) async fn answer(store: &Store, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    if path.contains("//") {
        return redirect(&path);
    }
    // Decoded before it is split: a name with a slash can be created but never addressed, as with the stock server.
    let decoded = percent_decode_str(&path).decode_utf8_lossy();
    let segments: Vec<&str> = decoded.trim_start_matches('/').split('/').collect();
    let Some(route) = Route::of(&segments) else {
        return reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned());
    };
    let method = request.method().clone();
    if !route.takes(&method) {
        return bare(StatusCode::METHOD_NOT_ALLOWED);
    }
    let browser =
        request.headers().get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut reply = if browser {
        reply(StatusCode::FORBIDDEN, TEXT, "User agent not allowed\n".to_owned())
    } else {
        match read(request).await {
            Ok(bytes) => run(store, route, &method, &query, &bytes).await.unwrap_or_else(Refusal::reply),
            Err(refusal) => refusal.reply(),
        }
    };
    let id = HeaderValue::from(NEXT_ID.fetch_add(1, Ordering::Relaxed));
    reply.headers_mut().insert(HeaderName::from_static("x-toxiproxy-request-id"), id);
    reply
        .headers_mut()
        .insert(HeaderName::from_static(EXTENSIONS_HEADER), HeaderValue::from_static(EXTENSIONS));
    reply
}

/// Request ids only have to differ.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

async fn read(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(bad_body(error)),
    }
}

/// Known paths.
#[derive(Debug, Clone, Copy)]
enum Route<'a> {
    Version,
    Proxies,
    Populate,
    Reset,
    Dose,
    DoseLinks,
    DoseBuckets,
    Proxy(&'a str),
    Toxics(&'a str),
    Toxic(&'a str, &'a str),
}

impl<'a> Route<'a> {
    fn of(segments: &[&'a str]) -> Option<Self> {
        Some(match segments {
            ["version"] => Route::Version,
            ["proxies"] => Route::Proxies,
            ["populate"] => Route::Populate,
            ["reset"] => Route::Reset,
            ["dose"] => Route::Dose,
            ["dose", "links"] => Route::DoseLinks,
            ["dose", "buckets"] => Route::DoseBuckets,
            ["proxies", proxy] if !proxy.is_empty() => Route::Proxy(proxy),
            ["proxies", proxy, "toxics"] if !proxy.is_empty() => Route::Toxics(proxy),
            ["proxies", proxy, "toxics", toxic] if !proxy.is_empty() && !toxic.is_empty() => {
                Route::Toxic(proxy, toxic)
            }
            _ => return None,
        })
    }

    fn takes(self, method: &Method) -> bool {
        let methods: &[Method] = match self {
            Route::Version | Route::Dose | Route::DoseLinks | Route::DoseBuckets => &[Method::GET],
            Route::Populate | Route::Reset => &[Method::POST],
            Route::Proxies | Route::Toxics(_) => &[Method::GET, Method::POST],
            Route::Proxy(_) | Route::Toxic(..) => &[Method::GET, Method::POST, Method::PATCH, Method::DELETE],
        };
        methods.contains(method)
    }
}

async fn run(
    store: &Store,
    route: Route<'_>,
    method: &Method,
    query: &str,
    bytes: &[u8],
) -> Result<Reply, Refusal> {
    let proxy = async |name: &str| store.get(name).await.ok_or_else(no_proxy);
    match (route, method.as_str()) {
        (Route::Version, _) => {
            let text = format!("{{\"version\": \"{VERSION}\"}}\n");
            Ok(reply(StatusCode::OK, "application/json;charset=utf-8", text))
        }
        (Route::Dose, _) => Ok(success(StatusCode::OK, &store.dose().await)),
        (Route::DoseLinks, _) => Ok(success(StatusCode::OK, &store.dose_links().await)),
        (Route::DoseBuckets, _) => Ok(success(StatusCode::OK, &store.dose_buckets(after_us(query)?).await)),
        (Route::Reset, _) => {
            store.reset().await?;
            Ok(empty())
        }
        // Here even a refusal is JSON by its media type.
        (Route::Populate, _) => {
            Ok(populate(store, bytes).await.unwrap_or_else(|refusal| populate_failed(refusal, &[])))
        }
        (Route::Proxies, "GET") => {
            let mut shown = serde_json::Map::new();
            for proxy in store.all().await {
                shown.insert(proxy.name.clone(), json!(proxy.show()));
            }
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
            let update = body::value(bytes).and_then(body::fields).and_then(|fields| fields.proxy_update());
            proxy.update(update.map_err(bad_body)?).await?;
            Ok(success(StatusCode::OK, &proxy.show()))
        }
        (Route::Toxics(name), "GET") => Ok(success(StatusCode::OK, &proxy(name).await?.toxics())),
        (Route::Toxics(name), _) => add_toxic(store, &*proxy(name).await?, bytes),
        (Route::Toxic(name, toxic), "GET") => {
            let found = proxy(name).await?.toxics().into_iter().find(|shown| shown.name == toxic);
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

/// The one query that is not ignored, of an extension.
fn after_us(query: &str) -> Result<u64, Refusal> {
    match query.split('&').find_map(|pair| pair.strip_prefix("after_us=")) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            refuse(StatusCode::BAD_REQUEST, format!("after_us is {text:?}; write whole microseconds"))
        }),
    }
}

fn new_proxy(fields: &Fields) -> Result<NewProxy, body::Bad> {
    Ok(NewProxy {
        name: fields.text("name")?.unwrap_or_default(),
        listen: fields.text("listen")?.unwrap_or_default(),
        upstream: fields.text("upstream")?.unwrap_or_default(),
        enabled: fields.flag("enabled")?.unwrap_or(true),
    })
}

async fn create(store: &Store, bytes: &[u8]) -> Result<Reply, Refusal> {
    let new =
        body::value(bytes).and_then(body::fields).and_then(|fields| new_proxy(&fields)).map_err(bad_body)?;
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

async fn populate(store: &Store, bytes: &[u8]) -> Result<Reply, Refusal> {
    let items = match body::value(bytes).map_err(bad_body)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        _ => return Err(bad_body("cannot use it as an array of proxies")),
    };
    let mut wanted = Vec::with_capacity(items.len());
    for item in items {
        wanted.push(body::fields(item).and_then(|fields| new_proxy(&fields)).map_err(bad_body)?);
    }
    for (index, new) in wanted.iter().enumerate() {
        for (field, text) in [("name", &new.name), ("upstream", &new.upstream)] {
            if text.is_empty() {
                return Err(missing(&format!("{field} at proxy {}", index + 1)));
            }
        }
    }
    match store.populate(wanted).await {
        (made, None) => Ok(success(StatusCode::CREATED, &json!({ "proxies": made }))),
        (made, Some(error)) => Ok(populate_failed(error.into(), &made)),
    }
}

fn populate_failed(refusal: Refusal, made: &[wire::Proxy]) -> Reply {
    let made = if made.is_empty() { Value::Null } else { json!(made) };
    let body = json!({"error": refusal.text, "status": refusal.status.as_u16(), "proxies": made});
    reply(refusal.status, JSON, body.to_string())
}

fn add_toxic(store: &Store, proxy: &Proxy, bytes: &[u8]) -> Result<Reply, Refusal> {
    let fields = body::value(bytes).and_then(body::fields).map_err(bad_body)?;
    let given = || {
        Ok::<_, body::Bad>((
            fields.text("name")?,
            fields.text("type")?.unwrap_or_default(),
            fields.text("stream")?.unwrap_or_else(|| Stream::Downstream.name().to_owned()),
            fields.number("toxicity")?.unwrap_or(1.0),
        ))
    };
    let (name, kind, stream_text, toxicity) = given().map_err(bad_body)?;
    let stream = Stream::parse(&stream_text).ok_or_else(|| {
        refuse(StatusCode::BAD_REQUEST, "stream was invalid, can be either upstream or downstream")
    })?;
    let kind = store.kind(&kind).ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "invalid toxic type"))?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("{}_{stream_text}", kind.name));
    let attributes = kind.complete(&fields.attributes(kind.params).map_err(bad_body)?);
    if kind.extension {
        kind.check_all(&attributes).map_err(bad_attributes)?;
    }
    let spec = Spec { name, kind, toxicity, attributes };
    let shown = proxy.add_toxic(stream, stream_text, spec);
    let shown = shown.ok_or_else(|| refuse(StatusCode::CONFLICT, "toxic already exists"))?;
    Ok(success(StatusCode::OK, &shown))
}

fn update_toxic(proxy: &Proxy, name: &str, bytes: &[u8]) -> Result<Reply, Refusal> {
    let spec = proxy.spec(name).ok_or_else(no_toxic)?;
    let fields = body::value(bytes).and_then(body::fields).map_err(bad_body)?;
    // Everything is read before anything is changed: a bad field changes nothing.
    let (attributes, toxicity) = fields
        .attributes(spec.kind.params)
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

fn redirect(path: &str) -> Reply {
    let clean: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut reply = bare(StatusCode::MOVED_PERMANENTLY);
    // A path that was parsed is a valid header value.
    if let Ok(location) = HeaderValue::from_str(&format!("/{}", clean.join("/"))) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
