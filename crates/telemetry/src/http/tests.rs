//! The server on real sockets.

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

struct Running {
    url: String,
    addr: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let server = Server::bind(&"127.0.0.1:0".parse().unwrap(), limits).await.unwrap();
    let (url, addr) = (server.local_url(), server.local_addr());
    let stop = CancellationToken::new();
    let registry = prometheus::Registry::new();
    crate::metrics::process(&registry).unwrap();
    let routes = Routes::with_metrics(registry).get("/broken", || Err("why".to_owned())).stream(
        "/stream",
        "application/x-ndjson",
        || {
            let pieces = futures::stream::unfold(0u32, |n| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Bytes::from(format!("{n}\n")), n + 1))
            });
            Box::pin(pieces)
        },
    );
    let task = tokio::spawn(server.serve(routes, stop.clone()));
    Running { url, addr, stop, task }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn routes_answer_and_others_say_what_there_is() {
    let running = start(Limits::default()).await;
    let get = async |path: &str| client().get(format!("{}{path}", running.url)).send().await.unwrap();
    let metrics = get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.text().await.unwrap().contains("process_open_fds"));
    assert_eq!(get("/healthz").await.text().await.unwrap(), "ok\n");
    let missing = get("/nothing").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.text().await.unwrap(), "not here; there are: /broken /healthz /metrics /stream\n");
    assert_eq!(get("/broken").await.status(), 500);
}

#[tokio::test]
async fn nothing_can_be_written() {
    let running = start(Limits::default()).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let answer =
            client().request(method, format!("{}/metrics", running.url)).body("x").send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()),
            (405, "GET, HEAD")
        );
    }
    let head = client().head(format!("{}/metrics", running.url)).send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn a_stream_flows_and_ends_with_the_server() {
    let running = start(Limits::default()).await;
    let answer = client().get(format!("{}/stream", running.url)).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    assert!(pieces.next().await.unwrap().unwrap().starts_with(b"0\n"));
    running.stop.cancel();
    // A whole end, not a cut: every piece is Ok.
    while let Some(piece) = pieces.next().await {
        piece.unwrap();
    }
    running.task.await.unwrap();
}

#[tokio::test]
async fn half_a_head_is_dropped_and_too_many_connections_are_refused() {
    let limits = Limits { head: Duration::from_millis(200), connections: 2, ..Limits::default() };
    let running = start(limits).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
        slow.push(stream);
    }
    let mut refused = TcpStream::connect(running.addr).await.unwrap();
    let mut byte = [0];
    assert!(matches!(refused.read(&mut byte).await, Ok(0) | Err(_)));
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    // The slots are free again.
    let deadline = Instant::now() + Duration::from_secs(5);
    while client().get(format!("{}/healthz", running.url)).send().await.is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn two_hundred_scrapes_at_once_all_succeed() {
    let running = start(Limits::default()).await;
    let client = client();
    let scrapes = (0..200).map(|_| client.get(format!("{}/metrics", running.url)).send());
    for answer in futures::future::join_all(scrapes).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let running = start(Limits::default()).await;
    let error =
        Server::bind(&running.addr.to_string().parse().unwrap(), Limits::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&running.addr.to_string()) && text.contains("--metrics-port"), "{text}");
}
