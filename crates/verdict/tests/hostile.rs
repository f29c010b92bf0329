//! The judge reads what others wrote: whatever a journal holds, it gives a verdict and never a pass for what was not seen.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;

use observation::journal::Journal;
use proptest::prelude::*;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000;
/// Seconds of the three phases.
const STABLE: u64 = 3;
const FAULT: u64 = 2;
const RECOVERY: u64 = 3;

fn hello() -> Value {
    json!({"type": "hello", "v": 1, "client": {"name": "c", "version": "1"}, "instance": "1", "at_us": 0, "wall_ms": 0,
        "servers": [{"name": "a", "addr": "a:1"}, {"name": "b", "addr": "b:1"}],
        "settings": {"driver": "d", "op_timeout_ms": 250, "connect_timeout_ms": 250, "pool_max": 8,
            "pool_max_waiting": 8, "retries": 1,
            "breaker": {"consecutive_timeouts": 5, "ratio": {"failure_ratio": 0.5, "window_ms": 1000, "min_calls": 20},
                "slow": {"threshold_ms": 50, "share": 0.8, "window_ms": 1000, "min_calls": 20},
                "trip_on_refused": true, "open_ms": 500, "open_max_ms": 900, "ramp_ms": 5, "open_jitter": 0.2,
                "half_open_probes": 1, "successes_to_close": 3},
            "routing": {"on_open": "failover", "failover_ttl_ms": 1000, "max_ejected": 1},
            "load": {"kind": "open", "arrivals": "poisson", "rate_ops_per_s": 200.0, "concurrency": 9,
                "workload": "w", "keys": 9, "seed": 1}}})
}

fn tick(at_us: u64) -> Value {
    let server = |name: &str| {
        json!({"server": name, "ops": {"hit": 9, "timeout": 1}, "attempts": {"hit": 9, "timeout": 1},
            "bytes_in": 9, "bytes_out": 9, "latency": [[200, 9], [250_000, 1]], "service": [[200, 9], [250_000, 1]],
            "in_flight": 1, "pool": {"total": 2, "active": 1, "idle": 1, "waiting": 0}, "breaker": "closed"})
    };
    json!({"type": "tick", "at_us": at_us, "period_us": 500_000, "offered": 20, "started": 20, "late": 0,
        "late_1ms": 0, "dropped": 0, "lag": [[10, 20]], "servers": [server("a"), server("b")]})
}

fn fault(at_us: u64, state: &str) -> Value {
    json!({"type": "fault", "at_us": at_us, "id": "f", "state": state, "target": "p", "server": "a", "meaning": "loss",
        "given": "loss", "params": {"loss": 1.0}, "lease_until_us": 9, "error": null})
}

