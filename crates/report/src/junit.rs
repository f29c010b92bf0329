//! The verdict as JUnit XML: a test suite a run, a test case a criterion. What could not be asked is skipped.

use std::fmt::Write;

use verdict::{Ruling, Verdict};

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
    let count = |wanted: fn(Ruling) -> bool| verdict.criteria.iter().filter(|c| wanted(c.result)).count();
    let failures = count(|result| matches!(result, Ruling::Fail | Ruling::WrongData));
    let not_asked = verdict.not_asked.len();
    let skipped = not_asked + count(|result| matches!(result, Ruling::Invalid | Ruling::Inconclusive));
    let (name, tests) = (xml(&verdict.scenario), verdict.criteria.len() + not_asked);
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
            Ruling::Pass => {
                writeln!(out, "/>")?;
                continue;
            }
            Ruling::Fail | Ruling::WrongData => "failure",
            Ruling::Invalid | Ruling::Inconclusive => "skipped",
        };
        let text = format!("{}: {text}", criterion.result.name());
        writeln!(out, "><{kind} message=\"{}\">{}</{kind}></testcase>", xml(&text), xml(&criterion.because))?;
    }
    for question in &verdict.not_asked {
        let (id, text) = (xml(question.id), xml(&format!("not asked: {}", question.reason)));
        writeln!(
            out,
            "    <testcase classname=\"{name}\" name=\"{id}\"><skipped message=\"{text}\"/></testcase>"
        )?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}
