//! The verdict as JUnit XML: a test suite a run, a test case a criterion.

use std::fmt::Write;

use verdict::{Result, Verdict};

use crate::plain;

/// XML.
pub fn junit(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, verdict);
    out
}

/// Attribute or text: markup escaped, and characters that XML 1.0 forbids replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn render(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let count = |wanted: fn(Result) -> bool| verdict.criteria.iter().filter(|c| wanted(c.result)).count();
    let failures = count(|result| matches!(result, Result::Fail | Result::WrongData));
    let skipped = count(|result| matches!(result, Result::Invalid | Result::Inconclusive));
    let (name, tests) = (xml(&verdict.scenario), verdict.criteria.len());
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites name=\"scenariod\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">"
    )?;
    writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">"
    )?;
    for criterion in &verdict.criteria {
        let text = format!("expected {}, measured {}", criterion.expected, criterion.measured);
        write!(out, "    <testcase classname=\"{name}\" name=\"{}\"", xml(criterion.id))?;
        // A run that says nothing, or was stopped, is no failure of the client.
        let kind = match criterion.result {
            Result::Pass => {
                writeln!(out, "/>")?;
                continue;
            }
            Result::Fail | Result::WrongData => "failure",
            Result::Invalid | Result::Inconclusive => "skipped",
        };
        let text = format!("{}: {text}", criterion.result.name());
        writeln!(out, "><{kind} message=\"{}\">{}</{kind}></testcase>", xml(&text), xml(&criterion.because))?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}
