//! Requests word for word: paths, headers and bodies as they stand, which no polite client would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    /// By lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has_id(&self) -> bool {
        self.header("x-toxiproxy-request-id").is_some()
    }

    /// Of the bytes of a whole answer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Self { status, headers, body: body.to_owned() })
    }
}

/// One request on a connection of its own. No header goes out but the necessary ones and `headers`; a body has a length.
pub(super) async fn ask(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = body {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body.unwrap_or_default();
    if headers.contains(&("Transfer-Encoding", "chunked")) {
        request += "0\r\n\r\n";
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    Answer::parse(&bytes).unwrap_or_else(|| panic!("{method} {path}: {:?}", String::from_utf8_lossy(&bytes)))
}

/// First of the ports that the kernel chooses.
const EPHEMERAL: u16 = 30_000;

/// A body without what may differ: the accidental `Logger`, ephemeral ports, Go's decoder texts, the form of numbers, the
/// version of a build that has none.
pub(super) fn normal(text: &str) -> Value {
    fn walk(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.into_iter().filter(|(name, _)| name != "Logger");
                Value::Object(kept.map(|(name, value)| (name, walk(value))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(walk).collect()),
            Value::Number(n) => n.as_f64().map_or(Value::Null, Value::from),
            Value::String(text) if text == "git" => Value::from("2.12.0"),
            Value::String(text) => {
                let text = match text.split_once("bad request body: ") {
                    Some(_) => "bad request body".to_owned(),
                    None => text,
                };
                Value::String(match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                    Some((host, Ok(EPHEMERAL..))) => format!("{host}:ephemeral"),
                    _ => text,
                })
            }
            other => other,
        }
    }
    serde_json::from_str(text).map_or_else(|_| Value::String(text.to_owned()), walk)
}

/// A case that is different on purpose, and the row of `docs/toxiproxy-compatibility.md` that says why.
pub(super) type Difference = (&'static str, &'static str);

/// Fails unless the document has a row for each.
pub(super) fn documented(differences: &[Difference]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/toxiproxy-compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (case, row) in differences {
        assert!(text.contains(&format!("\n| {row} |")), "{case}: there is no row {row:?}");
    }
}

/// What is wrong with the answers, when all are seen: a case must be the same, unless it is listed; then it must not.
pub(super) fn judge(faults: Vec<(String, Option<String>)>, differences: &[Difference]) -> Vec<String> {
    let listed = |case: &str| differences.iter().any(|(name, _)| *name == case);
    let wrong = faults.into_iter().filter_map(|(case, fault)| match fault {
        Some(fault) if !listed(&case) => Some(format!("{case}: {fault}")),
        None if listed(&case) => Some(format!("{case}: is the same now, take it off the list")),
        _ => None,
    });
    wrong.collect()
}
