//! The verdict for a terminal.

use std::fmt::Write;

use observation::NoteCode;
use verdict::{Ruling, Verdict};

use crate::measures::measures;
use crate::not_asked::{by_reason, names};
use crate::plain;

/// Plain text, no colour codes; the verdict is the last line.
pub fn table(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, verdict);
    out
}

fn render(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    writeln!(out, "\n{}  ({})", plain(&verdict.scenario), plain(&verdict.client))?;
    for given in &verdict.given {
        writeln!(out, "  fault: {}", plain(given))?;
    }
    for note in verdict.notes.iter().filter(|note| note.code != NoteCode::Clock) {
        writeln!(out, "  note: {}", plain(&note.to_string()))?;
    }
    writeln!(out)?;
    for row in measures(verdict) {
        writeln!(out, "  {:<36}{}", row.name, row.shown)?;
    }
    writeln!(out)?;
    for criterion in &verdict.criteria {
        let mark = match criterion.result {
            Ruling::Pass => "ok  ",
            Ruling::Inconclusive => "?   ",
            Ruling::Invalid => "void",
            Ruling::Fail | Ruling::WrongData => "FAIL",
        };
        writeln!(out, "  {mark} {}", criterion.title)?;
        writeln!(out, "         expected  {}", plain(&criterion.expected))?;
        writeln!(out, "         measured  {}", plain(&criterion.measured))?;
        if criterion.result != Ruling::Pass {
            writeln!(out, "         because   {}", plain(&criterion.because))?;
        }
    }
    for (reason, questions) in by_reason(verdict) {
        writeln!(out, "  -    not asked: {}", names(&questions))?;
        writeln!(out, "         because   {}", plain(reason))?;
    }
    writeln!(out)?;
    if let Some(advice) = &verdict.advice {
        writeln!(out, "{advice}")?;
    }
    let why = verdict.stopped.as_ref().filter(|_| verdict.name() != verdict.result.name());
    match why.or(verdict.reasons.first()) {
        None => writeln!(out, "{}  {}", verdict.name(), plain(&verdict.scenario)),
        Some(reason) => {
            writeln!(out, "{}  {}: {}", verdict.name(), plain(&verdict.scenario), plain(reason))
        }
    }
}
