//! Two runs of the same scenario beside each other: two clients, or two versions of one.

use std::fmt::Write;

use maud::{Markup, html};
use observation::Record;
use observation::journal::Journal;
use verdict::{Criterion, Verdict};

use crate::charts::{self, Chart, Data, Series, column, line, lines, times};
use crate::history::History;
use crate::html::text;
use crate::measures::{Measure, measures};
use crate::page::{badge, figure, heading, named, page};
use crate::{plain, recovery};

/// Length of a point at least, µs: two lines of 100 ms each hide each other.
const STEP_US: u64 = 500_000;

/// One of the two.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What was recorded.
    pub journal: &'a Journal,
    /// What it was judged to be.
    pub verdict: &'a Verdict,
}

/// Why the two cannot be compared; `None`: they can.
pub fn refusal(a: Side<'_>, b: Side<'_>) -> Option<String> {
    let (name_a, name_b) = (plain(&a.verdict.scenario), plain(&b.verdict.scenario));
    if name_a != name_b {
        return Some(format!(
            "{name_a} and {name_b} are different scenarios; --force compares them nevertheless"
        ));
    }
    let rules = |side: Side<'_>| {
        side.journal.entries.iter().find_map(|entry| match &entry.record {
            Record::Run(run) => Some((run.rules_sha256.clone(), run.phases)),
            _ => None,
        })
    };
    match (rules(a), rules(b)) {
        (Some((rules_a, _)), Some((rules_b, _))) if rules_a != rules_b => Some(format!(
            "{name_a} was not the same in both runs (its rules have different hashes); --force compares them nevertheless"
        )),
        (Some((_, phases_a)), Some((_, phases_b))) if phases_a != phases_b => Some(format!(
            "the phases of {name_a} had different lengths in the two runs; --force compares them nevertheless"
        )),
        _ => None,
    }
}

/// Criteria of both, matched by name and place among those of that name.
fn criteria<'a>(a: &'a Verdict, b: &'a Verdict) -> Vec<(Option<&'a Criterion>, Option<&'a Criterion>)> {
    let mut rest: Vec<&Criterion> = b.criteria.iter().collect();
    let mut rows = Vec::new();
    for criterion in &a.criteria {
        let place = rest.iter().position(|other| other.id == criterion.id);
        rows.push((Some(criterion), place.map(|place| rest.remove(place))));
    }
    rows.extend(rest.into_iter().map(|criterion| (None, Some(criterion))));
    rows
}

/// Measures of both, matched by name.
fn pairs(a: &Verdict, b: &Verdict) -> Vec<(String, String, String, String)> {
    let (of_a, mut of_b) = (measures(a), measures(b));
    let shown = |measure: Option<&Measure>| measure.map_or("-".to_owned(), |measure| measure.shown.clone());
    let mut rows = Vec::new();
    for one in &of_a {
        let other = of_b.iter().position(|other| other.name == one.name).map(|place| of_b.remove(place));
        let difference = one.difference(other.as_ref());
        rows.push((one.name.clone(), one.shown.clone(), shown(other.as_ref()), difference));
    }
    rows.extend(
        of_b.iter().map(|other| (other.name.clone(), "-".to_owned(), other.shown.clone(), String::new())),
    );
    rows
}

/// Plain text for a terminal.
pub fn table(a: Side<'_>, b: Side<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, a.verdict, b.verdict);
    out
}

