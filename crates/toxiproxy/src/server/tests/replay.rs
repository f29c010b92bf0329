//! What a real Toxiproxy 2.12.0 answered, asked of ours, in the same order on an empty server.

use serde_json::Value;

use super::Running;

/// Cases that are different on purpose, or not there yet, each with its reason.
const DIFFERENT: &[(&str, &str)] = &[
    ("populate-empty-array", "an empty array instead of null, which breaks two of the published clients"),
    ("populate-null", "an empty array instead of null, which breaks two of the published clients"),
    ("after-bad-attribute-update", "an update is all or nothing"),
    ("populate-same-name-twice", "the first of the two is shown as it was when it was made, still enabled"),
    ("populate-same-again-keeps-toxics", "the recording has a toxic here whose making was not recorded"),
    (
        "populate-same-but-enabled-false-is-ignored",
        "the recording has a toxic here whose making was not recorded",
    ),
    ("reset-with-body", "proxies that cannot listen were deleted in between without a recording"),
    ("after-reset-enabled-and-no-toxics", "follows from the case before"),
    ("reset-when-a-disabled-proxy-cannot-listen", "follows from the case before"),
    ("proxies-after-config-file", "recorded on another server, started with a config file"),
    ("metrics-enabled-no-traffic", "recorded on another server; metrics are not there yet"),
    ("metrics-while-connection-open", "recorded on another server; metrics are not there yet"),
    ("metrics-after-connection-closed", "recorded on another server; metrics are not there yet"),
    ("metrics-any-method", "recorded on another server; metrics are not there yet"),
];

#[derive(Debug, serde::Deserialize)]
struct Case {
    case: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    request_body: Option<String>,
    #[serde(default)]
    request_headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    status: u16,
    response_content_type: Option<String>,
    #[serde(default)]
    response_body: String,
    #[serde(default)]
    has_request_id_header: bool,
}

/// What may differ in every body: the accidental `Logger`, ephemeral ports, Go's decoder texts, number form.
fn normal(text: &str) -> Value {
    fn walk(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.into_iter().filter(|(name, _)| name != "Logger");
                Value::Object(kept.map(|(name, value)| (name, walk(value))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(walk).collect()),
            Value::Number(n) => n.as_f64().map_or(Value::Null, Value::from),
            Value::String(text) => {
                let text = match text.split_once("bad request body: ") {
                    Some(_) => "bad request body".to_owned(),
                    None => text,
                };
                Value::String(match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                    Some((host, Ok(30_000..))) => format!("{host}:ephemeral"),
                    _ => text,
                })
            }
            other => other,
        }
    }
    serde_json::from_str(text).map_or_else(|_| Value::String(text.to_owned()), walk)
}

#[tokio::test]
async fn every_recorded_answer_is_ours_too() {
    let _occupied = tokio::net::TcpListener::bind("127.0.0.1:26099").await.unwrap();
    let running = Running::start().await;
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut wrong = Vec::new();
    let mut same = 0;
    for line in include_str!("../../../tests/data/recordings.jsonl").lines().skip(1) {
        let case: Case = serde_json::from_str(line).unwrap();
        let method = case.method.parse::<reqwest::Method>().unwrap();
        let mut request = http.request(method, format!("http://{}{}", running.addr, case.path));
        for (name, value) in &case.request_headers {
            request = request.header(name, value);
        }
        if let Some(body) = &case.request_body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (content_type, id) = (header("content-type"), header("x-toxiproxy-request-id").is_some());
        let body = answer.text().await.unwrap();
        let fault = if status != case.status {
            Some(format!("status {status}, not {}: {body}", case.status))
        } else if content_type.is_some() && content_type != case.response_content_type {
            Some(format!("{content_type:?}, not {:?}", case.response_content_type))
        } else if id != case.has_request_id_header {
            Some(format!("request id: {id}"))
        } else if normal(&body) != normal(&case.response_body) {
            Some(format!("{body}, not {}", case.response_body))
        } else {
            None
        };
        let known = DIFFERENT.iter().any(|(name, _)| *name == case.case);
        match (fault, known) {
            (None, false) => same += 1,
            (Some(_), true) => {}
            (None, true) => wrong.push(format!("{}: is the same now, take it off the list", case.case)),
            (Some(fault), false) => {
                wrong.push(format!("{} {} {}: {fault}", case.case, case.method, case.path))
            }
        }
    }
    assert!(wrong.is_empty(), "{same} are the same, {} are not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same + DIFFERENT.len() == 174, "{same}");
}
