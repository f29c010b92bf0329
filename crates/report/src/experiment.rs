//! The record of an experiment on metastable failure - cells, a grid, a bisection or a sweep - as JSON, Markdown and a page.

use std::fmt::Write;
use std::path::Path;

use maud::{Markup, html};
use serde::Serialize;
use verdict::hysteresis::Hysteresis;
use verdict::metastable::{Cell, CellState, Stability, not_recovered};

use crate::charts::{Chart, Data, column, line, lines};
use crate::html::{link, text, wall};
use crate::markdown::cell as escaped;
use crate::page::{figure, heading, page};
use crate::{PAGE, WriteError, write};

/// Version of the record's form.
pub const EXPERIMENT_VERSION: u32 = 1;
/// Its file name, beside the folders of its runs.
pub const EXPERIMENT_FILE: &str = "experiment.json";

/// Cells of the page's table up to so many characters stay on one line.
const TIGHT: usize = 11;

/// What was run, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Experiment {
    /// [`EXPERIMENT_VERSION`].
    pub v: u32,
    /// Its name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Unix milliseconds.
    pub began_ms: u64,
    /// Unix milliseconds.
    pub ended_ms: u64,
    /// False: it was stopped, and this is what was done.
    pub complete: bool,
    /// Reads of all runs that gave a value that was never written there.
    pub wrong_values: u64,
    /// Version of the tool that ran it.
    pub tool_version: String,
    /// What was found.
    pub found: Found,
}

/// By what was asked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Does it come back, and with what?
    Cells {
        /// What the unprotected cell and its control say together.
        stability: Stability,
        /// One entry a cell.
        cells: Vec<CellRuns>,
    },
    /// Where does it not come back? Rows are loads, columns are triggers, both the weakest first.
    Grid {
        /// Of each column.
        triggers: Vec<String>,
        /// Rows.
        rows: Vec<GridRow>,
    },
    /// The smallest trigger that tips it.
    Bisection {
        /// In the order in which they were tried.
        tries: Vec<Try>,
        /// Largest part of the trigger that did not tip it; absent: not found.
        holds: Option<f64>,
        /// Smallest that did; absent: not even the whole, or not found.
        tips: Option<f64>,
    },
    /// The load up, the trigger, and the load down, of each cell.
    Sweeps(Vec<Sweep>),
}

/// All runs of one cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellRuns {
    /// Its name.
    pub name: String,
    /// Requests a second.
    pub load: f64,
    /// What brings it down.
    pub trigger: String,
    /// What protects the database; empty: nothing.
    pub protection: String,
    /// What is expected of it.
    pub expected: &'static str,
    /// How long a caller waits for the database, µs.
    pub patience_us: u64,
    /// One entry a run.
    pub runs: Vec<CellRun>,
    /// Every valid run did what is expected, and most are valid.
    pub as_expected: bool,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct CellRun {
    /// Its folder, beside the record; empty: there is none.
    pub dir: String,
    /// Folders of the invalid runs in whose place it was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reruns: Vec<String>,
    /// What its journal says.
    #[serde(flatten)]
    pub cell: Cell,
}

/// One load of a grid.
#[derive(Debug, Clone, Serialize)]
pub struct GridRow {
    /// Requests a second.
    pub load: f64,
    /// By trigger, the states of its runs.
    pub states: Vec<Vec<CellState>>,
}

/// One step of a bisection.
#[derive(Debug, Clone, Serialize)]
pub struct Try {
    /// Part of the whole trigger.
    pub share: f64,
    /// What that is.
    pub trigger: String,
    /// What came of it.
    pub run: CellRun,
}

/// One cell's way up and down.
#[derive(Debug, Clone, Serialize)]
pub struct Sweep {
    /// Name of the cell.
    pub cell: String,
    /// Folder of its journal, beside the record.
    pub dir: String,
    /// What it says.
    #[serde(flatten)]
    pub found: Hysteresis,
}

/// Writes the record, `summary.md` and the page into `dir`, each whole; gives the Markdown.
pub fn write_experiment(dir: &Path, experiment: &Experiment) -> Result<String, WriteError> {
    let record = dir.join(EXPERIMENT_FILE);
    let json = serde_json::to_string_pretty(experiment)
        .map_err(|error| WriteError { path: record.clone(), error: error.into() })?;
    let markdown = experiment_markdown(experiment);
    write(&record, &json)?;
    write(&dir.join("summary.md"), &markdown)?;
    write(&dir.join(PAGE), &experiment_page(experiment))?;
    Ok(markdown)
}

