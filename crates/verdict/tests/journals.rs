//! Journals of an earlier version are judged as they were judged then: the same result, the same criteria with the same outcomes,
//! and the same numbers. Words may change. What that version took for passed without asking is not asked now.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use observation::journal::Journal;
use serde_json::Value;

/// A run, and the criteria that its old verdict has as passed although they were not asked.
const RUNS: [(&str, &[&str]); 3] = [
    ("packet-loss-100-pct", &[]),
    ("packet-loss-10-pct", &[]),
    // No tick lies wholly within the fault, so that even its healthy ops were 0 of 0.
    ("latency-200ms-100ms", &["goodput-retained", "error-share", "healthy-isolation"]),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals").join(name)
}

fn judged_then(run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(file(&format!("{run}.verdict.json"))).unwrap()).unwrap()
}

fn judged_now(run: &str) -> Value {
    let name = format!("{run}.jsonl.zst");
    let packed = std::fs::read(file(&name)).unwrap();
    let journal = Journal::parse(&zstd::decode_all(packed.as_slice()).unwrap(), Path::new(&name)).unwrap();
    serde_json::to_value(verdict::judge(&journal)).unwrap()
}

/// Name and outcome of each criterion, in order.
fn outcomes(verdict: &Value) -> Vec<(&str, &str)> {
    let criteria = verdict["criteria"].as_array().unwrap().iter();
    criteria
        .map(|criterion| (criterion["id"].as_str().unwrap(), criterion["result"].as_str().unwrap()))
        .collect()
}

/// A criterion whose limits are others now: for late starts, and for those that never came.
const LIMITS_ARE_OTHERS: &str = "baseline";

/// The numbers in the words of each criterion that was not `moved`.
fn numbers(verdict: &Value, moved: &[&str]) -> Vec<(String, String)> {
    let digits = |text: &Value| {
        let parts =
            text.as_str().unwrap().split(|c: char| !c.is_ascii_digit() && c != '.').map(str::to_owned);
        parts.filter(|part| part.parse::<f64>().is_ok()).collect::<Vec<_>>().join(" ")
    };
    let criteria = verdict["criteria"].as_array().unwrap().iter();
    let stayed = criteria.filter(|criterion| !moved.contains(&criterion["id"].as_str().unwrap()));
    let numbers = stayed.map(|criterion| {
        let same_limits = criterion["id"] != LIMITS_ARE_OTHERS;
        let expected = if same_limits { digits(&criterion["expected"]) } else { String::new() };
        (expected, digits(&criterion["measured"]))
    });
    numbers.collect()
}

/// Everything of `then` is in `now`, but for words that explain.
fn same(path: &str, then: &Value, now: &Value) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (name, value) in then.iter().filter(|(name, _)| !name.ends_with("because")) {
                same(&format!("{path}/{name}"), value, now.get(name).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(then), Value::Array(now)) => {
            assert_eq!(then.len(), now.len(), "{path}");
            for (n, (then, now)) in then.iter().zip(now).enumerate() {
                same(&format!("{path}/{n}"), then, now);
            }
        }
        _ => assert_eq!(then, now, "{path}"),
    }
}

#[test]
fn result_criteria_and_numbers_are_those_of_then() {
    for (run, moved) in RUNS {
        let (then, now) = (judged_then(run), judged_now(run));
        for field in ["v", "run", "scenario", "result", "stopped", "given", "client", "notes"] {
            assert_eq!(then[field], now[field], "{run}: {field}");
        }
        same(&format!("{run}: measures"), &then["measures"], &now["measures"]);
        same(&format!("{run}: expectation"), &then["expectation"], &now["expectation"]);
        let mut wanted = outcomes(&then);
        wanted.retain(|(id, _)| !moved.contains(id));
        assert_eq!(outcomes(&now), wanted, "{run}");
        assert_eq!(numbers(&now, moved), numbers(&then, moved), "{run}");
        for id in moved {
            let not_asked = now["not_asked"].as_array().unwrap();
            assert!(not_asked.iter().any(|question| question["id"] == *id), "{run}: {id} in {not_asked:#?}");
        }
    }
}
