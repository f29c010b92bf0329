//! The page of one run.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};
use observation::journal::Journal;
use verdict::{RecoveryPart, Verdict};

use crate::charts::{self, Chart, Data};
use crate::history::History;
use crate::measures::measures;
use crate::not_asked::by_reason;
use crate::page::{badge, figure, heading, named, page, tone};
use crate::{cut, dose, millis, percent, plain, recovery};

/// Notes that are shown.
const NOTES_MAX: usize = 500;
/// Characters of one text from outside.
const TEXT_MAX: usize = 2_000;
/// Characters of a whole scenario.
const SCENARIO_MAX: usize = 40_000;

/// HTML of one run: fetches nothing, and its tables need no script.
pub fn html(journal: &Journal, verdict: &Verdict) -> String {
    let history = History::read(journal);
    let (phases, moments) = charts::marks(&history, 0.0);
    let parts = verdict.measures.recovery.as_slice();
    let doses = dose::charts(verdict, &history);
    let over_time = [
        (charts::goodput(&history), "Goodput", "Operations that succeeded beside those that were offered."),
        (
            charts::errors(&history),
            "Errors by class",
            "Failed operations; nothing here is hidden by retries.",
        ),
        (charts::latency(&history), "Latency", "From the intended start: waiting counts."),
        (
            charts::breakers(history.servers.clone(), history.breakers.iter().map(|i| (i.server, 0.0, i))),
            "Breakers",
            "State of each server's circuit breaker.",
        ),
    ];
    let pools: Vec<(Chart, &String)> = history
        .servers
        .iter()
        .enumerate()
        .filter_map(|(n, name)| Some((charts::pool(&history, n)?, name)))
        .collect();
    let body = html! {
        (heading(&named(verdict), if verdict.scenario.is_empty() { "no scenario" } else { &verdict.scenario }))
        (about(&history, verdict))
        (facts(verdict))
        h2 { "Over time" }
        p.muted {
            "Shaded: the phase with the fault" @if !moments.is_empty() { "; dashed: fault on and fault off" } ". "
            "A point is " (millis(Some(history.step * 1e3))) ". Drag to zoom, double-click to zoom out."
        }
        @for (chart, title, about) in &over_time { (figure(chart, title, about)) }
        h2 { "Recovery" }
        (recovery_table(parts, verdict))
        @if !parts.is_empty() {
            (figure(&recovery::chart("recovery", parts), "What the recovery was made of", "From the moment the fault had no effect any more."))
        }
        h2 { "Criteria" }
        (criteria(verdict))
        (not_asked(verdict))
        @if !doses.is_empty() {
            h2 { "Dose" }
            p.muted { "Was the fault really given? Declared, beside what the proxy touched and what the client suffered." }
            @for figure_of in &doses { (figure(&figure_of.chart, &figure_of.title, &figure_of.about)) }
        }
        h2 { "Connections" }
        div.pair { @for (chart, name) in &pools { (figure(chart, name, "")) } }
        @if history.left_out > 0 { p.muted { (history.left_out) " more servers are not drawn." } }
        h2 { "Measures" }
        div.framed { table { tbody {
            @for row in measures(verdict) { tr { th scope="row" { (row.name) } td.num { (row.shown) } } }
        } } }
        (notes(verdict))
        h2 { "The run" }
        (run_data(&history, verdict))
    };
    let mut all: Vec<Chart> = over_time.into_iter().map(|(chart, ..)| chart).collect();
    if !parts.is_empty() {
        all.push(recovery::chart("recovery", parts));
    }
    all.extend(doses.into_iter().map(|dose| dose.chart));
    all.extend(pools.into_iter().map(|(chart, _)| chart));
    charts::align(&mut all, 0.0, history.until);
    let data = Data { phases, moments, charts: all };
    page(&format!("{} {}", verdict.name(), verdict.scenario), &data, &body)
}

fn about(history: &History<'_>, verdict: &Verdict) -> Markup {
    let described = history.run.map(|run| run.description.as_str()).unwrap_or_default();
    html! {
        div.about {
            @if !described.is_empty() { p { (text(described)) } }
            p.muted { "Client under test: " (or_unknown(&verdict.client)) }
            @for given in &verdict.given { p.muted { "What was given: " (text(given)) } }
        }
        @if !verdict.reasons.is_empty() {
            ul.reasons.(tone(verdict.result)) { @for reason in &verdict.reasons { li { (text(reason)) } } }
        }
        @if let Some(advice) = &verdict.advice {
            p { (text(advice)) }
        }
    }
}

