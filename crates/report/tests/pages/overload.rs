//! The page of an overload test.

use capacity::{Done, Gradual, GradualParams, Measured, Plan, Second, Transition};
use report::{OverloadRun, overload};

use crate::browser::{Browser, Look};
use crate::{file, inspect};

/// A server that serves 400/s; the last step is cut short by `until`.
fn page(until: usize, text: &str) -> String {
    let mut plan = Gradual::new(GradualParams::default());
    let (mut steps, mut transitions, mut at_s, mut phase) = (Vec::new(), Vec::new(), 0.0, None);
    let change = |at_s: f64, from, to| {
        let because = text.to_owned();
        Transition { at_s, unix_ms: 1_795_278_263_000, from, to, rate: 50.0, because }
    };
    while let Some(order) = plan.next().filter(|_| steps.len() < until) {
        if phase != Some(order.phase) {
            transitions.push(change(at_s, phase, Some(order.phase)));
            phase = Some(order.phase);
        }
        let ok = order.rate.min(400.0) as u64;
        let avg_ms = if order.rate > 400.0 { 220.0 } else { 1.5 };
        let errors = order.rate as u64 - ok;
        let measured = Measured {
            seconds: 10.0,
            offered: order.rate as u64 * 10,
            ok: ok * 10,
            errors: errors * 10,
            avg_ms,
            p99_ms: avg_ms * 3.0,
            max_ms: avg_ms * 5.0,
            per_second: vec![Second { ok, errors, avg_ms }; 10],
            complete: true,
            ..Measured::default()
        };
        plan.ended(&measured);
        steps.push(Done { order, at_s, measured, judged: ("pass", text.to_owned()) });
        at_s += 10.0;
    }
    transitions.push(change(at_s, phase, None));
    overload(&OverloadRun {
        target: text,
        complete: true,
        steps: &steps,
        transitions: &transitions,
        summary: text,
    })
}

#[test]
fn an_overload_test_is_drawn_in_any_look_and_fetches_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("overload.html");
    std::fs::write(&path, page(100, "Critical failure point: 450.0 ops/s")).unwrap();
    // Workload, latency, errors, phases.
    inspect(&mut browser, &path, 4);
}

#[test]
fn an_overload_test_that_ended_early_has_a_page_and_its_texts_stay_texts() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    for until in [0, 1, 7] {
        let path = dir.path().join("overload.html");
        std::fs::write(&path, page(until, "</script><img src=x onerror=document.title='bad'>")).unwrap();
        browser.visit(&file(&path), Look { dark: false, width: 1200 });
        assert_eq!(browser.complaints, Vec::<String>::new(), "{until} steps");
        assert_eq!(browser.evaluate("document.title"), "Gradual overload");
        assert_eq!(browser.evaluate("document.images.length"), 0);
    }
}