/// Markdown.
pub fn experiment_markdown(experiment: &Experiment) -> String {
    let mut text = format!("## {}\n\n{}\n\n", escaped(&experiment.name), escaped(&experiment.description));
    let _ = writeln!(text, "**{}**\n", word(experiment));
    let table = table(&experiment.found);
    let _ = writeln!(text, "| {} |", table.head.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(table.head.len()));
    for row in &table.rows {
        let cells: Vec<String> = row.cells.iter().map(|cell| escaped(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    for line in &table.below {
        let _ = writeln!(text, "\n{}", escaped(line));
    }
    text.push('\n');
    text
}

/// HTML.
pub fn experiment_page(experiment: &Experiment) -> String {
    let (table, charts) = (table(&experiment.found), charts(&experiment.found));
    let linked = table.rows.iter().any(|row| !row.dirs.is_empty());
    let body = html! {
        (heading(&badge(experiment), &experiment.name))
        div.about {
            p { (text(&experiment.description)) }
            p.muted { (wall(experiment.began_ms)) " to " (wall(experiment.ended_ms)) ", scenariod " (text(&experiment.tool_version)) }
        }
        @for chart in &charts { (figure(chart, "Goodput against offered load", "Up to the trigger, and down after it.")) }
        h2 { "What was found" }
        div.framed.scroll { table.stack {
            thead { tr { @for name in &table.head { th { (text(name)) } } @if linked { th { "Runs" } } } }
            tbody { @for row in &table.rows { tr {
                @for (cell, name) in row.cells.iter().zip(&table.head) {
                    td.tight[cell.chars().count() <= TIGHT] data-label=(text(name)) { (text(cell)) }
                }
                @if linked { td data-label="Runs" { @for (n, dir) in row.dirs.iter().enumerate() { a href=(link(Path::new(dir), PAGE)) { (n + 1) } " " } } }
            } } }
        } }
        @for line in &table.below { p.because { (text(line)) } }
    };
    page(&experiment.name, &Data { charts, ..Data::default() }, &body)
}

/// The result in a word.
fn word(experiment: &Experiment) -> String {
    let word = match &experiment.found {
        Found::Cells { stability, .. } => stability.name().to_owned(),
        Found::Grid { .. } => "P(no recovery) by load and trigger".to_owned(),
        // V = 1 - the smallest trigger that tips.
        Found::Bisection { holds: Some(holds), tips: Some(tips), .. } => {
            format!("degree of vulnerability V = {:.2} to {:.2}", 1.0 - tips, 1.0 - holds)
        }
        Found::Bisection { holds: Some(_), tips: None, .. } => {
            "degree of vulnerability V = 0: the whole trigger does not tip it".to_owned()
        }
        Found::Bisection { .. } => "degree of vulnerability V not found".to_owned(),
        Found::Sweeps(_) => "hysteresis".to_owned(),
    };
    match (experiment.complete, experiment.wrong_values) {
        (true, 0) => word,
        (false, 0) => format!("STOPPED; so far: {word}"),
        (_, n) => format!("WRONG DATA: {n} values that were never written there; {word}"),
    }
}

fn badge(experiment: &Experiment) -> Markup {
    let look = match &experiment.found {
        _ if experiment.wrong_values > 0 => "fail",
        _ if !experiment.complete => "unsure",
        Found::Cells { stability: Stability::Stable, .. } => "pass",
        Found::Cells { stability: Stability::Metastable, .. } => "fail",
        Found::Cells { stability: Stability::Vulnerable | Stability::Degraded, .. } => "unsure",
        _ => "void",
    };
    html! { span.badge.(look) { (word(experiment)) } }
}

/// What is shown of a finding, as Markdown and as HTML.
#[derive(Default)]
struct Table {
    head: Vec<String>,
    rows: Vec<Row>,
    below: Vec<String>,
}

#[derive(Default)]
struct Row {
    cells: Vec<String>,
    /// Folders of the runs.
    dirs: Vec<String>,
}

fn table(found: &Found) -> Table {
    match found {
        Found::Cells { cells, .. } => of_cells(cells),
        Found::Grid { triggers, rows } => of_grid(triggers, rows),
        Found::Bisection { tries, .. } => of_bisection(tries),
        Found::Sweeps(sweeps) => of_sweeps(sweeps),
    }
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn of_cells(cells: &[CellRuns]) -> Table {
    let ramps = cells.iter().any(|cell| cell.runs.iter().any(|run| run.cell.after_ramp.is_some()));
    let mut head = heads(&[
        "",
        "Cell",
        "Load",
        "Trigger",
        "Protection",
        "Expected",
        "Recovered",
        "End goodput",
        "Back after",
        "Queries a request, before → end",
        "Hit ratio, before → end",
        "Oldest query / patience",
    ]);
    head.extend(ramps.then(|| "After relief and ramp".to_owned()));
    let rows = cells.iter().map(|cell| of_cell(cell, ramps)).collect();
    let all = cells.iter().flat_map(|cell| cell.runs.iter().map(move |run| (cell, run)));
    // A run that could not begin has no folder.
    let named = |dir: &str| if dir.is_empty() { "a run without a folder".to_owned() } else { dir.to_owned() };
    let below = all.flat_map(move |(cell, run)| {
        let (name, dir) = (&cell.name, named(&run.dir));
        let why = run.cell.why.as_ref().map(|why| format!("{name}: {dir} is invalid: {why}."));
        let again = (!run.reruns.is_empty()).then(|| {
            let reruns: Vec<String> = run.reruns.iter().map(|dir| named(dir)).collect();
            format!("{name}: {dir} stands for {}, which was invalid.", reruns.join(", "))
        });
        why.into_iter().chain(again)
    });
    Table { head, rows, below: below.collect() }
}

fn of_cell(cell: &CellRuns, ramps: bool) -> Row {
    let states: Vec<CellState> = cell.runs.iter().map(|run| run.cell.state).collect();
    let (not, valid) = not_recovered(&states);
    let invalid = match states.len() - valid {
        0 => String::new(),
        n => format!(" ({n} invalid)"),
    };
    let valid_runs: Vec<&Cell> =
        cell.runs.iter().map(|run| &run.cell).filter(|run| run.state != CellState::Invalid).collect();
    let span = |value: &dyn Fn(&Cell) -> f64| span(valid_runs.iter().map(|run| value(run)));
    let back = valid_runs.iter().filter(|run| run.state == CellState::Recovered).map(|run| run.recovery_s);
    let back: Vec<u64> = back.flatten().collect();
    let not_back = match valid_runs.len() - back.len() {
        0 => String::new(),
        n => format!(" ({n} never)"),
    };
    let back = match (back.iter().min(), back.iter().max()) {
        (Some(min), Some(max)) if min == max => format!("{min} s{not_back}"),
        (Some(min), Some(max)) => format!("{min}-{max} s{not_back}"),
        _ => "never".to_owned(),
    };
    let mut cells = vec![
        if cell.as_expected { "✓" } else { "✗" }.to_owned(),
        cell.name.clone(),
        format!("{}/s", cell.load),
        cell.trigger.clone(),
        if cell.protection.is_empty() { "none".to_owned() } else { cell.protection.clone() },
        cell.expected.to_owned(),
        format!("{} of {valid}{invalid}", valid - not),
        span(&|run| run.end),
        back,
        format!(
            "{} → {}",
            span(&|run| run.queries_per_request.before),
            span(&|run| run.queries_per_request.after)
        ),
        format!("{} → {}", span(&|run| run.hit_ratio.before), span(&|run| run.hit_ratio.after)),
        span(&|run| run.oldest_us as f64 / cell.patience_us.max(1) as f64),
    ];
    if ramps {
        cells.push(self::span(valid_runs.iter().filter_map(|run| run.after_ramp)));
    }
    let dirs = cell.runs.iter().map(|run| run.dir.clone()).filter(|dir| !dir.is_empty());
    Row { cells, dirs: dirs.collect() }
}

fn of_grid(triggers: &[String], rows: &[GridRow]) -> Table {
    let mut head = heads(&["Load"]);
    head.extend(triggers.iter().cloned());
    let rows = rows.iter().map(|row| {
        let shares = row.states.iter().map(|states| match not_recovered(states) {
            (_, 0) => "invalid".to_owned(),
            (not, valid) => format!("{:.2} ({not} of {valid})", not as f64 / valid as f64),
        });
        let cells = std::iter::once(format!("{:.0}/s", row.load)).chain(shares).collect();
        Row { cells, dirs: Vec::new() }
    });
    Table { head, rows: rows.collect(), below: Vec::new() }
}

fn of_bisection(tries: &[Try]) -> Table {
    let rows = tries.iter().map(|one| Row {
        cells: vec![
            format!("{:.3}", one.share),
            one.trigger.clone(),
            one.run.cell.state.name().to_owned(),
            format!("{:.2}", one.run.cell.end),
        ],
        dirs: vec![one.run.dir.clone()],
    });
    let head = heads(&["Part of the trigger", "Trigger", "Became", "End goodput"]);
    Table { head, rows: rows.collect(), below: Vec::new() }
}

fn of_sweeps(sweeps: &[Sweep]) -> Table {
    let head = heads(&["Cell", "Load", "Goodput before the trigger", "After it, on the way down"]);
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.2}"));
    let rows = sweeps.iter().flat_map(|sweep| {
        sweep.found.steps.iter().map(|step| Row {
            cells: vec![sweep.cell.clone(), format!("{:.0}/s", step.rate), share(step.up), share(step.down)],
            dirs: Vec::new(),
        })
    });
    let below = sweeps.iter().map(|sweep| format!("{}: {}.", sweep.cell, of_sweep(&sweep.found)));
    Table { head, rows: rows.collect(), below: below.collect() }
}

/// In a line.
pub fn of_sweep(found: &Hysteresis) -> String {
    let Hysteresis { steps, healthy, recovers, unmeasured, void, .. } = found;
    let least = steps.first().map_or(f64::NAN, |step| step.rate);
    match (healthy, recovers, unmeasured, void) {
        (.., Some(why)) => format!("no hysteresis index: {why}"),
        (.., Some(rate), None) => format!("no hysteresis index: the step of {rate:.0}/s was not measured"),
        (Some(healthy), Some(recovers), None, None) => format!(
            "healthy up to {healthy:.0}/s, comes back at {recovers:.0}/s: hysteresis index H = {:.1}",
            healthy / recovers
        ),
        (Some(healthy), None, None, None) => format!(
            "healthy up to {healthy:.0}/s, and not back even at {least:.0}/s: hysteresis index H above {:.1}",
            healthy / least
        ),
        (None, _, None, None) => "no hysteresis index: it was not healthy at the lowest load".to_owned(),
    }
}

/// Least and most, if they differ.
fn span(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let (min, max) = values.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), v| (a.min(*v), b.max(*v)));
    let (min, max) = (format!("{min:.2}"), format!("{max:.2}"));
    match values.len() {
        0 => "-".to_owned(),
        _ if min == max => min,
        _ => format!("{min}-{max}"),
    }
}

/// Goodput against offered load, one chart a sweep.
fn charts(found: &Found) -> Vec<Chart> {
    let Found::Sweeps(sweeps) = found else { return Vec::new() };
    let charts = sweeps.iter().enumerate().map(|(n, sweep)| {
        let steps = &sweep.found.steps;
        let rates = || column(steps.iter().map(|step| Some(step.rate)));
        let goodput = |of: fn(&verdict::hysteresis::LoadStep) -> Option<f64>| {
            column(steps.iter().map(|step| of(step).map(|share| share * step.rate)))
        };
        let table = vec![rates(), goodput(|step| step.up), goodput(|step| step.down), rates()];
        let series = vec![
            line(format!("{}, up", sweep.cell), "blue"),
            line("down, after the trigger", "orange"),
            crate::charts::Series { dashed: true, thin: true, ..line("all", "grey") },
        ];
        let mut chart = lines(format!("sweep{n}"), ("good, requests per second", "/s"), series, vec![table]);
        (chart.x_title, chart.shade, chart.sync) = ("offered, requests per second".to_owned(), false, false);
        chart
    });
    charts.collect()
}

#[cfg(test)]
mod tests {
    use verdict::BeforeAfter;
    use verdict::hysteresis::LoadStep;

    use super::*;

    fn run(state: CellState, why: Option<&str>) -> CellRun {
        let cell = Cell {
            state,
            why: why.map(str::to_owned),
            baseline: 1.0,
            end: 0.1,
            slope_per_s: 0.0,
            recovery_s: None,
            hit_ratio: BeforeAfter { before: 1.0, after: 0.1 },
            queries_per_request: BeforeAfter { before: 3.0, after: 3.0 },
            oldest_us: 400_000,
            after_ramp: None,
            wrong_values: 0,
        };
        CellRun { dir: "unprotected-1".to_owned(), reruns: Vec::new(), cell }
    }

    fn experiment(found: Found) -> Experiment {
        Experiment {
            v: EXPERIMENT_VERSION,
            name: "fast".to_owned(),
            description: "About <b>.".to_owned(),
            began_ms: 1_000,
            ended_ms: 2_000,
            complete: true,
            wrong_values: 0,
            tool_version: "1".to_owned(),
            found,
        }
    }

    #[test]
    fn cells_have_a_line_each_and_an_invalid_run_says_why() {
        let row = CellRuns {
            name: "unprotected".to_owned(),
            load: 1_000.0,
            trigger: "flush of 100 %".to_owned(),
            protection: String::new(),
            expected: "stays down",
            patience_us: 200_000,
            runs: vec![run(CellState::Stuck, None), run(CellState::Invalid, Some("the load | was not back"))],
            as_expected: true,
        };
        let found = experiment(Found::Cells { stability: Stability::Metastable, cells: vec![row] });
        let text = experiment_markdown(&found);
        let line = "| ✓ | unprotected | 1000/s | flush of 100 % | none | stays down | 0 of 1 (1 invalid) | 0.10 | never | 3.00 → 3.00 | 1.00 → 0.10 | 2.00 |\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("**METASTABLE**") && text.contains("is invalid: the load"), "{text}");
        let page = experiment_page(&found);
        assert!(page.contains("href=\"./unprotected-1/report.html\"") && !page.contains("<b>"), "{page}");
        let stopped = experiment_markdown(&Experiment { complete: false, ..found.clone() });
        assert!(stopped.contains("**STOPPED; so far: METASTABLE**"));
        let wrong = experiment_markdown(&Experiment { wrong_values: 2, ..found });
        assert!(wrong.contains("**WRONG DATA: 2 values that were never written there; METASTABLE**"));
    }

    #[test]
    fn a_grid_has_the_share_of_the_valid_runs_that_did_not_recover() {
        let states = vec![
            vec![CellState::Stuck, CellState::Degraded, CellState::Recovered, CellState::Invalid],
            vec![CellState::Invalid],
        ];
        let rows = vec![GridRow { load: 500.0, states }];
        let triggers = vec!["flush of 50 %".to_owned(), "flush of 100 %".to_owned()];
        let text = experiment_markdown(&experiment(Found::Grid { triggers, rows }));
        assert!(text.contains("| 500/s | 0.67 (2 of 3) | invalid |"), "{text}");
    }

    #[test]
    fn a_bisection_and_a_sweep_say_what_they_found_in_a_line() {
        let tries =
            vec![Try { share: 0.25, trigger: "flush of 25 %".to_owned(), run: run(CellState::Stuck, None) }];
        let text =
            experiment_markdown(&experiment(Found::Bisection { tries, holds: Some(0.2), tips: Some(0.25) }));
        assert!(text.contains("**degree of vulnerability V = 0.75 to 0.80**"), "{text}");
        assert!(text.contains("| 0.250 | flush of 25 % | stuck | 0.10 |"), "{text}");

        let steps = vec![
            LoadStep { rate: 100.0, up: Some(1.0), down: Some(0.99) },
            LoadStep { rate: 1_000.0, up: Some(1.0), down: None },
        ];
        let found = Hysteresis {
            steps,
            healthy: Some(1_000.0),
            recovers: Some(100.0),
            unmeasured: None,
            void: None,
            wrong_values: 0,
        };
        let never = Hysteresis { recovers: None, ..found.clone() };
        let sweep = |cell: &str, found| Sweep { cell: cell.to_owned(), dir: "x".to_owned(), found };
        let found = experiment(Found::Sweeps(vec![sweep("a", found), sweep("b", never)]));
        let text = experiment_markdown(&found);
        assert!(text.contains("comes back at 100/s: hysteresis index H = 10.0."), "{text}");
        assert!(text.contains("not back even at 100/s: hysteresis index H above 10.0."), "{text}");
        assert!(text.contains("| a | 1000/s | 1.00 | - |"), "{text}");
        assert!(experiment_page(&found).contains("data-chart=\"sweep1\""));
    }
}
