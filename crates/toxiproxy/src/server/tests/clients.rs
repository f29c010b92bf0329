//! The requests that existing clients really send, each with that client's headers, asked of ours and, where it is on `PATH`,
//! of the real server; both must answer the same.

use std::net::SocketAddr;

use super::Running;
use super::asking::{Answer, Difference, ask, documented, normal};
use super::stock::Stock;

const DIFFERENT: &[Difference] = &[("POST /populate []", "`[]` or `null` populated")];

/// Ports that the clients listened on, moved to where no one else is.
const MOVED: &[(&str, &str)] = &[
    ("2001", "26201"),
    ("9987", "26202"),
    ("9988", "26203"),
    ("22222", "26204"),
    ("22223", "26205"),
    ("33301", "26206"),
    ("35235", "26207"),
    ("43215", "26208"),
];

#[derive(Debug, serde::Deserialize)]
struct Request {
    client: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    user_agent: Option<String>,
    content_type: Option<String>,
    accept: Option<String>,
    accept_encoding: Option<String>,
    #[serde(default)]
    has_content_length: bool,
    request_body: Option<String>,
    #[serde(default)]
    status: u16,
}

impl Request {
    fn read() -> Vec<Self> {
        let lines = include_str!("../../../tests/data/client-requests.jsonl").lines().skip(1);
        let requests = lines.map(|line| {
            let mut request: Self = serde_json::from_str(line).unwrap();
            for (from, to) in MOVED {
                let body = request.request_body.take();
                request.request_body =
                    body.map(|body| body.replace(&format!(":{from}\""), &format!(":{to}\"")));
            }
            request
        });
        requests.collect()
    }

    fn name(&self) -> String {
        let body = self.request_body.as_deref().unwrap_or_default();
        format!("{} {} {body}", self.method, self.path).trim_end().to_owned()
    }

    async fn ask(&self, addr: SocketAddr) -> Answer {
        let headers: Vec<_> = [
            ("User-Agent", &self.user_agent),
            ("Content-Type", &self.content_type),
            ("Accept", &self.accept),
            ("Accept-Encoding", &self.accept_encoding),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
        let body = self.request_body.as_deref().or(self.has_content_length.then_some(""));
        ask(addr, &self.method, &self.path, &headers, body).await
    }

    /// Requests that came more than once are in the file once. So what an earlier one of them would have taken away or made
    /// is taken away or made here.
    async fn prepare(&self, addr: SocketAddr) {
        let segments: Vec<&str> = self.path.trim_start_matches('/').split('/').collect();
        let body: serde_json::Value =
            self.request_body.as_deref().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        match (self.method.as_str(), segments.as_slice(), self.status) {
            ("POST", ["proxies"], 201) => {
                let path = format!("/proxies/{}", body["name"].as_str().unwrap());
                ask(addr, "DELETE", &path, &[], None).await;
            }
            ("POST", ["proxies", proxy, "toxics"], 200) => {
                let kind = body["type"].as_str().unwrap();
                let name = body["name"].as_str().filter(|name| !name.is_empty());
                let name = name.map_or_else(|| format!("{kind}_downstream"), str::to_owned);
                ask(addr, "DELETE", &format!("/proxies/{proxy}/toxics/{name}"), &[], None).await;
            }
            (_, ["proxies", proxy, "toxics", toxic], 200 | 204) => {
                let body = format!(r#"{{"name":"{toxic}","type":"latency"}}"#);
                ask(addr, "POST", &format!("/proxies/{proxy}/toxics"), &[], Some(&body)).await;
            }
            ("DELETE", ["proxies", proxy], 204) => {
                let body = format!(r#"{{"name":"{proxy}","upstream":"127.0.0.1:1","listen":"127.0.0.1:0"}}"#);
                ask(addr, "POST", "/proxies", &[], Some(&body)).await;
            }
            _ => {}
        }
    }
}

async fn replay(addr: SocketAddr) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in Request::read() {
        request.prepare(addr).await;
        let answer = request.ask(addr).await;
        assert_eq!(answer.status, request.status, "{} {}: {}", request.client, request.name(), answer.body);
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn every_request_of_a_client_gets_the_answer_that_it_got() {
    let ours = Running::start().await;
    let answers = replay(ours.addr).await;
    ours.stop().await;
    assert_eq!(answers.len(), 142);
    let Some(stock) = Stock::start().await else { return };
    let theirs = replay(stock.addr).await;
    for ((request, ours), theirs) in Request::read().iter().zip(&answers).zip(&theirs) {
        let name = request.name();
        let shown = |answer: &Answer| {
            let headers =
                ["content-type", "x-content-type-options"].map(|name| answer.header(name).map(str::to_owned));
            (answer.status, headers, answer.has_id(), normal(&answer.body))
        };
        if DIFFERENT.iter().any(|(case, _)| *case == name) {
            assert_ne!(shown(ours), shown(theirs), "{name}: is the same now, take it off the list");
        } else {
            assert_eq!(shown(ours), shown(theirs), "{} {name}", request.client);
        }
    }
}

#[test]
fn every_difference_is_documented() {
    documented(DIFFERENT);
}
