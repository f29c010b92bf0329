//! The page of an overload test: what was asked for, what came of it, and in which phase.

use capacity::{Done, Measured, Phase, Transition};
use maud::{Markup, html};

use crate::charts::{self, Chart, Data, Segment, Series, Tone, bands, column, line, lines, round};
use crate::page::{figure, heading, page};
use crate::{cut, plain};

/// Steps that the table shows; all of them are in the CSV.
const ROWS_MAX: usize = 500;
/// Characters of the summary.
const SUMMARY_MAX: usize = 40_000;

/// What the page is made of.
#[derive(Debug, Clone, Copy)]
pub struct OverloadRun<'a> {
    /// What was tested.
    pub target: &'a str,
    /// Was it made to its end?
    pub complete: bool,
    /// Every step, in order.
    pub steps: &'a [Done],
    /// Every change of the phase; the last one is the end.
    pub transitions: &'a [Transition],
    /// `test_summary.txt`.
    pub summary: &'a str,
}

/// HTML of one test: fetches nothing, and its tables need no script.
pub fn overload(run: &OverloadRun<'_>) -> String {
    let over_time = [
        (
            workload(run.steps),
            "Throughput and workload",
            "What succeeded each second, and what each step asked for.",
        ),
        (latency(run.steps), "Latency", "Of each step, from the intended start: waiting counts."),
        (errors(run.steps), "Errors", "Failed operations, each second."),
        (phases(run.transitions), "Phases", "Where the test was."),
    ];
    let body = html! {
        (heading(&badge(run.complete), "Gradual overload"))
        div.about { p.muted { "Target: " (plain(run.target)) } }
        h2 { "Over time" }
        p.muted { "Shaded by phase; gaps are load that was made and not measured. Drag to zoom, double-click to zoom out." }
        @for (chart, title, about) in &over_time { (figure(chart, title, about)) }
        h2 { "What was found" }
        pre { (summary(run.summary)) }
        h2 { "Steps" }
        (table(run.steps))
        p.because {
            "The same for programs: " code { "gradual_overload_metrics.csv" } " and " code { "phase_transitions.csv" } "; "
            code { "visualize.py" } " draws them."
        }
    };
    let mut charts: Vec<Chart> = over_time.into_iter().map(|(chart, ..)| chart).collect();
    let until = run.transitions.iter().map(|at| at.at_s).fold(0.0, f64::max);
    charts::align(&mut charts, 0.0, until);
    page("Gradual overload", &Data { phases: shades(run.transitions), moments: Vec::new(), charts }, &body)
}

fn badge(complete: bool) -> Markup {
    let (look, word) = if complete { ("pass", "COMPLETE") } else { ("unsure", "STOPPED") };
    html! { span.badge.(look) { (word) } }
}

/// Lines stay lines.
fn summary(text: &str) -> String {
    cut(&text.lines().map(plain).collect::<Vec<_>>().join("\n"), SUMMARY_MAX)
}

/// A number of each step, over the whole step, and a gap before the next.
fn by_step(steps: &[Done], number: impl Fn(&Done) -> f64) -> Vec<Option<f64>> {
    column(steps.iter().flat_map(|done| {
        let value = Some(number(done));
        [value, value, None]
    }))
}

/// The times that belong to them.
fn step_times(steps: &[Done]) -> Vec<Option<f64>> {
    column(steps.iter().flat_map(|done| {
        let end = done.at_s + done.measured.seconds;
        [Some(done.at_s), Some(end - 0.002), Some(end - 0.001)]
    }))
}

/// A number of each second, and a gap after each step.
fn by_second(steps: &[Done], number: impl Fn(&capacity::Second) -> u64) -> Vec<Vec<Option<f64>>> {
    let points = steps.iter().flat_map(|done| {
        let seconds = done.measured.per_second.iter().enumerate();
        let points = seconds.map(|(n, second)| (done.at_s + n as f64 + 0.5, Some(number(second) as f64)));
        let end = done.at_s + done.measured.seconds - 0.001;
        points.chain([(end, None)]).collect::<Vec<_>>()
    });
    let (times, values): (Vec<_>, Vec<_>) = points.unzip();
    vec![column(times.into_iter().map(Some)), column(values.into_iter())]
}

