//! `--control`: changes the rate and the mix of the running load over HTTP. It changes state, so it listens on loopback
//! only, apart from the port that is scraped.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use descriptors::Acceptor;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use telemetry::http::Patient;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use workload::{LoadControl, Mix};

/// The one path.
const PATH: &str = "/v1/load";
/// Connections at the same time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of a head, and its lines.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Time for the head of a request, for its body, and for its sender to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest body.
const BODY_BYTES: usize = 64 * 1024;

/// An address that only this machine reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlAddr(SocketAddr);

impl FromStr for ControlAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write 127.0.0.1:PORT or [::1]:PORT";
        match text.trim().parse::<SocketAddr>() {
            Ok(addr) if addr.ip().is_loopback() => Ok(Self(addr)),
            Ok(_) => {
                Err(format!("whoever reaches this port changes the load, so it must be loopback: {example}"))
            }
            Err(_) => Err(format!("not an address with a port: {example}")),
        }
    }
}

/// What the load is now.
#[derive(Debug, Serialize)]
struct Present {
    /// `None`: a closed loop.
    rate: Option<f64>,
    mix: String,
}

/// What it shall be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    rate: Option<f64>,
    mix: Option<String>,
}

/// A bound port that does not serve yet.
#[derive(Debug)]
pub struct ControlServer {
    listener: TcpListener,
}

impl ControlServer {
    /// Binds: a taken port shows before anything else is started.
    pub async fn bind(addr: ControlAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr.0).await;
        let listener =
            listener.map_err(|error| anyhow::anyhow!("--control: cannot listen on {}: {error}", addr.0))?;
        Ok(Self { listener })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub async fn serve(self, load: LoadControl, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut acceptor = Acceptor::new(self.listener);
        loop {
            let (stream, _) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = acceptor.accept() => accepted,
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let (load, stop) = (load.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = serve_connection(stream, load) => {}
                }
                drop(slot);
            });
        }
    }
}

