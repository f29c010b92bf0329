//! The server on real sockets.

use bytes::Bytes;
use futures::StreamExt;
use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

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
                // Sleeps: the stream has something to say at this pace.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Bytes::from(format!("{n}\n")), n + 1))
            });
            Box::pin(pieces)
        },
    );
    let page = Document {
        content_type: "text/html; charset=utf-8",
        body: Bytes::from_static(b"<p>hello"),
        policy: "default-src 'self'".to_owned(),
    };
    let routes = routes
        .page("/", {
            let page = page.clone();
            move || page.clone()
        })
        .below("/runs/", move |name| (name == "one/report.html").then(|| page.clone()))
        .feed("/asked", "text/event-stream", |asked| {
            let told = format!("{} {:?} {:?}", asked.peer, asked.query("job"), asked.header("last-event-id"));
            Box::pin(futures::stream::iter([Bytes::from(told)]))
        })
        // More than any socket's buffers hold, and never an end.
        .stream("/flood", "text/plain", || {
            Box::pin(futures::stream::repeat(Bytes::from(vec![b'x'; 1 << 20])))
        });
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
    assert_eq!(
        missing.text().await.unwrap(),
        "not here; there are: / /asked /broken /flood /healthz /metrics /runs/ /stream\n"
    );
    assert_eq!(get("/broken").await.status(), 500);
}

#[tokio::test]
async fn nothing_can_be_written() {
    let running = start(Limits::default()).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        for path in ["/metrics", "/", "/runs/one/report.html", "/stream", "/nothing"] {
            let answer = client()
                .request(method.clone(), format!("{}{path}", running.url))
                .body("x")
                .send()
                .await
                .unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
        }
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
    let limits =
        Limits { head: Duration::from_millis(200), connections: 2, per_peer: 2, ..Limits::default() };
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
async fn a_hundred_scrapes_at_once_all_succeed() {
    let running = start(Limits::default()).await;
    let client = client();
    let scrapes = (0..100).map(|_| client.get(format!("{}/metrics", running.url)).send());
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

/// Sends a request as it is written, and reads until the other side closes.
async fn raw(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // What is refused early is not read to its end.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_have_a_size_and_a_number_of_lines_and_no_body_is_read() {
    let limits = Limits { head: Duration::from_millis(500), ..Limits::default() };
    let running = start(limits).await;
    let with = |more: &str| format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    let fine = raw(running.addr, with(&"X: y\r\n".repeat(40)).as_bytes()).await;
    assert!(fine.starts_with("HTTP/1.1 200"), "{fine}");
    let many = raw(running.addr, with(&"X: y\r\n".repeat(80)).as_bytes()).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let long = raw(running.addr, with(&format!("X: {}\r\n", "y".repeat(20_000))).as_bytes()).await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");
    let path =
        raw(running.addr, format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(70_000)).as_bytes())
            .await;
    assert!(path.starts_with("HTTP/1.1 4"), "{path}");
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"] {
        let refused =
            raw(running.addr, format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{body}").as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("connection: close"), "{refused}");
    }
    for nonsense in ["\r\n\r\n\r\n", "GET\r\n\r\n", "\0\0\0\0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let refused = raw(running.addr, nonsense.as_bytes()).await;
        assert!(!refused.starts_with("HTTP/1.1 200"), "{nonsense:?}: {refused}");
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_more_is_closed() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let running = start(limits).await;
    // Kept alive after its answer, and then nothing.
    let answer = raw(running.addr, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("ok\n"), "{answer}");
    assert_eq!(raw(running.addr, b"").await, "");
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let limits = Limits { write: Duration::from_millis(300), streams: 1, ..Limits::default() };
    let running = start(limits).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    let full = client().get(format!("{}/flood", running.url)).send().await.unwrap();
    assert_eq!((full.status().as_u16(), full.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    // Its place is free as soon as it was cut; reading what the sockets hold comes to an end.
    let mut rest = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while client().get(format!("{}/flood", running.url)).send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "the place is not free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still there");
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let limits = Limits { connections: 8, per_peer: 2, ..Limits::default() };
    let running = start(limits).await;
    let hold = async |from: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(running.addr).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut byte = [0];
        let answered = matches!(stream.read(&mut byte).await, Ok(1));
        (stream, answered)
    };
    let (mut held, mut answered) = (Vec::new(), Vec::new());
    for from in ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        let (stream, answer) = hold(from).await;
        held.push(stream);
        answered.push(answer);
    }
    assert_eq!(answered, [true, true, false, true]);
}

#[tokio::test]
async fn where_it_is_crowded_nobody_is_kept_alive() {
    let limits = Limits { connections: 4, per_peer: 4, ..Limits::default() };
    let running = start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(running.addr).await.unwrap());
    }
    let answer = raw(running.addr, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn pages_and_what_is_below_a_path_come_with_their_policies() {
    let running = start(Limits::default()).await;
    let get = async |path: &str| client().get(format!("{}{path}", running.url)).send().await.unwrap();
    for path in ["/", "/runs/one/report.html"] {
        let page = get(path).await;
        assert_eq!(page.headers()["content-security-policy"], "default-src 'self'; frame-ancestors 'none'");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert_eq!(page.text().await.unwrap(), "<p>hello");
    }
    assert_eq!(get("/runs/two/report.html").await.status(), 404);
    assert_eq!(get("/runs/").await.status(), 404);
    let metrics = get("/metrics").await;
    assert_eq!(metrics.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(metrics.headers()["cache-control"], "no-store");
    let asked = client().get(format!("{}/asked?x=1&job=2", running.url)).header("Last-Event-ID", "a.7");
    assert_eq!(asked.send().await.unwrap().text().await.unwrap(), "127.0.0.1 Some(\"2\") Some(\"a.7\")");
}

#[tokio::test]
async fn a_server_on_a_thread_of_its_own_ends_with_the_stop() {
    let server = Server::bind(&"127.0.0.1:0".parse().unwrap(), Limits::default()).await.unwrap();
    let (url, stop) = (server.local_url(), CancellationToken::new());
    let serving = server.spawn(Routes::with_metrics(prometheus::Registry::new()), stop.clone()).unwrap();
    assert_eq!(client().get(format!("{url}/healthz")).send().await.unwrap().text().await.unwrap(), "ok\n");
    stop.cancel();
    tokio::time::timeout(PATIENCE, serving.ended()).await.unwrap().unwrap();
}