fn render(out: &mut String, a: &Verdict, b: &Verdict) -> std::fmt::Result {
    writeln!(out, "\n{}", plain(&a.scenario))?;
    for (name, side) in [("A", a), ("B", b)] {
        writeln!(out, "  {name}  {:<18}{}  ({})", side.name(), plain(&side.client), plain(&side.run))?;
    }
    writeln!(out, "\n  {:<36}{:>18}{:>18}{:>22}", "measure", "A", "B", "B - A")?;
    for (name, of_a, of_b, difference) in pairs(a, b) {
        writeln!(out, "  {name:<36}{of_a:>18}{of_b:>18}{difference:>22}")?;
    }
    writeln!(out, "\n  {:<36}{:>18}{:>18}", "criterion", "A", "B")?;
    let result = |criterion: Option<&Criterion>| criterion.map_or("-", |criterion| criterion.result.name());
    for (of_a, of_b) in criteria(a, b) {
        let id = of_a.or(of_b).map_or("", |criterion| criterion.id);
        writeln!(out, "  {id:<36}{:>18}{:>18}", result(of_a), result(of_b))?;
    }
    writeln!(out)
}

/// HTML.
pub fn html(a: Side<'_>, b: Side<'_>) -> String {
    let histories = [a, b].map(|side| History::calmer(side.journal, STEP_US));
    let sides = [("A", a.verdict), ("B", b.verdict)];
    let mut over_time = [
        (succeeded(&histories), "Goodput", "Operations that succeeded."),
        (failed(&histories), "Errors", "Failed operations of any class."),
        (latency(&histories), "Latency", "p99, and p50 dashed; from the intended start."),
        (breakers(&histories), "Breakers", "State of each server's circuit breaker."),
    ];
    let zero = |history: &History<'_>| zero(history);
    let from = histories.iter().map(|history| -zero(history)).fold(0.0, f64::min);
    let to = histories.iter().map(|history| history.until - zero(history)).fold(0.0, f64::max);
    over_time.iter_mut().for_each(|(chart, ..)| charts::align(std::slice::from_mut(chart), from, to));
    let (phases, mut moments) = charts::marks(&histories[0], zero(&histories[0]));
    moments.extend(charts::marks(&histories[1], zero(&histories[1])).1);
    let recoveries = sides.map(|(name, verdict)| {
        let parts = &verdict.measures.recovery;
        (!parts.is_empty()).then(|| recovery::chart(&format!("recovery-{name}"), parts))
    });
    let title = if a.verdict.scenario == b.verdict.scenario {
        a.verdict.scenario.clone()
    } else {
        format!("{} / {}", a.verdict.scenario, b.verdict.scenario)
    };
    let body = html! {
        (heading(&html! { span.badge.void { "A / B" } }, &title))
        (who(&sides))
        h2 { "Over time" }
        p.muted { "Both begin with their fault, at 0 s. Shaded: the phases of A. Drag to zoom, double-click to zoom out." }
        @for (chart, title, about) in &over_time { (figure(chart, title, about)) }
        div.pair { @for (chart, (name, _)) in recoveries.iter().zip(&sides) {
            @if let Some(chart) = chart { (figure(chart, &format!("Recovery of {name}"), "")) }
        } }
        h2 { "Measures" }
        p.muted { "One run each: small differences are noise; " code { "--repeat" } " tells them from real ones." }
        div.framed { table.stack {
            thead { tr { th { "measure" } th.num { "A" } th.num { "B" } th.num { "B - A" } } }
            tbody { @for (name, of_a, of_b, difference) in pairs(a.verdict, b.verdict) { tr {
                th scope="row" { (name) }
                td.num data-label="A" { (of_a) }
                td.num data-label="B" { (of_b) }
                td.num data-label="B - A" { (difference) }
            } } }
        } }
        h2 { "Criteria" }
        (criteria_table(a.verdict, b.verdict))
    };
    let mut all: Vec<Chart> = over_time.into_iter().map(|(chart, ..)| chart).collect();
    all.extend(recoveries.into_iter().flatten());
    page(&format!("{title}: A and B"), &Data { phases, moments, charts: all }, &body)
}

fn who(sides: &[(&str, &Verdict); 2]) -> Markup {
    html! {
        div.framed.about { table.stack {
            thead { tr { th { "" } th { "verdict" } th { "client" } th { "run" } } }
            tbody { @for (name, verdict) in sides { tr {
                th scope="row" { (name) }
                td { (named(verdict)) }
                td data-label="client" { (text(&verdict.client)) }
                td.mono data-label="run" { (text(&verdict.run)) }
            } } }
        } }
    }
}