/// A small whole journal, one value a line.
fn journal() -> Vec<Value> {
    let (on, off) = (STABLE * SECOND, (STABLE + FAULT) * SECOND);
    let end = off + RECOVERY * SECOND;
    let phase = |at_us: u64, phase: &str| json!({"type": "phase", "at_us": at_us, "phase": phase});
    let event =
        |at_us: u64, event: Value| json!({"type": "event", "at_us": at_us, "server": "a", "event": event});
    let breaker = |from: &str, to: &str| json!({"kind": "breaker", "from": from, "to": to, "reason": "r"});
    let mut records = vec![
        json!({"type": "run", "v": 1, "run": "r", "scenario": "s", "suite": "s", "description": "d", "scenario_toml": "",
            "rules_sha256": "", "phases": {"stabilization_ms": 3000, "testing_ms": 2000, "recovery_ms": 3000},
            "wall_ms": 1, "tool_version": "1", "backend": "b"}),
        hello(),
        phase(0, "stabilization"),
        phase(on, "testing"),
        fault(on, "sent"),
        fault(on + 100, "acknowledged"),
        event(on + 300_000, breaker("closed", "open")),
        event(on + 900_000, json!({"kind": "probe", "outcome": "timeout", "took_us": 250_000})),
        event(on + 950_000, json!({"kind": "dial", "ok": false, "took_us": 250_000, "error": "e"})),
        event(on + 960_000, json!({"kind": "overload", "missed": 1, "offered": 9, "lag_p99_us": 9})),
        fault(off, "removing"),
        fault(off + 100, "lifted"),
        phase(off, "recovery"),
        fault(off + 200, "removed"),
        event(off + 300_000, breaker("open", "closed")),
        json!({"type": "host", "at_us": off, "period_us": SECOND, "cpu": {"some_us": 1, "full_us": 1}, "suspended_us": 1}),
        json!({"type": "gap", "from_us": off, "to_us": off + 1, "reason": "r"}),
        json!({"type": "note", "at_us": off, "code": "c", "text": "t"}),
    ];
    records.extend((1..=2 * (STABLE + FAULT + RECOVERY)).map(|n| tick(n * SECOND / 2)));
    records.extend((0..STABLE + FAULT).map(|n| {
        let took = (n < STABLE).then_some(200);
        json!({"type": "canary", "at_us": n * SECOND + 500, "target": "p", "server": "a", "took_us": took, "error": null})
    }));
    records.extend((1..=STABLE + FAULT).map(|n| {
        json!({"type": "dose", "at_us": n * SECOND, "period_us": SECOND, "target": "p", "links": 1, "links_touched": 1,
            "chunks": 9, "chunks_touched": 9, "bytes": 9, "bytes_touched": 9})
    }));
    records.push(json!({"type": "end", "at_us": end, "status": "completed", "reason": null, "clean": true}));
    let of_the_client = ["hello", "tick", "event", "host"];
    let entries = records.into_iter().map(|record| {
        let source =
            if of_the_client.contains(&record["type"].as_str().unwrap()) { "client" } else { "runner" };
        json!({"at_us": record["at_us"].as_u64().unwrap_or(0), "source": source, "record": record})
    });
    entries.collect()
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Judged, if it can be read at all.
fn judge(text: &[u8]) -> Option<verdict::Verdict> {
    let journal = Journal::parse(text, Path::new("j")).ok()?;
    Some(verdict::judge(&journal))
}

/// All numbers of a value, to be changed.
fn numbers<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(values) => values.iter_mut().for_each(|value| numbers(value, found)),
        Value::Object(object) => object.values_mut().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

fn extreme() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(u32::MAX)),
        Just(json!(u64::MAX)),
        Just(json!(u64::MAX - 1)),
        Just(json!(1u64 << 63)),
        Just(json!(1e300)),
        any::<u64>().prop_map(|n| json!(n)),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    /// The n-th number of a line becomes another.
    Number(prop::sample::Index, prop::sample::Index, Value),
    /// All numbers of a line become another.
    Numbers(prop::sample::Index, Value),
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Garbage(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let line = any::<prop::sample::Index>;
    prop_oneof![
        4 => (line(), line(), extreme()).prop_map(|(line, n, value)| Change::Number(line, n, value)),
        2 => (line(), extreme()).prop_map(|(line, value)| Change::Numbers(line, value)),
        1 => line().prop_map(Change::Remove),
        1 => line().prop_map(Change::Repeat),
        1 => (line(), line()).prop_map(|(a, b)| Change::Swap(a, b)),
        1 => line().prop_map(Change::Garbage),
    ]
}

fn apply(change: Change, lines: &mut Vec<Value>) {
    match change {
        Change::Number(line, n, to) => {
            let mut found = Vec::new();
            numbers(line.get_mut(lines), &mut found);
            if !found.is_empty() {
                **n.get_mut(&mut found) = to;
            }
        }
        Change::Numbers(line, to) => {
            let mut found = Vec::new();
            numbers(line.get_mut(lines), &mut found);
            found.into_iter().for_each(|number| *number = to.clone());
        }
        Change::Remove(line) => {
            lines.remove(line.index(lines.len()));
        }
        Change::Repeat(line) => {
            let again = line.get(lines).clone();
            lines.push(again);
        }
        Change::Swap(a, b) => {
            let n = lines.len();
            lines.swap(a.index(n), b.index(n));
        }
        Change::Garbage(line) => *line.get_mut(lines) = json!("garbage"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_journal_makes_the_judge_panic(changes in prop::collection::vec(change(), 1..6)) {
        let mut lines = journal();
        changes.into_iter().for_each(|change| apply(change, &mut lines));
        judge(text(&lines).as_bytes());
    }
}

#[test]
fn a_journal_cut_at_any_byte_is_judged_or_refused_and_never_passes() {
    let whole = text(&journal());
    let ends = whole.len() - 1;
    let judged = (0..ends).filter_map(|end| judge(&whole.as_bytes()[..end])).inspect(|verdict| {
        assert_ne!(verdict.result, verdict::Ruling::Pass);
    });
    assert!(judged.count() > ends / 2);
}

#[test]
fn a_bad_line_in_the_middle_makes_no_pass_and_says_which() {
    let mut lines = journal();
    let middle = lines.len() / 2;
    lines[middle] = json!("garbage");
    let verdict = judge(text(&lines).as_bytes()).unwrap();
    assert_ne!(verdict.result, verdict::Ruling::Pass);
    let observed = verdict.criteria.iter().find(|criterion| criterion.id == "observed").unwrap();
    assert_eq!(observed.result, verdict::Ruling::Inconclusive, "{observed:?}");
}
