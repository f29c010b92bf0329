//! More requests than were recorded in the study: the edges of paths, bodies and listen texts. What the real server answered
//! is in `edges.jsonl`, and it is asked again where it is on `PATH`.

use std::net::SocketAddr;

use super::Running;
use super::asking::{Answer, Difference, ask, documented, judge, normal};
use super::stock::Stock;

const DIFFERENT: &[Difference] = &[
    ("after-update-bad-toxicity", "A bad field in a toxic update"),
    ("populate-trailing", "`[]` or `null` populated"),
];

#[derive(Debug, serde::Deserialize)]
struct Case {
    case: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    request_id: bool,
    nosniff: bool,
    answer: String,
}

impl Case {
    fn fault(&self, answer: &Answer) -> Option<String> {
        let got = (
            answer.status,
            answer.header("content-type"),
            answer.header("location"),
            answer.has_id(),
            answer.header("x-content-type-options") == Some("nosniff"),
        );
        let (content_type, location) = (self.content_type.as_deref(), self.location.as_deref());
        let wanted = (self.status, content_type, location, self.request_id, self.nosniff);
        if got != wanted {
            return Some(format!("{got:?}, not {wanted:?}: {}", answer.body));
        }
        let same = normal(&answer.body) == normal(&self.answer);
        (!same).then(|| format!("{}, not {}", answer.body, self.answer))
    }
}

async fn faults(addr: SocketAddr) -> Vec<(String, Option<String>)> {
    let mut faults = Vec::new();
    for line in include_str!("../../../tests/data/edges.jsonl").lines().skip(1) {
        let case: Case = serde_json::from_str(line).unwrap();
        let headers: Vec<_> =
            case.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = ask(addr, &case.method, &case.path, &headers, case.body.as_deref()).await;
        let fault = case.fault(&answer);
        faults.push((case.case, fault));
    }
    faults
}

#[tokio::test]
async fn the_edges_are_where_the_stock_server_has_them() {
    {
        let ours = Running::start().await;
        let wrong = judge(faults(ours.addr).await, DIFFERENT);
        assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
        ours.stop().await;
    }
    if let Some(stock) = Stock::start().await {
        let wrong = judge(faults(stock.addr).await, &[]);
        assert!(wrong.is_empty(), "the file is wrong about the stock server:\n{}", wrong.join("\n"));
    }
}

#[test]
fn every_difference_is_documented() {
    documented(DIFFERENT);
}
