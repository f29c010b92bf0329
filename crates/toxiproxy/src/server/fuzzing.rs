//! What must hold for any sequence of API requests, in one process and without a network: see `fuzz/README.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;
use super::body::{self, Json};
use super::lanes::Lanes;
use super::listen;
use super::metrics::MetricsConfig;
use super::store::Store;

/// Requests of one input.
const REQUESTS_MAX: usize = 32;
/// Statuses that there are, but for an answer that is late.
const STATUSES: &[u16] = &[200, 201, 204, 301, 400, 403, 404, 405, 409, 413, 500];

/// Requests, a blank line between two: the first line is `METHOD TARGET [USER-AGENT]`, the rest the body.
pub fn api(data: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let api = Arc::new(Api {
            store: Store::new(1, &[], Lanes::current()),
            body_max: 4096,
            handler: Duration::from_secs(60),
            metrics: MetricsConfig { proxies: true, program: None },
            handlers: TaskTracker::new(),
            end: CancellationToken::new(),
        });
        for request in requests(data) {
            check(api.answer(request, || {}).await).await;
            consistent(&api.store).await;
        }
        api.store.stop_all().await;
    });
}

fn requests(data: &[u8]) -> Vec<Request<Full<Bytes>>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
        parts.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    parts.push(rest);
    parts.into_iter().take(REQUESTS_MAX).filter_map(request).collect()
}

/// `None` for what no HTTP server would hand on, and for what would touch more than free ports of this machine.
fn request(part: &[u8]) -> Option<Request<Full<Bytes>>> {
    let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
    let line = str::from_utf8(&part[..end]).ok()?;
    let body = part.get(end + 1..).unwrap_or_default();
    if body::value(body).is_ok_and(|value| !is_harmless(&value)) {
        return None;
    }
    let mut words = line.splitn(3, ' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?).header(HOST, "x");
    if let Some(agent) = words.next() {
        request = request.header(USER_AGENT, agent);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).ok()
}

/// No listen text in it names a port, or a host that would have to be looked up.
fn is_harmless(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().all(is_harmless),
        Json::Object(fields) => fields.iter().all(|(name, value)| match value {
            Json::Text(text) if name.eq_ignore_ascii_case("listen") => is_harmless_listen(text),
            value => is_harmless(value),
        }),
        _ => true,
    }
}

fn is_harmless_listen(text: &str) -> bool {
    let Ok((host, port)) = listen::split(text) else { return true };
    let free = ["", "0"].contains(&port) || port.parse::<u64>().is_ok_and(|port| port > u16::MAX.into());
    free && ["", "127.0.0.1", "localhost", "0.0.0.0", "::", "::1"].contains(&host)
}

async fn check(answer: Response<Full<Bytes>>) {
    let (head, body) = answer.into_parts();
    let status = head.status.as_u16();
    let Ok(body) = body.collect().await;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    assert!(STATUSES.contains(&status), "{status}: {body}");
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header(&CONTENT_TYPE).unwrap_or_default();
    let routed = head.headers.contains_key("x-toxiproxy-request-id");
    let json: Option<Value> = serde_json::from_str(&body).ok();
    match status {
        204 | 405 => assert!(body.is_empty() && content_type.is_empty()),
        301 => assert!(header(&LOCATION).is_some_and(|location| location.starts_with('/'))),
        200 | 201 if content_type.starts_with("application/json") => assert!(json.is_some(), "{body}"),
        200 if routed => assert!(body.lines().all(is_sample), "{body}"),
        400.. if routed && status != 403 => {
            let error = json.as_ref().and_then(|json| json["error"].as_str());
            assert!(error.is_some_and(|text| !text.is_empty()), "{body}");
            assert!(json.as_ref().is_some_and(|json| json["status"] == status), "{body}");
            // Nothing but listening can fail by itself.
            let listening =
                |text: &str| ["listen tcp", "address ", "lookup "].iter().any(|by| text.starts_with(by));
            assert!(status != 500 || error.is_some_and(listening), "{body}");
        }
        _ => {}
    }
}

/// A line of Prometheus' text.
fn is_sample(line: &str) -> bool {
    let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
    line.starts_with("# ") || matches!(value, Some(Ok(_)))
}

async fn consistent(store: &Store) {
    for proxy in store.all().await {
        let shown = proxy.show();
        assert!(!shown.name.is_empty() && store.get(&shown.name).await.is_some());
        let names: BTreeSet<_> = shown.toxics.iter().map(|toxic| &toxic.name).collect();
        assert_eq!(names.len(), shown.toxics.len());
        for toxic in &shown.toxics {
            let kind = crate::toxics::kind(&toxic.kind);
            assert!(kind.is_some_and(|kind| kind.params.len() == toxic.attributes.len()), "{toxic:?}");
            assert!(toxic.toxicity.is_finite());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_inputs_hold() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/api");
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            super::api(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}
