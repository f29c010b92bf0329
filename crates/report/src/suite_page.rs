//! The page of a suite: what was run, what came of it, and what ran when.

use std::collections::BTreeMap;
use std::path::Path;

use maud::{Markup, html};
use verdict::{Criterion, Verdict};

use crate::charts::{Chart, Data, Segment, Tone, bands};
use crate::html::{link, text, wall};
use crate::page::{figure, heading, page};
use crate::suite::{Suite, SuiteRun};
use crate::{PAGE, plain};

/// Criteria that say in one line what a run was about.
const TELLING: [&str; 3] = ["trips-as-expected", "goodput-retained", "recovery"];
/// Lines of one run.
const LINES_MAX: usize = 4;
/// Rows of jobs that are drawn.
const JOBS_MAX: u32 = 64;

/// HTML. `verdicts` are by run folder; `runs` is the way from the page to the folder of the run folders.
pub fn suite_page(suite: &Suite, verdicts: &BTreeMap<String, Verdict>, runs: &Path) -> String {
    let strip = strip(suite);
    let began = suite.runs.iter().map(|run| run.began_ms).min().unwrap_or(suite.began_ms);
    let ended = suite.ended_ms.or_else(|| suite.runs.iter().map(|run| run.ended_ms).max()).unwrap_or(began);
    let body = html! {
        (heading(&overall(suite), &format!("{} runs", suite.runs.len())))
        div.about {
            p.muted {
                (wall(suite.began_ms)) ", " (length(began, ended)) ", " (suite.jobs) " at a time, scenariod " (text(&suite.tool_version))
                @if suite.ended_ms.is_none() { ". The suite has not come to its end." }
            }
        }
        dl.facts { @for (name, count) in totals(suite) { div { dt { (name) } dd { (count) } } } }
        h2 { "What ran when" }
        @if suite.runs.is_empty() { p.muted { "Nothing was run." } } @else { (figure(&strip, "Runs by job", "One row for each of the runs side by side; times are UTC.")) }
        h2 { "Runs" }
        div.framed { table.stack {
            thead { tr { th { "verdict" } th { "scenario" } th { "expected" } th { "measured" } th.num { "took" } } }
            tbody { @for run in &suite.runs { (row(run, verdicts.get(&run.dir), runs)) } }
        } }
        @if !suite.repeated.is_empty() {
            h2 { "Repeated" }
            div.framed { table {
                thead { tr { th { "majority" } th { "scenario" } th { "class" } th.num { "runs" } } }
                tbody { @for repeated in &suite.repeated { tr {
                    td { (badge(&repeated.result)) }
                    td { (text(&repeated.scenario)) }
                    td { (text(&repeated.class)) }
                    td.num { (repeated.runs) }
                } } }
            } }
        }
    };
    let charts = if suite.runs.is_empty() { Vec::new() } else { vec![strip] };
    page("scenariod: a suite", &Data { charts, ..Data::default() }, &body)
}

fn row(run: &SuiteRun, verdict: Option<&Verdict>, runs: &Path) -> Markup {
    let telling = verdict.map(telling).unwrap_or_default();
    let tries = if run.attempt > 1 { format!("run {}", run.attempt) } else { String::new() };
    let height = telling.len().max(1);
    html! {
        tr {
            td rowspan=(height) { (badge(&run.result)) }
            td rowspan=(height) {
                @if run.dir.is_empty() { (text(&run.scenario)) }
                @else { a href=(link(&runs.join(&run.dir), PAGE)) { (text(&run.scenario)) } }
                @if !tries.is_empty() { " " span.muted { (tries) } }
                @if run.rerun { p.because { "Inconclusive, and run again: it does not count." } }
                @if let Some(stopped) = &run.stopped { p.because { "Stopped: " (text(stopped)) } }
            }
            @if let Some(first) = telling.first() { (cells(first)) }
            @else {
                td {}
                td data-label="measured" { @for reason in run.reasons.iter().take(LINES_MAX) { div { (text(reason)) } } }
            }
            td.num rowspan=(height) data-label="took" { (length(run.began_ms, run.ended_ms)) }
        }
        @for criterion in telling.iter().skip(1) { tr.more { (cells(criterion)) } }
    }
}

fn cells(criterion: &Criterion) -> Markup {
    html! {
        td data-label="expected" { (text(&criterion.expected)) }
        td data-label="measured" { (text(&criterion.measured)) }
    }
}

/// What went wrong; if nothing did, what the run was about.
fn telling(verdict: &Verdict) -> Vec<&Criterion> {
    let wrong: Vec<&Criterion> =
        verdict.criteria.iter().filter(|criterion| criterion.result != verdict::Ruling::Pass).collect();
    let chosen = if wrong.is_empty() {
        verdict.criteria.iter().filter(|criterion| TELLING.contains(&criterion.id)).collect()
    } else {
        wrong
    };
    chosen.into_iter().take(LINES_MAX).collect()
}

/// By the words of the record.
fn tone(result: &str) -> usize {
    match result.to_lowercase().as_str() {
        "pass" => 0,
        "inconclusive" => 2,
        other if other.starts_with("fail") || other == "wrong_data" => 1,
        _ => 3,
    }
}

fn badge(result: &str) -> Markup {
    let class = ["pass", "fail", "unsure", "void"][tone(result)];
    html! { span.badge.(class) { (text(result)) } }
}

/// The word for all runs together.
fn overall(suite: &Suite) -> Markup {
    let counted = || suite.runs.iter().filter(|run| !run.rerun);
    let worst = [1, 3, 2].into_iter().find_map(|bad| counted().find(|run| tone(&run.result) == bad));
    badge(worst.map_or(if counted().next().is_some() { "PASS" } else { "NOTHING" }, |run| &run.result))
}

fn totals(suite: &Suite) -> Vec<(String, usize)> {
    let mut totals: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for run in &suite.runs {
        *totals.entry((tone(&run.result), plain(&run.result))).or_default() += 1;
    }
    totals.into_iter().map(|((_, name), count)| (name.to_lowercase(), count)).collect()
}

fn strip(suite: &Suite) -> Chart {
    let jobs = suite.runs.iter().map(|run| run.job.clamp(1, JOBS_MAX)).max().unwrap_or(1);
    let rows = (1..=jobs).map(|job| format!("job {job}")).collect();
    let tones = vec![
        Tone { label: "pass", role: "green" },
        Tone { label: "fail", role: "open-band" },
        Tone { label: "inconclusive", role: "amber-band" },
        Tone { label: "invalid or stopped", role: "grey" },
    ];
    let segments = suite.runs.iter().map(|run| {
        let row = usize::try_from(run.job.clamp(1, jobs) - 1).unwrap_or(0);
        let said = format!("{}, {}", text(&run.scenario), text(&run.result));
        Segment(
            row,
            run.began_ms as f64,
            run.ended_ms.max(run.began_ms + 1) as f64,
            tone(&run.result),
            Some(said),
        )
    });
    let mut chart = bands("runs", rows, tones, segments.collect());
    (chart.shade, chart.sync, chart.wall) = (false, false, true);
    chart.x_title = "time, UTC".to_owned();
    chart
}

fn length(from_ms: u64, to_ms: u64) -> String {
    let seconds = std::time::Duration::from_secs(to_ms.saturating_sub(from_ms) / 1000);
    humantime::format_duration(seconds).to_string()
}