fn workload(steps: &[Done]) -> Chart {
    let series = vec![
        Series { filled: true, ..line("succeeded", "blue") },
        Series { thin: true, dashed: true, ..line("asked for", "grey") },
    ];
    let asked = vec![step_times(steps), by_step(steps, |done| done.order.rate)];
    let tables = vec![by_second(steps, |second| second.ok), asked];
    lines("workload", ("ops per second", "ops/s"), series, tables)
}

fn latency(steps: &[Done]) -> Chart {
    // A logarithmic axis has no 0.
    let of = |number: fn(&Measured) -> f64| by_step(steps, |done| number(&done.measured).max(0.001));
    let table = vec![step_times(steps), of(|m| m.avg_ms), of(|m| m.p99_ms), of(|m| m.max_ms)];
    let series = vec![line("mean", "blue"), line("p99", "orange"), line("max", "grey")];
    lines("latency", ("latency, ms (log)", "ms"), series, vec![table]).logarithmic()
}

fn errors(steps: &[Done]) -> Chart {
    let tables = vec![by_second(steps, |second| second.errors)];
    lines("errors", ("failed ops per second", "ops/s"), vec![line("failed", "orange")], tables)
}

/// How a phase looks: its shade, and the colour of its band.
fn look(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Init | Phase::Warmup | Phase::GeneratorCheck => ("before", "closed-band"),
        Phase::LoadIncrease | Phase::Ramp => ("load", "amber"),
        Phase::Bisection | Phase::Confirmation => ("after", "sky"),
        Phase::Failure | Phase::Overload => ("fault", "open-band"),
        Phase::Mitigation | Phase::Recovery | Phase::Mirror => ("relief", "green"),
    }
}

/// Each phase with its begin and end.
fn intervals(transitions: &[Transition]) -> impl Iterator<Item = (Phase, f64, f64)> {
    let ends = transitions.iter().skip(1);
    transitions.iter().zip(ends).filter_map(|(at, next)| Some((at.to?, round(at.at_s), round(next.at_s))))
}

fn shades(transitions: &[Transition]) -> Vec<charts::Phase> {
    let shade = |(phase, from, to): (Phase, f64, f64)| charts::Phase {
        label: phase.name(),
        from,
        to,
        tone: look(phase).0,
    };
    intervals(transitions).map(shade).collect()
}

fn phases(transitions: &[Transition]) -> Chart {
    let tones = Phase::ALL.iter().map(|phase| Tone { label: phase.name(), role: look(*phase).1 }).collect();
    let at = |phase: Phase| Phase::ALL.iter().position(|other| *other == phase).unwrap_or(0);
    let segments = intervals(transitions).filter(|(_, from, to)| from < to);
    let segments = segments.map(|(phase, from, to)| Segment(0, from, to, at(phase), None)).collect();
    bands("phases", vec!["phase".to_owned()], tones, segments)
}

fn table(steps: &[Done]) -> Markup {
    html! {
        div.framed { table {
            thead { tr {
                th { "phase" } th.num { "asked for" } th.num { "done" } th.num { "mean" } th.num { "p99" } th.num { "max" }
                th.num { "failed" } th { "result" }
            } }
            tbody { @for done in steps.iter().take(ROWS_MAX) {
                @let m = &done.measured;
                tr {
                    td { (done.order.phase.name()) @if !m.complete { " (cut short)" } }
                    td.num { (format!("{:.1}/s", done.order.rate)) }
                    td.num { (format!("{:.1}/s", m.throughput())) }
                    td.num { (format!("{:.2} ms", m.avg_ms)) }
                    td.num { (format!("{:.2} ms", m.p99_ms)) }
                    td.num { (format!("{:.1} ms", m.max_ms)) }
                    td.num { (m.errors) }
                    td { (done.judged.0) ": " (plain(&done.judged.1)) }
                }
            } }
        } }
        @if steps.len() > ROWS_MAX { p.muted { (steps.len() - ROWS_MAX) " more are in the CSV." } }
    }
}
