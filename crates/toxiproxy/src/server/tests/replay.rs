//! What a real Toxiproxy 2.12.0 answered, asked of ours, in the same order on an empty server. The steps between that were
//! not recorded are done here too.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::asking::{Answer, Difference, ask, documented, judge, normal};
use super::{Running, ServerConfig, eventually, loopback};
use crate::server::MetricsConfig;

const DIFFERENT: &[Difference] = &[
    ("populate-empty-array", "`[]` or `null` populated"),
    ("populate-null", "`[]` or `null` populated"),
    ("after-bad-attribute-update", "A bad field in a toxic update"),
    ("metrics-while-connection-open", "Byte counters of `-proxy-metrics`"),
];

/// What was done before a case without being recorded: method, path, body.
type Step = (&'static str, &'static str, Option<&'static str>);

const BEFORE: &[(&str, &[Step])] = &[
    (
        "populate-same-again-keeps-toxics",
        &[("POST", "/proxies/one/toxics", Some(r#"{"type":"latency","attributes":{"latency":1}}"#))],
    ),
    // They cannot listen, which a reset would not survive.
    (
        "reset-with-body",
        &[
            ("DELETE", "/proxies/dbad", None),
            ("DELETE", "/proxies/two", None),
            ("DELETE", "/proxies/np", None),
        ],
    ),
    (
        "reset-when-a-disabled-proxy-cannot-listen",
        &[(
            "POST",
            "/proxies",
            Some(r#"{"name":"taken","listen":"127.0.0.1:26099","upstream":"127.0.0.1:1","enabled":false}"#),
        )],
    ),
];

const CONFIG_FILE: &[u8] = br#"[{"name":"c1","listen":"[::]:26031","upstream":"127.0.0.1:26001"},
    {"name":"c2","listen":":26032","upstream":"127.0.0.1:26001"}]"#;

#[derive(Debug, serde::Deserialize)]
struct Case {
    case: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    request_body: Option<String>,
    #[serde(default)]
    request_headers: BTreeMap<String, String>,
    #[serde(default)]
    other_response_headers: BTreeMap<String, String>,
    #[serde(default)]
    status: u16,
    response_content_type: Option<String>,
    #[serde(default)]
    response_body: String,
    #[serde(default)]
    has_request_id_header: bool,
}

impl Case {
    async fn ask(&self, addr: SocketAddr) -> Answer {
        let headers: Vec<_> =
            self.request_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        ask(addr, &self.method, &self.path, &headers, self.request_body.as_deref()).await
    }

    fn fault(&self, answer: &Answer) -> Option<String> {
        if answer.status != self.status {
            return Some(format!("status {}, not {}: {}", answer.status, self.status, answer.body));
        }
        let content_type = answer.header("content-type");
        if content_type != self.response_content_type.as_deref() {
            return Some(format!("{content_type:?}, not {:?}", self.response_content_type));
        }
        if answer.has_id() != self.has_request_id_header {
            return Some(format!("request id: {}", answer.has_id()));
        }
        for (name, value) in &self.other_response_headers {
            // How a body is framed is no business of the API.
            if name != "Transfer-Encoding" && answer.header(&name.to_lowercase()) != Some(value) {
                return Some(format!("no {name}: {value}"));
            }
        }
        let same = match self.path.as_str() {
            "/metrics" if self.status == 200 => samples(&answer.body) == samples(&self.response_body),
            _ => normal(&answer.body) == normal(&self.response_body),
        };
        (!same).then(|| format!("{}, not {}", answer.body, self.response_body))
    }
}

/// The stock server's own series that are not 0, without the upstream's port. Go's runtime is not ours.
fn samples(text: &str) -> Vec<String> {
    let own = text.lines().filter(|line| line.starts_with("toxiproxy_proxy_") && !line.ends_with(" 0"));
    own.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        format!("{} {value}", series.rsplit_once(':').unwrap().0)
    })
    .collect()
}

/// Answers five bytes with ten.
async fn ten_for_five() -> SocketAddr {
    let listener = TcpListener::bind(loopback(0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        stream.write_all(&[0; 10]).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    });
    addr
}

/// The server on which the metrics were recorded, with its one connection.
struct Measured {
    server: Running,
    open: Option<TcpStream>,
}

impl Measured {
    async fn start() -> Self {
        let metrics = MetricsConfig { proxies: true, program: Some(prometheus::Registry::new()) };
        let server = Running::with(ServerConfig { metrics, ..Running::config() }).await;
        Self { server, open: None }
    }

    async fn before(&mut self, case: &str) {
        match case {
            "metrics-while-connection-open" => {
                let upstream = ten_for_five().await;
                let body = format!(r#"{{"name":"m","listen":"127.0.0.1:26030","upstream":"{upstream}"}}"#);
                assert_eq!(ask(self.server.addr, "POST", "/proxies", &[], Some(&body)).await.status, 201);
                let mut open = TcpStream::connect(loopback(26_030)).await.unwrap();
                open.write_all(&[0; 5]).await.unwrap();
                open.read_exact(&mut [0; 10]).await.unwrap();
                self.open = Some(open);
            }
            "metrics-after-connection-closed" => {
                self.open = None;
                eventually("the links have ended", async || {
                    self.server.client.dose().await.unwrap()["m"].total.links == 0
                })
                .await;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn every_recorded_answer_is_ours_too() {
    let _occupied = TcpListener::bind("127.0.0.1:26099").await.unwrap();
    let plain = Running::start().await;
    let configured = Running::populated(CONFIG_FILE).await;
    let mut measured = Measured::start().await;
    let mut faults = Vec::new();
    for line in include_str!("../../../tests/data/recordings.jsonl").lines().skip(1) {
        let case: Case = serde_json::from_str(line).unwrap();
        for (_, steps) in BEFORE.iter().filter(|(name, _)| *name == case.case) {
            for (method, path, body) in *steps {
                let status = ask(plain.addr, method, path, &[], *body).await.status;
                assert!((200..300).contains(&status), "{method} {path}: {status}");
            }
        }
        let addr = match case.case.as_str() {
            "metrics-disabled" => plain.addr,
            name if name.starts_with("metrics-") => {
                measured.before(name).await;
                measured.server.addr
            }
            "proxies-after-config-file" => configured.addr,
            _ => plain.addr,
        };
        let fault = case.fault(&case.ask(addr).await);
        faults.push((case.case, fault));
    }
    assert_eq!(faults.len(), 174);
    let wrong = judge(faults, DIFFERENT);
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_difference_is_documented() {
    documented(DIFFERENT);
}