/// The few numbers that are asked for first.
fn facts(verdict: &Verdict) -> Markup {
    let m = &verdict.measures;
    let trips = m.time_to_trip_ms.values().flatten().copied().reduce(f64::max);
    let facts = [
        ("goodput under the fault", m.goodput_retained.map_or("-".to_owned(), percent)),
        ("failed under the fault", percent(m.error_share)),
        ("time to trip", trips.map_or("no trip".to_owned(), |ms| millis(Some(ms)))),
        ("time to recover", millis(m.time_to_recover_ms)),
        ("wrong values", m.wrong_values.to_string()),
    ];
    html! { dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

fn criteria(verdict: &Verdict) -> Markup {
    html! {
        div.framed { table.stack.criteria {
            thead { tr { th { "result" } th { "criterion" } th { "expected" } th { "measured" } } }
            tbody { @for criterion in &verdict.criteria {
                tr {
                    td { (badge(criterion.result)) }
                    td {
                        div { (text(criterion.title)) }
                        code.muted { (criterion.id) }
                        p.because { (text(&criterion.because)) }
                    }
                    td data-label="expected" { (text(&criterion.expected)) }
                    td data-label="measured" { (text(&criterion.measured)) }
                }
            } }
        } }
    }
}

fn not_asked(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.not_asked.is_empty() {
            h2 { "Not asked" }
            p.muted { "Nothing is known of these, so they are not passed." }
            div.framed { table.stack {
                thead { tr { th { "criterion" } th { "because" } } }
                tbody { @for (reason, questions) in by_reason(verdict) {
                    tr {
                        td { @for question in questions {
                            div { (text(question.title)) " " code.muted { (question.id) } }
                        } }
                        td data-label="because" { (text(reason)) }
                    }
                } }
            } }
        }
    }
}

fn recovery_table(parts: &[RecoveryPart], verdict: &Verdict) -> Markup {
    html! {
        @if parts.is_empty() {
            p.muted { "No recovery was measured." }
        } @else {
            div.framed { table {
                thead { tr { th { "what came back" } th.num { "from" } th.num { "to" } th.num { "took" } } }
                tbody { @for part in parts {
                    tr {
                        th scope="row" { (text(part.name)) }
                        td.num { (millis(Some(part.from_ms))) }
                        td.num { @if part.reached { (millis(Some(part.to_ms))) } @else { "not within the run" } }
                        td.num { (millis(Some(part.to_ms - part.from_ms))) }
                    }
                } }
            } }
        }
        @if let Some(expectation) = &verdict.expectation {
            p.because { "Expected: " (text(&expectation.recovery_because)) }
        }
    }
}

fn notes(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.notes.is_empty() {
            h2 { "Notes" }
            ul.notes { @for note in verdict.notes.iter().take(NOTES_MAX) { li { (text(&note.to_string())) } } }
            @if verdict.notes.len() > NOTES_MAX { p.muted { (verdict.notes.len() - NOTES_MAX) " more are in verdict.json." } }
        }
    }
}

/// What one needs to tell this run from another, and to judge it again.
fn run_data(history: &History<'_>, verdict: &Verdict) -> Markup {
    let run = history.run;
    let mut rows: Vec<(&str, String)> = vec![("run", verdict.run.clone())];
    if let Some(run) = run {
        rows.push(("began", wall(run.wall_ms)));
        rows.push(("tool", format!("scenariod {}", run.tool_version)));
        rows.push(("faults by", run.backend.clone()));
        rows.push(("rules, SHA-256", run.rules_sha256.clone()));
    }
    if let Some(hello) = history.hello {
        let load = &hello.settings.load;
        rows.push(("load", load_text(load)));
        rows.push(("seed of the load", load.seed.to_string()));
        let servers = hello.servers.iter().take(50).map(|server| format!("{} {}", server.name, server.addr));
        rows.push(("servers", servers.collect::<Vec<_>>().join(", ")));
    }
    let settings = history.hello.and_then(|hello| serde_json::to_string_pretty(&hello.settings).ok());
    html! {
        div.framed { table.stack { tbody {
            @for (name, value) in rows { tr { th scope="row" { (name) } td.mono { (text(&value)) } } }
        } } }
        @if let Some(run) = run {
            details { summary { "Scenario" } pre { (lines_of(&run.scenario_toml)) } }
        }
        @if let Some(settings) = settings { details { summary { "Settings of the client" } pre { (lines_of(&settings)) } } }
        p.because {
            "Judge it again, from its journal alone: " code { "scenariod judge " (text(&verdict.run)) }
            ". Numbers for programs are in " code { "verdict.json" } ", everything that happened in " code { "journal.jsonl" } "."
        }
    }
}

fn load_text(load: &observation::LoadSettings) -> String {
    let kind = if load.kind == observation::LoadKind::Open { "open loop" } else { "closed loop" };
    let rate = load.rate_ops_per_s.map(|rate| format!(", {rate:.0} ops/s")).unwrap_or_default();
    format!(
        "{kind}{rate}, {} keys, workload {}, at most {} at once",
        load.keys, load.workload, load.concurrency
    )
}

/// UTC, to the second.
pub(crate) fn wall(unix_ms: u64) -> String {
    let moment = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    // humantime writes years up to 9999 only.
    let last = Duration::from_secs(253_402_300_799);
    match moment {
        Some(moment) if Duration::from_millis(unix_ms) < last => {
            humantime::format_rfc3339_seconds(moment).to_string().replace('T', " ").replace('Z', " UTC")
        }
        _ => "-".to_owned(),
    }
}

/// Text from outside, without what steers a reader's eye; maud escapes the markup in it.
pub(crate) fn text(from_outside: &str) -> String {
    cut(&plain(from_outside), TEXT_MAX)
}

/// The same, whose lines stay lines.
fn lines_of(from_outside: &str) -> String {
    cut(&from_outside.lines().map(plain).collect::<Vec<_>>().join("\n"), SCENARIO_MAX)
}

fn or_unknown(name: &str) -> String {
    if name.is_empty() { "unknown".to_owned() } else { text(name) }
}

/// Folder of a run as a relative link: no scheme, nothing but names.
pub(crate) fn link(dir: &Path, file: &str) -> String {
    let mut link = ".".to_owned();
    for part in dir.components() {
        let name = match part {
            std::path::Component::Normal(name) => name.to_string_lossy(),
            std::path::Component::ParentDir => "..".into(),
            _ => continue,
        };
        link.push('/');
        link.extend(percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC));
    }
    // Dots and dashes are harmless, and encoded ones are hard to read.
    format!("{}/{file}", link.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_"))
}
