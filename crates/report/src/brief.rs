//! The verdict in about ten lines, with colours: what happened, what failed or stays open, and what to do.

use std::fmt::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use observation::NoteCode;
use verdict::{Criterion, Ruling, Verdict};

use crate::{millis, percent, plain};

/// Criteria that are shown in full; of more the rest is counted.
const SHOWN: usize = 3;

/// Space before what belongs to the line above.
const INDENT: &str = "  ";

/// `page`: where everything is. `width`: columns, if there is a limit.
pub fn brief(verdict: &Verdict, page: &Path, width: Option<usize>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut out, verdict, page);
    match width {
        None => out,
        Some(width) => out.lines().map(|line| wrapped(line, width) + "\n").collect(),
    }
}

/// A line broken at its blanks; what follows has the line's own indent and some more.
fn wrapped(line: &str, width: usize) -> String {
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let mut out = String::new();
    let mut column = 0;
    for word in line.split_inclusive(' ') {
        // Colours have no width.
        let columns = anstream::adapter::strip_str(word.trim_end()).to_string().chars().count();
        if column + columns > width && column > indent.len() + INDENT.len() {
            out.truncate(out.trim_end().len());
            out += &format!("\n{indent}{INDENT}");
            column = indent.len() + INDENT.len();
        }
        out += word;
        column += columns + word.len() - word.trim_end().len();
    }
    out
}

fn render(out: &mut String, verdict: &Verdict, page: &Path) -> std::fmt::Result {
    let colour = colour(verdict.result);
    let (name, scenario) = (verdict.name(), plain(&verdict.scenario));
    writeln!(out, "{colour}{name}{colour:#}  {scenario}  ({})", plain(&verdict.client))?;
    writeln!(out, "  {}", fault(verdict))?;
    writeln!(out, "  {}", what_happened(verdict))?;
    if let Some(why) = verdict.stopped.as_ref().filter(|_| name != verdict.result.name()) {
        writeln!(out, "  stopped: {}", plain(why))?;
    }
    let mut open: Vec<&Criterion> =
        verdict.criteria.iter().filter(|criterion| criterion.result != Ruling::Pass).collect();
    open.sort_by_key(|criterion| std::cmp::Reverse(criterion.result));
    for criterion in open.iter().take(SHOWN) {
        let colour = self::colour(criterion.result);
        writeln!(out, "  {colour}{}{colour:#}  {}", criterion.result.name(), criterion.title)?;
        writeln!(out, "    expected {} ({})", plain(&criterion.expected), plain(&criterion.because))?;
        writeln!(out, "    measured {}", plain(&criterion.measured))?;
    }
    if let Some(more) = open.len().checked_sub(SHOWN + 1) {
        writeln!(out, "  and {} more like these", more + 1)?;
    }
    if let Some(advice) = &verdict.advice {
        writeln!(out, "  {advice}")?;
    }
    let held = verdict.criteria.len() - open.len();
    let notes = verdict.notes.iter().filter(|note| note.code != NoteCode::Clock).count();
    let notes = if notes > 0 { format!(", {notes} notes") } else { String::new() };
    let not_asked = verdict.not_asked.len();
    writeln!(out, "  {held} criteria hold, {not_asked} could not be asked{notes}: {}", page.display())
}

/// One run of several, in one line.
pub fn line(verdict: &Verdict) -> String {
    let colour = colour(verdict.result);
    let said = match verdict.result {
        Ruling::Pass => what_happened(verdict),
        _ => verdict
            .stopped
            .clone()
            .or(verdict.reasons.first().cloned())
            .map_or(String::new(), |why| plain(&why)),
    };
    format!("{colour}{:<16}{colour:#}  {}  {said}\n", verdict.name(), plain(&verdict.scenario))
}

fn colour(result: Ruling) -> Style {
    let colour = match result {
        Ruling::Pass => AnsiColor::Green,
        Ruling::Inconclusive | Ruling::Invalid => AnsiColor::Yellow,
        Ruling::Fail | Ruling::WrongData => AnsiColor::Red,
    };
    colour.on_default().bold()
}

/// What the fault was, where there was one.
fn fault(verdict: &Verdict) -> String {
    match verdict.given.is_empty() {
        true => "no fault".to_owned(),
        false => {
            format!("{} of {}", millis(Some(verdict.measures.fault_ms)), plain(&verdict.given.join("; ")))
        }
    }
}

