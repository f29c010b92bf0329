//! The verdict for a pull-request comment: what is wrong first, the rest folded.

use std::fmt::Write;

use verdict::{Criterion, Ruling, Verdict};

use crate::measures::measures;
use crate::not_asked::{by_reason, names};
use crate::{cut, plain};

/// Characters of one text: a comment of a pull request has 65 536 at most.
const TEXT_MAX: usize = 300;
/// Bytes after which no row is begun.
const ENOUGH: usize = 45_000;

/// Markdown, less than 60 kB.
pub fn markdown(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, verdict);
    out
}

/// Text from outside on one line, where nothing in it is Markdown or HTML, names a person or becomes a link.
pub(crate) fn cell(text: &str) -> String {
    let mut out = String::new();
    let text = cut(plain(text).trim(), TEXT_MAX);
    for (at, c) in text.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A zero-width space behind it: no mention, no reference.
            '@' => out.push_str("@\u{200b}"),
            '#' => out.push_str("\\#\u{200b}"),
            ':' if text[at..].starts_with("://") => out.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn render(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let mark = match verdict.result {
        Ruling::Pass => "✅",
        Ruling::Fail | Ruling::WrongData => "❌",
        Ruling::Inconclusive | Ruling::Invalid => "⚪",
    };
    writeln!(out, "## {mark} {}: {}\n", verdict.name(), cell(&verdict.scenario))?;
    writeln!(out, "Client: {}. Run: {}.", cell(&verdict.client), cell(&verdict.run))?;
    for given in &verdict.given {
        row(out, &format!("Fault: {}.", cell(given)))?;
    }
    if let Some(advice) = &verdict.advice {
        row(out, &cell(advice))?;
    }
    let (bad, good): (Vec<&Criterion>, Vec<&Criterion>) =
        verdict.criteria.iter().partition(|criterion| criterion.result != Ruling::Pass);
    if !bad.is_empty() {
        writeln!(out)?;
        criteria(out, &bad)?;
        writeln!(out)?;
        for criterion in &bad {
            row(out, &format!("- {}: because {}", cell(criterion.id), cell(&criterion.because)))?;
        }
    }
    if !good.is_empty() {
        writeln!(out, "\n<details><summary>{} criteria passed</summary>\n", good.len())?;
        criteria(out, &good)?;
        writeln!(out, "\n</details>")?;
    }
    if !verdict.not_asked.is_empty() {
        let count = verdict.not_asked.len();
        writeln!(out, "\n<details><summary>{count} criteria could not be asked</summary>\n")?;
        writeln!(out, "| criteria | because |\n|---|---|")?;
        for (reason, questions) in by_reason(verdict) {
            row(out, &format!("| {} | {} |", cell(&names(&questions)), cell(reason)))?;
        }
        writeln!(out, "\n</details>")?;
    }
    writeln!(out, "\n<details><summary>Measures</summary>\n\n| measure | value |\n|---|---|")?;
    for measure in measures(verdict) {
        row(out, &format!("| {} | {} |", cell(&measure.name), cell(&measure.shown)))?;
    }
    writeln!(out, "\n</details>")
}

/// A line, if there is room for it. `ENOUGH` and one of the longest lines are less than a comment's limit.
pub(crate) fn row(out: &mut String, line: &str) -> std::fmt::Result {
    if out.len() < ENOUGH { writeln!(out, "{line}") } else { Ok(()) }
}

fn criteria(out: &mut String, criteria: &[&Criterion]) -> std::fmt::Result {
    writeln!(out, "| criterion | result | expected | measured |\n|---|---|---|---|")?;
    criteria.iter().try_for_each(|criterion| {
        let [id, expected, measured] = [criterion.id, &criterion.expected, &criterion.measured].map(cell);
        row(out, &format!("| {id} | {} | {expected} | {measured} |", criterion.result.name()))
    })
}
