//! The verdict for a pull-request comment.

use std::fmt::Write;

use verdict::Verdict;

use crate::measures::measures;
use crate::plain;

/// Markdown.
pub fn markdown(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, verdict);
    out
}

/// Text from outside within a table cell.
fn cell(text: &str) -> String {
    let escaped = plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('|', "\\|")
}

fn render(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    writeln!(out, "## {}: {}\n", verdict.result.name(), cell(&verdict.scenario))?;
    writeln!(out, "Client: {}. Run: `{}`.", cell(&verdict.client), cell(&verdict.run).replace('`', "'"))?;
    for given in &verdict.given {
        writeln!(out, "Fault: {}.", cell(given))?;
    }
    for reason in &verdict.reasons {
        writeln!(out, "- **{}**", cell(reason))?;
    }
    writeln!(out, "\n| criterion | result | expected | measured |\n|---|---|---|---|")?;
    for criterion in &verdict.criteria {
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            criterion.id,
            criterion.result.name(),
            cell(&criterion.expected),
            cell(&criterion.measured)
        )?;
    }
    writeln!(out, "\n| measure | value |\n|---|---|")?;
    for row in measures(verdict) {
        writeln!(out, "| {} | {} |", cell(&row.name), cell(&row.shown))?;
    }
    Ok(())
}