/// What the client did, and how it recovered, in one sentence; what was not measured is left out.
fn what_happened(verdict: &Verdict) -> String {
    let m = &verdict.measures;
    let mut clauses = Vec::new();
    if m.reported.breakers {
        let tripped = m.time_to_trip_ms.iter().filter_map(|(server, ms)| Some((server, (*ms)?)));
        let tripped: Vec<String> = tripped
            .map(|(server, ms)| format!("the breaker of {} opened after {}", plain(server), millis(Some(ms))))
            .collect();
        clauses.push(if tripped.is_empty() { "no breaker opened".to_owned() } else { tripped.join(", ") });
    }
    if let Some(retained) = m.goodput_retained {
        let (before, errors) = (m.baseline_goodput, percent(m.error_share));
        clauses.push(format!(
            "goodput stayed at {} of {before:.0} ops/s, {errors} of the ops failed",
            percent(retained)
        ));
    }
    let back = m.time_to_recover_ms.or(m.goodput_back_ms);
    let closed = if m.reported.breakers { m.time_to_close_ms } else { Some(0.0) };
    match (back, closed) {
        // A control run has no fault that could have been lifted.
        _ if verdict.given.is_empty() => {}
        (_, None) => clauses.push("a breaker stayed open".to_owned()),
        (None, _) => clauses.push("it was not well again within the run".to_owned()),
        (Some(back), Some(closed)) if back.max(closed) < 1_000.0 => {
            clauses.push("all was well within a second after it".to_owned());
        }
        (Some(back), Some(closed)) => {
            clauses.push(format!("all was well {} after it", millis(Some(back.max(closed)))));
        }
    }
    if m.wrong_values > 0 {
        clauses.push(format!("{} wrong values were read", m.wrong_values));
    }
    let mut sentence = clauses.join("; ");
    if let Some(first) = sentence.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if sentence.is_empty() { "nothing was measured".to_owned() } else { sentence + "." }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile;

    #[test]
    fn what_is_open_is_shown_in_full_and_the_rest_counted() {
        let mut verdict = hostile();
        verdict.advice = Some("Run it again.".to_owned());
        let text = brief(&verdict, Path::new("runs/a/report.html"), None);
        let open = verdict.criteria.iter().filter(|criterion| criterion.result != Ruling::Pass).count();
        assert!(open > SHOWN, "{open}");
        assert_eq!(text.lines().count(), 3 + 3 * SHOWN + 1 + 1 + 1, "{text}");
        assert!(
            text.contains(&format!("and {} more like these", open - SHOWN)) && text.contains("Run it again.")
        );
        assert!(text.trim_end().ends_with("runs/a/report.html"));
    }

    #[test]
    fn a_pass_is_four_lines_that_tell_what_happened() {
        let mut verdict = hostile();
        verdict.criteria.iter_mut().for_each(|criterion| criterion.result = Ruling::Pass);
        verdict.result = Ruling::Pass;
        verdict.given = vec!["loss-like delay at 100 % loss".to_owned()];
        let m = &mut verdict.measures;
        (m.fault_ms, m.goodput_retained, m.baseline_goodput) = (15_000.0, Some(0.99), 1_298.0);
        (m.error_share, m.time_to_recover_ms, m.time_to_close_ms) = (0.01, Some(1_200.0), Some(400.0));
        m.reported.breakers = true;
        m.time_to_trip_ms = [("memcached1".to_owned(), Some(253.0))].into();
        let text = brief(&verdict, Path::new("report.html"), None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[1], "  15.0 s of loss-like delay at 100 % loss");
        assert_eq!(
            lines[2],
            "  The breaker of memcached1 opened after 253 ms; goodput stayed at 99.00 % of 1298 ops/s, 1.00 % of the ops failed; all \
             was well 1.2 s after it."
        );
    }

    #[test]
    fn lines_are_broken_at_blanks_and_keep_their_indent() {
        assert_eq!(wrapped("  one two three four", 12), "  one two\n    three\n    four");
        assert_eq!(wrapped("  a_word_that_is_too_long at", 12), "  a_word_that_is_too_long\n    at");
        assert_eq!(wrapped("\u{1b}[1mbold\u{1b}[0m text", 9), "\u{1b}[1mbold\u{1b}[0m text");
        assert_eq!(wrapped("", 10), "");
    }
}