fn criteria_table(a: &Verdict, b: &Verdict) -> Markup {
    let cell = |name: &str, verdict: &Verdict, id: &str, criterion: Option<&Criterion>| {
        let not_asked = verdict.not_asked.iter().find(|question| question.id == id);
        html! { td data-label=(name) { @if let Some(criterion) = criterion {
            (badge(criterion.result))
            div { (text(&criterion.measured)) }
            p.because { "expected " (text(&criterion.expected)) }
        } @else {
            span.muted { "not asked" }
            @if let Some(question) = not_asked { p.because { (text(&question.reason)) } }
        } } }
    };
    html! {
        div.framed { table.stack {
            thead { tr { th { "criterion" } th { "A" } th { "B" } } }
            tbody { @for (of_a, of_b) in criteria(a, b) { @if let Some(either) = of_a.or(of_b) { tr {
                td { div { (text(either.title)) } code.muted { (either.id) } }
                (cell("A", a, either.id, of_a))
                (cell("B", b, either.id, of_b))
            } } } }
        } }
    }
}

/// The second of a run that both are laid on: its fault, else the phase of it.
fn zero(history: &History<'_>) -> f64 {
    history.fault_on.or(history.phases.get(&observation::PhaseKind::Testing).copied()).unwrap_or(0.0)
}

const LOOKS: [(&str, &str); 2] = [("A", "blue"), ("B", "orange")];

fn both(
    id: &str,
    y: (&str, &'static str),
    histories: &[History<'_>; 2],
    of: impl Fn(&History<'_>, &str, &'static str) -> Vec<(Series, Vec<Option<f64>>)>,
) -> Chart {
    let mut series = Vec::new();
    let tables = histories.iter().zip(LOOKS).map(|(history, (name, role))| {
        let mut table = vec![times(history, zero(history))];
        for (look, values) in of(history, name, role) {
            series.push(look);
            table.push(values);
        }
        table
    });
    let tables = tables.collect();
    let mut chart = lines(id, y, series, tables);
    chart.x_title = "seconds since the fault began".to_owned();
    chart
}

fn succeeded(histories: &[History<'_>; 2]) -> Chart {
    both("goodput", ("ops per second", "ops/s"), histories, |history, name, role| {
        let ok = column(history.points.iter().map(|point| point.rate(point.counts.ok())));
        vec![(line(name, role), ok)]
    })
}

fn failed(histories: &[History<'_>; 2]) -> Chart {
    both("errors", ("failed ops per second", "ops/s"), histories, |history, name, role| {
        let errors = column(history.points.iter().map(|point| point.rate(point.counts.errors())));
        vec![(line(name, role), errors)]
    })
}

fn latency(histories: &[History<'_>; 2]) -> Chart {
    let chart = both("latency", ("latency, ms (log)", "ms"), histories, |history, name, role| {
        let quantile = |q: f64| column(history.points.iter().map(|point| point.latency_ms(q)));
        let dashed = Series { dashed: true, thin: true, ..line(format!("{name} p50"), role) };
        vec![(line(format!("{name} p99"), role), quantile(0.99)), (dashed, quantile(0.5))]
    });
    chart.logarithmic()
}

fn breakers(histories: &[History<'_>; 2]) -> Chart {
    let rows = histories.iter().zip(LOOKS).flat_map(|(history, (name, _))| {
        history.servers.iter().map(move |server| format!("{name} {server}"))
    });
    let first = histories[0].servers.len();
    let intervals = histories.iter().zip([0, first]).flat_map(|(history, offset)| {
        history.breakers.iter().map(move |interval| (offset + interval.server, zero(history), interval))
    });
    let mut chart = charts::breakers(rows.collect(), intervals);
    chart.x_title = "seconds since the fault began".to_owned();
    chart
}
