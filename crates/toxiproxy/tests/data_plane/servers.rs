//! A server under test, ours or the stock one, and its API as plain JSON: the cases send what a typed client would refuse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use toxiproxy::server::{Server as Embedded, ServerConfig};

use crate::sockets::{LONG, loopback};

/// The stock server answers 503 after 25 s when it is locked up: that must be seen as such.
const CALL: Duration = Duration::from_secs(40);
/// Starts of a stock server whose port somebody else took in between.
const STARTS: usize = 5;

/// Ends with the value: ours by its token, the stock one by its process.
#[expect(dead_code, reason = "held for its end")]
enum Running {
    Ours(DropGuard),
    Stock(Stopped),
}

/// A child process that is stopped and reaped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server under test.
pub struct Server {
    base: String,
    http: reqwest::Client,
    proxies: AtomicU32,
    running: Running,
}

/// One proxy of it.
pub struct Proxy<'a> {
    server: &'a Server,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Server {
    /// Ours, with this seed.
    pub async fn ours(seed: u64) -> Self {
        descriptors::raise();
        let config = ServerConfig { addr: loopback(0), seed: Some(seed), ..ServerConfig::default() };
        let server = Embedded::bind(config).await.unwrap();
        let addr = server.addr();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone().cancelled_owned()));
        Self::at(addr, Running::Ours(stop.drop_guard()))
    }

    /// The stock one with these further flags. Without it: fails where `CI` is set, else says loudly that it is skipped.
    pub async fn stock(flags: &[&str]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found: Option<PathBuf> = std::env::split_paths(&path)
            .map(|folder| folder.join("toxiproxy-server"))
            .find(|file| file.is_file());
        let Some(program) = found else {
            assert!(std::env::var_os("CI").is_none(), "toxiproxy-server is not on PATH, and CI needs it");
            eprintln!("SKIPPED against the stock server: toxiproxy-server is not on PATH");
            return None;
        };
        descriptors::raise();
        for _ in 0..STARTS {
            let port = TcpListener::bind(loopback(0)).await.unwrap().local_addr().unwrap().port();
            let child = Command::new(&program)
                .args(["-host", "127.0.0.1", "-port", &port.to_string()])
                .args(flags)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let server = Self::at(loopback(port), Running::Stock(Stopped(child)));
            let deadline = Instant::now() + LONG;
            while Instant::now() < deadline {
                if let Some((200, proxies)) = server.try_call("GET", "/proxies", None).await
                    && proxies == json!({})
                {
                    return Some(server);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("the stock server does not answer")
    }

    fn at(addr: SocketAddr, running: Running) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(CALL).build().unwrap();
        Self { base: format!("http://{addr}"), http, proxies: AtomicU32::new(0), running }
    }

    /// Is it ours?
    pub fn is_ours(&self) -> bool {
        matches!(self.running, Running::Ours(_))
    }

    async fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// One API call: status and body.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (!body.is_null()).then_some(&body);
        self.try_call(method, path, body).await.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// A call that must succeed: its body.
    pub async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let shown = format!("{method} {path} {body}");
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{shown}: {status} {answer}");
        answer
    }

    /// A new proxy before `upstream`, on an ephemeral port.
    pub async fn proxy(&self, upstream: SocketAddr) -> Proxy<'_> {
        let name = format!("p{}", self.proxies.fetch_add(1, Ordering::Relaxed));
        let new = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream.to_string()});
        let made = self.done("POST", "/proxies", new).await;
        Proxy { server: self, name, addr: made["listen"].as_str().unwrap().parse().unwrap() }
    }
}

impl Proxy<'_> {
    /// A new connection through it. Not necessarily accepted yet.
    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A new connection, and its other end at `upstream`.
    pub async fn pair(&self, upstream: &TcpListener) -> (TcpStream, TcpStream) {
        let client = self.connect().await;
        let (server, _) = tokio::time::timeout(LONG, upstream.accept()).await.unwrap().unwrap();
        server.set_nodelay(true).unwrap();
        (client, server)
    }

    fn path(&self, rest: &str) -> String {
        format!("/proxies/{}{rest}", self.name)
    }

    /// Changes the proxy.
    pub async fn set(&self, change: Value) -> Value {
        self.server.done("POST", &self.path(""), change).await
    }

    /// Deletes the proxy.
    pub async fn delete(&self) {
        self.server.done("DELETE", &self.path(""), Value::Null).await;
    }

    /// Adds a toxic named `t`.
    pub async fn add(&self, kind: &str, stream: &str, attributes: Value) {
        self.add_toxic(json!({"name": "t", "type": kind, "stream": stream, "attributes": attributes})).await;
    }

    /// Adds a toxic of any kind of wording.
    pub async fn add_toxic(&self, toxic: Value) {
        self.server.done("POST", &self.path("/toxics"), toxic).await;
    }

    /// Asks for a toxic that may be refused.
    pub async fn try_toxic(&self, toxic: Value) -> u16 {
        self.server.call("POST", &self.path("/toxics"), toxic).await.0
    }

    /// Updates the toxic `name` with the whole body.
    pub async fn update(&self, name: &str, body: Value) {
        self.server.done("POST", &self.path(&format!("/toxics/{name}")), body).await;
    }

    /// Removes the toxic `name`; how long the call took.
    pub async fn remove(&self, name: &str) -> Duration {
        let began = Instant::now();
        self.server.done("DELETE", &self.path(&format!("/toxics/{name}")), Value::Null).await;
        began.elapsed()
    }

    /// Names of its toxics, as listed.
    pub async fn toxics(&self) -> Vec<String> {
        let listed = self.server.done("GET", &self.path("/toxics"), Value::Null).await;
        listed.as_array().unwrap().iter().map(|toxic| toxic["name"].as_str().unwrap().to_owned()).collect()
    }
}
