//! What may be asked of a system: does it come back, where does it not, how little brings it down, how far must the load fall?

use futures::StreamExt;
use metastable::{Cell, Course, Expect, Ran};
use report::{CellRun, CellRuns, Found, GridRow, Sweep, Try};
use verdict::hysteresis::hysteresis;
use verdict::metastable::{CellState, stability};

use super::runs::{Runs, patience_us};
use crate::failure::Failure;

/// Shares of the trigger and of the load of a grid.
const GRID: [f64; 4] = [0.1, 0.25, 0.5, 1.0];
/// Runs of a bisection.
const BISECTIONS: usize = 5;

/// What was found, and what it is worth.
pub struct Answer {
    /// For the record.
    pub found: Found,
    /// As the file expected, or, where nothing is expected: it could be found.
    pub as_expected: bool,
    /// Reads that gave a value that was never written there.
    pub wrong_values: u64,
}

fn wrong_values<'r>(runs: impl IntoIterator<Item = &'r CellRun>) -> u64 {
    runs.into_iter().map(|run| run.cell.wrong_values).sum()
}

impl Runs<'_> {
    /// Does it come back, and with what?
    pub async fn cells(&self) -> Answer {
        let cells = &self.plan.cells;
        let results = self.all(cells).await;
        let states = |wanted: &dyn Fn(&Cell) -> bool| -> Vec<CellState> {
            let cells = cells.iter().zip(&results).filter(|(cell, _)| wanted(cell));
            cells.flat_map(|(_, runs)| runs.iter().map(|run| run.cell.state)).collect()
        };
        let lower_load = states(&|cell| cell.expect == Expect::LowerLoad);
        let stability = stability(&states(&|cell| cell.name == self.plan.first), &lower_load);
        let cells: Vec<CellRuns> = cells.iter().zip(results).map(|(cell, runs)| row(cell, runs)).collect();
        let as_expected = cells.iter().all(|row| row.as_expected);
        let wrong_values = wrong_values(cells.iter().flat_map(|cell| &cell.runs));
        Answer { found: Found::Cells { stability, cells }, as_expected, wrong_values }
    }

    /// Where does it not come back?
    pub async fn grid(&self) -> Answer {
        let full = self.plan.cells.first();
        let scaled = full.into_iter().flat_map(|full| {
            GRID.into_iter().flat_map(move |load| {
                GRID.map(|share| {
                    let name = format!("{}-load{load}-trigger{share}", full.name).replace('.', "_");
                    Cell { name, ..full.with_load(load).with_trigger(share) }
                })
            })
        });
        let cells: Vec<Cell> = scaled.collect();
        let results = self.all(&cells).await;
        let triggers = cells.iter().take(GRID.len()).map(|cell| cell.trigger.to_string()).collect();
        let rows = cells.chunks(GRID.len()).zip(results.chunks(GRID.len())).map(|(cells, results)| {
            let states = |runs: &Vec<CellRun>| runs.iter().map(|run| run.cell.state).collect();
            GridRow { load: cells[0].rate, states: results.iter().map(states).collect() }
        });
        Answer {
            found: Found::Grid { triggers, rows: rows.collect() },
            as_expected: results.iter().flatten().any(|run| run.cell.state != CellState::Invalid),
            wrong_values: wrong_values(results.iter().flatten()),
        }
    }

    /// How little brings it down?
    pub async fn bisect(&self) -> Answer {
        let (mut tries, mut holds, mut tips): (Vec<Try>, _, _) = (Vec::new(), 0.0, None);
        let mut found = !self.plan.cells.is_empty();
        for (n, full) in self.plan.cells.iter().take(1).cycle().take(BISECTIONS).enumerate() {
            let share = tips.map_or(1.0, |tips: f64| (holds + tips) / 2.0);
            let cell = full.with_trigger(share);
            let name = format!("{}-bisect-{}", full.name, n + 1);
            let run = self.valid(&cell, &name, self.settings.seed).await;
            let state = run.as_ref().map_or(CellState::Invalid, |run| run.cell.state);
            tries.extend(run.map(|run| Try { share, trigger: cell.trigger.to_string(), run }));
            match state {
                CellState::Recovered => holds = share,
                CellState::Stuck | CellState::Degraded => tips = Some(share),
                CellState::Invalid => found = false,
            }
            // Not even the whole trigger, or nothing can be said.
            if tips.is_none() || !found {
                break;
            }
        }
        let wrong_values = wrong_values(tries.iter().map(|one| &one.run));
        let (holds, tips) = (found.then_some(holds), tips.filter(|_| found));
        Answer { found: Found::Bisection { tries, holds, tips }, as_expected: found, wrong_values }
    }

    /// How far must the load fall?
    pub async fn sweeps(&self) -> Result<Answer, Failure> {
        let mut running = futures::stream::iter(&self.plan.cells)
            .map(|cell| async move {
                let dir = format!("{}-sweep", cell.name);
                tracing::info!(
                    "{}: {}: a sweep of {:?}",
                    self.plan.name,
                    cell.name,
                    metastable::sweep_takes(cell)
                );
                let ran = self.journal(cell, Course::Sweep, &dir, self.settings.seed).await?;
                let whole = ran.filter(|(ran, _)| *ran == Ran::Whole);
                Ok::<_, Failure>(whole.map(|(_, journal)| Sweep {
                    cell: cell.name.clone(),
                    dir,
                    found: hysteresis(&journal),
                }))
            })
            .buffered(self.settings.jobs.max(1) as usize);
        let mut sweeps = Vec::new();
        while let Some(sweep) = running.next().await {
            sweeps.extend(sweep?);
        }
        let as_expected = sweeps.iter().any(|sweep| sweep.found.healthy.is_some());
        let wrong_values = sweeps.iter().map(|sweep| sweep.found.wrong_values).sum();
        Ok(Answer { found: Found::Sweeps(sweeps), as_expected, wrong_values })
    }
}

fn row(cell: &Cell, runs: Vec<CellRun>) -> CellRuns {
    let (expected, fits): (_, fn(CellState) -> bool) = match cell.expect {
        Expect::NotRecovered => {
            ("stays down", |state| matches!(state, CellState::Stuck | CellState::Degraded))
        }
        Expect::Recovered => ("comes back", |state| state == CellState::Recovered),
        Expect::LowerLoad => ("comes back (control)", |state| state == CellState::Recovered),
        Expect::Anything => ("-", |_| true),
    };
    let valid: Vec<CellState> =
        runs.iter().map(|run| run.cell.state).filter(|state| *state != CellState::Invalid).collect();
    let as_expected =
        valid.len() * 2 > runs.len() && valid.iter().all(|state| fits(*state)) && wrong_values(&runs) == 0;
    CellRuns {
        name: cell.name.clone(),
        load: cell.rate,
        trigger: cell.trigger.to_string(),
        protection: cell.mitigations.join(", "),
        expected,
        patience_us: patience_us(cell),
        runs,
        as_expected,
    }
}
