//! The table, for terminals and documents.

use std::fmt::Write;

use crate::rows::{Row, Wanted};
use crate::world::{Judged, failed};

const HEAD: &str = "| row | what is wrong or unusual | scenario | wanted | verdict | by | tries | right |\n|---|---|---|---|---|---|---|---|\n";

fn wanted(row: &Row) -> String {
    match row.wanted {
        Wanted::Caught(by) => format!("FAIL by {}", by.join(" or ")),
        Wanted::Pass => "PASS".to_owned(),
        Wanted::Refused(by) => format!("INVALID or INCONCLUSIVE by {}", by.join(" or ")),
    }
}

fn got(judged: &Judged<'_>) -> [String; 2] {
    match &judged.end {
        Ok((verdict, _)) => [verdict.result.name().to_owned(), failed(verdict).join(", ")],
        Err(error) => ["no verdict".to_owned(), format!("{error:#}").replace(['|', '\n'], " ")],
    }
}

fn yes(ok: bool) -> &'static str {
    if ok { "yes" } else { "**no**" }
}

/// One line as soon as a row has ended.
pub fn line(judged: &Judged<'_>) -> String {
    let [result, by] = got(judged);
    let place = judged.end.as_ref().map(|(_, dir)| dir.display().to_string()).unwrap_or_default();
    let mark = if judged.is_right() { "ok   " } else { "WRONG" };
    let Row { id, about, .. } = judged.row;
    let mut line = format!(
        "{mark} {id:<4} {about}: {result} ({by}), try {}, {:.0} s, {place}\n",
        judged.tries,
        judged.took.as_secs_f64()
    );
    if let (false, Ok((verdict, _))) = (judged.is_right(), &judged.end) {
        for reason in &verdict.reasons {
            let _ = writeln!(line, "        {reason}");
        }
    }
    line
}

/// All rows, and how many of each kind are right.
pub fn markdown(judged: &[Judged<'_>]) -> String {
    let mut text = HEAD.to_owned();
    for one in judged {
        let [result, by] = got(one);
        let Row { id, about, scenario, .. } = one.row;
        let name = scenario.file.trim_end_matches(".toml");
        let right = yes(one.is_right());
        let _ = writeln!(
            text,
            "| {id} | {about} | {name} | {} | {result} | {by} | {} | {right} |",
            wanted(one.row),
            one.tries
        );
    }
    text.push('\n');
    let twins: Vec<_> = judged.iter().filter(|one| one.row.is_twin).collect();
    if !twins.is_empty() {
        let right = twins.iter().filter(|one| one.is_right()).count();
        let _ = writeln!(text, "{right} of {} good clients pass where a mutant is caught.", twins.len());
    }
    let kinds =
        [('M', "mutants are caught"), ('G', "good variants pass"), ('E', "broken environments are refused")];
    for (kind, what) in kinds {
        let of: Vec<_> =
            judged.iter().filter(|one| !one.row.is_twin && one.row.id.starts_with(kind)).collect();
        if !of.is_empty() {
            let right = of.iter().filter(|one| one.is_right()).count();
            let _ = writeln!(text, "{right} of {} {what}.", of.len());
        }
    }
    text
}

/// The rows, and nothing else.
pub fn list(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{:<4} {:<45} {}\n", row.id, row.about, wanted(row))).collect()
}