async fn serve_connection(stream: TcpStream, load: LoadControl) {
    let service = service_fn(move |request| {
        let load = load.clone();
        async move { Ok::<_, Infallible>(answer(&load, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, PATIENCE)), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "control connection");
    }
}

/// Does the header name this machine, by what no name server can say?
fn is_this_machine(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn answer(load: &LoadControl, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return refusal(StatusCode::NOT_FOUND, &format!("not here; there is: {PATH}"));
    }
    // A page in a browser on this machine reaches loopback too.
    if request.headers().contains_key(ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "not for web pages");
    }
    // And a name of somebody's own that leads to loopback makes such a page's requests look like its own.
    if !request.headers().get(HOST).is_some_and(is_this_machine) {
        return refusal(
            StatusCode::FORBIDDEN,
            "Host: only 127.0.0.1, [::1] or localhost, with a port or without",
        );
    }
    let method = request.method().clone();
    if method == Method::PUT {
        if let Err(why) = change(load, request).await {
            return refusal(StatusCode::BAD_REQUEST, &why);
        }
    } else if method != Method::GET {
        let mut refused =
            refusal(StatusCode::METHOD_NOT_ALLOWED, "GET says what the load is, PUT changes it");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, PUT"));
        return refused;
    }
    let present = Present { rate: load.rate(), mix: load.mix().to_string() };
    match serde_json::to_string(&present) {
        Ok(text) => response(StatusCode::OK, "application/json", text + "\n"),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn change(load: &LoadControl, request: Request<Incoming>) -> Result<(), String> {
    let body = Limited::new(request.into_body(), BODY_BYTES).collect();
    let body = tokio::time::timeout(PATIENCE, body).await;
    let body = body.map_err(|_| format!("no whole body within {PATIENCE:?}"))?;
    let body = body.map_err(|error| format!("the body cannot be read: {error}"))?.to_bytes();
    let wanted: Change = serde_json::from_slice(&body).map_err(|error| {
        format!(r#"not JSON of the form {{"rate": 5000, "mix": "get=80,set=20"}}: {error}"#)
    })?;
    if wanted.rate.is_none() && wanted.mix.is_none() {
        return Err("nothing to change: give rate, mix or both".to_owned());
    }
    let mix =
        wanted.mix.map(|text| text.parse::<Mix>().map_err(|error| format!("mix: {error}"))).transpose()?;
    load.change(wanted.rate, mix).map_err(|error| error.to_string())?;
    tracing::info!(rate = load.rate(), mix = %load.mix(), "the load was changed");
    Ok(())
}

fn refusal(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use memcached_fake::FakeMemcached;
    use observation::Server;
    use prometheus::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use workload::{Arrivals, Load, LoadConfig, Ours};

    use super::*;

    #[test]
    fn only_loopback_is_taken() {
        for good in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:9"] {
            assert!(good.parse::<ControlAddr>().is_ok(), "{good}");
        }
        for other in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "192.168.1.1:80"] {
            assert!(other.parse::<ControlAddr>().unwrap_err().contains("must be loopback"), "{other}");
        }
        for bad in ["", ":1", "9095", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(bad.parse::<ControlAddr>().unwrap_err().contains("127.0.0.1:PORT"), "{bad}");
        }
    }

    async fn ask(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Status of a request to `host`.
    async fn named(addr: SocketAddr, host: &str) -> u16 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn the_load_is_told_and_changed_and_a_refusal_says_why() {
        let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = Server { name: "one".to_owned(), addr: fake.addr().to_string() };
        let mix = Some("get=3,set=1".parse().unwrap());
        let config = LoadConfig { arrivals: Arrivals::Poisson(50.0), mix, ..LoadConfig::default() };
        let client = Ours::new(memcache_client::Config::default(), vec![server]).unwrap();
        let load = Load::start(&config, client, &Registry::new()).unwrap();
        let control = ControlServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = control.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(control.serve(load.control(), stop.clone()));

        let told = (200, "{\"rate\":50.0,\"mix\":\"get=3,set=1\"}\n".to_owned());
        assert_eq!(ask(addr, "GET", PATH, "", "").await, told);
        for (body, why) in [
            ("", "not JSON of the form"),
            ("{", "not JSON of the form"),
            ("[]", "not JSON of the form"),
            ("{}", "nothing to change"),
            (r#"{"rate":"fast"}"#, "invalid type: string \"fast\""),
            (r#"{"speed":3}"#, "unknown field `speed`"),
            (r#"{"rate":-3}"#, "rate: a rate lies between"),
            (r#"{"rate":70,"mix":"gte=1"}"#, "did you mean \"get\"?"),
        ] {
            let (status, text) = ask(addr, "PUT", PATH, "", body).await;
            assert!(status == 400 && text.contains(why), "{body}: {status} {text}");
        }
        assert_eq!(ask(addr, "GET", PATH, "", "").await, told);
        let (status, _) = ask(addr, "PUT", PATH, "Origin: http://x\r\n", r#"{"rate":70}"#).await;
        assert_eq!(status, 403);
        assert_eq!(ask(addr, "POST", PATH, "", "{}").await.0, 405);
        assert_eq!(ask(addr, "GET", PATH, &"X: y\r\n".repeat(80), "").await.0, 431);
        assert_eq!(ask(addr, "GET", PATH, &format!("X: {}\r\n", "y".repeat(20_000)), "").await.0, 431);
        for host in ["evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", ""] {
            assert_eq!(named(addr, host).await, 403, "{host}");
        }
        for host in ["localhost:80", "LOCALHOST", "[::1]:80", "127.0.0.1"] {
            assert_eq!(named(addr, host).await, 200, "{host}");
        }
        assert_eq!(ask(addr, "GET", "/", "", "").await, (404, "not here; there is: /v1/load\n".to_owned()));

        let changed = (200, "{\"rate\":70.5,\"mix\":\"set=1\"}\n".to_owned());
        assert_eq!(ask(addr, "PUT", PATH, "", r#"{"rate":70.5,"mix":"set=1"}"#).await, changed);
        assert_eq!(load.control().rate(), Some(70.5));
        assert_eq!(
            ask(addr, "PUT", PATH, "", r#"{"mix":"get=1"}"#).await.1,
            "{\"rate\":70.5,\"mix\":\"get=1\"}\n"
        );
        stop.cancel();
        serving.await.unwrap();
        load.stop().await;
    }
}
