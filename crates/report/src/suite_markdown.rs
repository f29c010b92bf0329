//! A suite as one Markdown table: what was expected of each run beside what was measured.

use std::collections::BTreeMap;
use std::fmt::Write;

use verdict::{Bounds, Expectation, Measures, Trip, Verdict};

use crate::markdown::{cell, row};
use crate::suite::{Suite, SuiteRun};
use crate::{millis, percent};

const HEAD: &str = "\
| scenario | verdict | trip expected | measured | goodput expected | measured | failed ops expected | measured | back expected | measured |
|---|---|---|---|---|---|---|---|---|---|";
/// Of a run that was not judged.
const NOTHING: &str = "| | | | | | | | |";

/// Markdown, less than 60 kB. `verdicts` are by run folder.
pub fn suite_markdown(suite: &Suite, verdicts: &BTreeMap<String, Verdict>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, suite, verdicts);
    out
}

fn render(out: &mut String, suite: &Suite, verdicts: &BTreeMap<String, Verdict>) -> std::fmt::Result {
    writeln!(out, "# {} runs, {} at a time\n", suite.runs.len(), suite.jobs)?;
    let clients: std::collections::BTreeSet<&str> = verdicts
        .values()
        .map(|verdict| verdict.client.as_str())
        .filter(|client| !client.is_empty())
        .collect();
    for client in clients {
        row(out, &format!("Client: {}.\n", cell(client)))?;
    }
    writeln!(out, "{HEAD}")?;
    for run in &suite.runs {
        row(out, &line(run, verdicts.get(&run.dir)))?;
    }
    let mut reasons = suite.runs.iter().filter(|run| !run.reasons.is_empty()).peekable();
    if reasons.peek().is_some() {
        writeln!(out)?;
    }
    reasons.try_for_each(|run| {
        let first = run.reasons.first().map(String::as_str).unwrap_or_default();
        row(out, &format!("- {}, {}: {}", cell(&run.scenario), cell(&run.result), cell(first)))
    })
}

fn line(run: &SuiteRun, verdict: Option<&Verdict>) -> String {
    let judged = verdict.and_then(|verdict| Some((verdict.expectation.as_ref()?, &verdict.measures)));
    let sides = judged.map_or(NOTHING.to_owned(), |(expected, measured)| sides(expected, measured));
    format!("| {} | {} {sides}", cell(&run.scenario), cell(&run.result))
}

/// Expected and measured, by turns.
fn sides(expected: &Expectation, measured: &Measures) -> String {
    let trip = match expected.trip() {
        Trip::Must => format!("yes, in {}", expected.time_to_trip_ms.map_or("time".to_owned(), within)),
        Trip::May => "perhaps".to_owned(),
        Trip::MustNot => "no".to_owned(),
    };
    let trips: Vec<f64> = measured.time_to_trip_ms.values().copied().flatten().collect();
    let trips = match trips.iter().copied().reduce(f64::max) {
        None => "no".to_owned(),
        // The last of several servers'.
        Some(last) => format!("after {}", millis(Some(last))),
    };
    let goodput = expected.goodput_ratio.map_or(String::new(), |ratio| format!("{}, ", percent(ratio)));
    [
        trip,
        trips,
        format!("{goodput}at least {}", percent(expected.goodput_retained)),
        measured.goodput_retained.map_or("-".to_owned(), percent),
        format!("at most {}", percent(expected.error_share)),
        percent(measured.error_share),
        format!("within {}", millis(Some(expected.recovery_ms.most))),
        back(measured, expected.recovery_ms.most),
    ]
    .iter()
    .fold(String::new(), |out, side| out + "| " + &cell(side) + " ")
        + "|"
}

/// Breakers closed, and all as before; seconds are whole ones.
fn back(measured: &Measures, limit_ms: f64) -> String {
    let Some(closed) = measured.time_to_close_ms else { return "a breaker stays open".to_owned() };
    let shown = |ms: f64| match ms.max(closed) {
        ms if ms < 1000.0 => "in the first second".to_owned(),
        ms => millis(Some(ms)),
    };
    match (measured.time_to_recover_ms, measured.goodput_back_ms) {
        (Some(all), _) if all <= limit_ms => shown(all),
        (all, Some(goodput)) => {
            let p99 = all.map_or("not".to_owned(), |ms| millis(Some(ms)));
            format!("{}, p99 {p99}", shown(goodput))
        }
        (all, None) => all.map_or("not".to_owned(), shown),
    }
}

fn within(bounds: Bounds) -> String {
    format!("{} to {}", millis(Some(bounds.least)), millis(Some(bounds.most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(reasons: &[&str]) -> SuiteRun {
        SuiteRun {
            scenario: "a|b".to_owned(),
            dir: "d".to_owned(),
            result: if reasons.is_empty() { "PASS" } else { "ERROR" }.to_owned(),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            began_ms: 0,
            ended_ms: 1,
            job: 1,
            attempt: 1,
            stopped: None,
            rerun: false,
        }
    }

    #[test]
    fn every_run_has_a_row_of_ten_columns_whatever_came_of_it() {
        let runs = vec![run(&[]), run(&["no disk\n| x"])];
        let suite = Suite {
            v: 1,
            began_ms: 0,
            ended_ms: Some(1),
            tool_version: String::new(),
            jobs: 1,
            runs,
            repeated: Vec::new(),
        };
        let bounds = Bounds { least: 1.0, most: 2000.0 };
        let expectation = Expectation {
            trips: [("a".to_owned(), Trip::Must)].into(),
            trips_because: String::new(),
            time_to_trip_ms: Some(bounds),
            time_to_trip_because: String::new(),
            probe_cycles: None,
            probe_cycles_because: String::new(),
            goodput_ratio: Some(0.5),
            goodput_retained: 0.4,
            error_share: 0.1,
            goodput_because: String::new(),
            recovery_ms: bounds,
            recovery_because: String::new(),
        };
        let judged = Verdict { expectation: Some(expectation), ..crate::tests::hostile() };
        for verdicts in [BTreeMap::new(), BTreeMap::from([("d".to_owned(), judged)])] {
            let text = suite_markdown(&suite, &verdicts);
            let rows = || text.lines().filter(|line| line.starts_with('|'));
            assert_eq!(rows().count(), 4, "{text}");
            for row in rows() {
                let columns = row.replace("\\|", "").matches('|').count();
                assert_eq!(columns, 11, "{row}");
            }
            assert!(text.contains("ERROR: no disk"), "{text}");
        }
    }
}
