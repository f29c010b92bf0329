//! The same good client again and again: how often is it blamed, and how often can the judge not tell?

use anyhow::Result;
use telemetry::output::print;

use crate::cli::Cli;
use crate::world::Judged;
use crate::{queue, rows, table};

/// Runs each of the two rows `runs` times. Right: no FAIL, and at most one run in twenty of each that says nothing.
pub fn run(cli: &Cli, runs: usize) -> Result<bool> {
    let rows = rows::alike();
    let all: Vec<_> = rows.iter().flat_map(|row| std::iter::repeat_n(row, runs)).collect();
    // Here a refusal is a result.
    let cli = &Cli { tries: 1, ..cli.clone() };
    let judged = queue::run(&all, cli, |judged| print(&table::line(judged)));
    let mut right = true;
    print(
        "\n| runs | of | PASS | FAIL | INCONCLUSIVE or INVALID | no verdict |\n|---|---|---|---|---|---|\n",
    );
    for row in &rows {
        let count = |is: fn(verdict::Ruling) -> bool| {
            judged.iter().filter(|one| one.row.id == row.id && result(one).is_some_and(is)).count()
        };
        use verdict::Ruling::*;
        let [pass, fail, unclear] = [
            count(|result| result == Pass),
            count(|result| matches!(result, Fail | WrongData)),
            count(|result| matches!(result, Invalid | Inconclusive)),
        ];
        let none = runs - pass - fail - unclear;
        print(&format!("| {runs} | {} | {pass} | {fail} | {unclear} | {none} |\n", row.about));
        right &= fail == 0 && none == 0 && unclear * 20 <= runs;
    }
    Ok(right)
}

fn result(judged: &Judged<'_>) -> Option<verdict::Ruling> {
    judged.end.as_ref().ok().map(|(verdict, _)| verdict.result)
}
