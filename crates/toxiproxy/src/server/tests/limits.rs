//! What an API client may not do: be slow, send too much, come in too great a number, or leave work half done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asking::{Answer, ask};
use super::{Running, ServerConfig, eventually};
use crate::server::api::Api;
use crate::server::lanes::Lanes;
use crate::server::store::Store;
use crate::server::{Limits, MetricsConfig};

/// Long enough to be seen, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(200);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
const VERSION: &[u8] = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n";

async fn limited(limits: Limits) -> Running {
    Running::with(ServerConfig { limits, ..Running::config() }).await
}

/// Until the server closes the connection, at once or with an answer before.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it stays open");
    began.elapsed()
}

/// Reads one answer, of which the body is known to be this short.
async fn one_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "it was closed");
        if let Some(answer) = Answer::parse(&bytes)
            && answer.header("content-length") == Some(&answer.body.len().to_string())
        {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_request_that_does_not_come_in_time_ends_the_connection() {
    let server = limited(Limits { read: SHORT, write: LONG, idle: LONG }).await;
    for part in [
        "",
        "GET /version HTTP/1.1\r\nHo",
        "POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        "POST /proxies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(part.as_bytes()).await.unwrap();
        let after = closed_after(&mut stream).await;
        assert!(after >= SHORT / 2, "{part:?}: {after:?}");
    }
}

#[tokio::test]
async fn between_requests_a_client_may_be_silent_for_longer() {
    let server = limited(Limits { read: SHORT, write: LONG, idle: LONG }).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    for _ in 0..2 {
        stream.write_all(VERSION).await.unwrap();
        assert_eq!(one_answer(&mut stream).await.status, 200);
        // Sleeps: the client says nothing for longer than a request may take.
        tokio::time::sleep(2 * SHORT).await;
    }
    // But a request that has begun is one again.
    stream.write_all(&VERSION[..5]).await.unwrap();
    assert!(closed_after(&mut stream).await >= SHORT / 2);
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let server = limited(Limits { read: LONG, write: LONG, idle: SHORT }).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(VERSION).await.unwrap();
    assert_eq!(one_answer(&mut stream).await.status, 200);
    assert!(closed_after(&mut stream).await >= SHORT / 2);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_loses_its_place() {
    let limits = Limits { read: LONG, write: SHORT, idle: LONG };
    let server = Running::with(ServerConfig { limits, connections: 1, ..Running::config() }).await;
    // More than two kernels hold between them.
    let upstream = "x".repeat(900_000);
    for number in 0..20 {
        let body = format!(r#"{{"name":"p{number}","upstream":"{upstream}","enabled":false}}"#);
        eventually("the place is free", async || {
            let Ok(mut stream) = TcpStream::connect(server.addr).await else { return false };
            let length = body.len();
            let head = format!(
                "POST /proxies HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            let sent = stream.write_all((head + &body).as_bytes()).await;
            let mut bytes = Vec::new();
            let read = stream.read_to_end(&mut bytes).await;
            sent.is_ok() && read.is_ok() && bytes.starts_with(b"HTTP/1.1 201")
        })
        .await;
    }
    let mut stuck = TcpStream::connect(server.addr).await.unwrap();
    stuck.write_all(b"GET /proxies HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // It has its place once its answer begins.
    stuck.readable().await.unwrap();
    eventually("the place is free again", async || {
        let Ok(mut stream) = TcpStream::connect(server.addr).await else { return false };
        let _ = stream.write_all(VERSION).await;
        matches!(stream.read(&mut [0; 16]).await, Ok(1..))
    })
    .await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let server = Running::with(ServerConfig { connections: 1, ..Running::config() }).await;
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    first.write_all(VERSION).await.unwrap();
    assert_eq!(one_answer(&mut first).await.status, 200);
    let mut second = TcpStream::connect(server.addr).await.unwrap();
    assert!(!matches!(second.read(&mut [0]).await, Ok(1..)));
    drop(first);
    eventually("the place is free", async || {
        let Ok(mut stream) = TcpStream::connect(server.addr).await else { return false };
        let _ = stream.write_all(VERSION).await;
        matches!(stream.read(&mut [0; 16]).await, Ok(1..))
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Running::with(ServerConfig { body_max: 64, ..Running::config() }).await;
    let fits = r#"{"name":"p","upstream":"x","enabled":false}"#;
    assert_eq!(ask(server.addr, "POST", "/proxies", &[], Some(fits)).await.status, 201);
    let answer = ask(server.addr, "POST", "/populate", &[], Some(&" ".repeat(65))).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.body,
        "{\"error\":\"request body too large: at most 64 bytes are read\",\"status\":413}\n"
    );
}

fn api(handler: Duration) -> Arc<Api> {
    Arc::new(Api {
        store: Store::new(1, &[], Lanes::current()),
        body_max: 1000,
        handler,
        metrics: MetricsConfig::default(),
        handlers: TaskTracker::new(),
        end: CancellationToken::new(),
    })
}

fn create() -> hyper::Request<Full<Bytes>> {
    let body = r#"{"name":"p","upstream":"127.0.0.1:1","listen":"127.0.0.1:0"}"#;
    hyper::Request::post("/proxies").header("host", "x").body(Full::new(Bytes::from(body))).unwrap()
}

#[tokio::test]
async fn a_late_answer_is_the_stock_page_and_the_work_goes_on() {
    let api = api(SHORT);
    let held = api.store.proxies.lock().await;
    let answer = api.answer(create(), || {}).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>");
    drop(held);
    eventually("the proxy is there", async || api.store.get("p").await.is_some()).await;
    api.store.stop_all().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_half_done() {
    let api = api(LONG);
    let held = api.store.proxies.lock().await;
    tokio::select! {
        biased;
        _ = api.answer(create(), || {}) => panic!("it was answered at once"),
        () = async {} => {}
    }
    drop(held);
    eventually("the proxy is there", async || api.store.get("p").await.is_some()).await;
    api.store.stop_all().await;
}
