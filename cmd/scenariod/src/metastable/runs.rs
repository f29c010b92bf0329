//! Runs cells side by side, each in a lab and a folder of its own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use metastable::{Cell, Course, How, Plan, Ran};
use observation::journal::Journal;
use report::{CellRun, PAGE, metastable_page};
use tokio_util::sync::CancellationToken;
use verdict::metastable::{CellState, Parts};

use super::Settings;
use crate::failure::{Failure, infrastructure};

/// An experiment under way.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'a> {
    /// How often, and how.
    pub settings: &'a Settings,
    /// What is run.
    pub plan: &'a Plan,
    /// Its folder.
    pub dir: &'a Path,
    /// The end.
    pub stop: &'a CancellationToken,
    /// Something that is not the system's was in the way: a port, the disk.
    pub broken: &'a AtomicBool,
}

impl Runs<'_> {
    /// Every cell so often as asked: by cell, by run. What was stopped is missing.
    pub async fn all(&self, cells: &[Cell]) -> Vec<Vec<CellRun>> {
        let most = cells.iter().map(|cell| cell.repeat).max().unwrap_or(1) * self.settings.runs_each;
        // The first run of every cell before the second of any: what is stopped has something of each.
        let planned = (0..most).flat_map(|n| {
            let wanted = move |(_, cell): &(usize, &Cell)| n < cell.repeat * self.settings.runs_each;
            cells.iter().enumerate().filter(wanted).map(move |(index, cell)| (index, cell, n))
        });
        let mut running = futures::stream::iter(planned)
            .map(|(index, cell, n)| async move {
                let seed = self.settings.seed.wrapping_add(n.into());
                (index, n, self.valid(cell, &format!("{}-{seed}", cell.name), seed).await)
            })
            .buffer_unordered(self.settings.jobs.max(1) as usize);
        let mut results = vec![Vec::new(); cells.len()];
        while let Some((index, n, run)) = running.next().await {
            results[index].extend(run.map(|run| (n, run)));
        }
        let in_order = |mut runs: Vec<(u32, CellRun)>| {
            runs.sort_by_key(|(n, _)| *n);
            runs.into_iter().map(|(_, run)| run).collect()
        };
        results.into_iter().map(in_order).collect()
    }

    /// A run; an invalid one is run again as often as asked, unless it saw a wrong value. `None`: stopped.
    pub async fn valid(&self, cell: &Cell, name: &str, seed: u64) -> Option<CellRun> {
        let mut reruns = Vec::new();
        loop {
            let again = match reruns.len() {
                0 => name.to_owned(),
                n => format!("{name}-again{n}"),
            };
            let run = self.one(cell, &again, seed).await?;
            let invalid = run.cell.state == CellState::Invalid && run.cell.wrong_values == 0;
            if !invalid || reruns.len() >= self.settings.rerun_invalid as usize {
                return Some(CellRun { reruns, ..run });
            }
            reruns.push(run.dir);
        }
    }

    /// One that could not be made says why, and the others go on.
    async fn one(&self, cell: &Cell, name: &str, seed: u64) -> Option<CellRun> {
        let title = format!("{}: {}, seed {seed}", self.plan.name, cell.name);
        match self.judged(cell, name, seed, &title).await {
            Ok(run) => run,
            Err(failure) => {
                let why = format!("{:#}", failure.error());
                tracing::error!("{title}: {why}");
                self.broken.store(true, Ordering::Relaxed);
                let cell = verdict::metastable::Cell {
                    why: Some(why),
                    ..verdict::metastable::of(&Parts::default())
                };
                Some(CellRun { dir: String::new(), reruns: Vec::new(), cell })
            }
        }
    }

    async fn judged(
        &self,
        cell: &Cell,
        name: &str,
        seed: u64,
        title: &str,
    ) -> Result<Option<CellRun>, Failure> {
        let Some((ran, journal)) = self.journal(cell, Course::Phases, name, seed).await? else {
            return Ok(None);
        };
        let judged = verdict::metastable::cell(&journal);
        let page = metastable_page(title, &journal, &judged, patience_us(cell));
        let path = self.dir.join(name).join(PAGE);
        report::write(&path, &page).map_err(infrastructure)?;
        let (state, end, path) = (judged.state.name(), judged.end, path.display());
        match &judged.why {
            Some(why) => tracing::warn!("{title}: {state}: {why}, {path}"),
            None => tracing::info!("{title}: {state}, end goodput {end:.2}, {path}"),
        }
        let run = || CellRun { dir: name.to_owned(), reruns: Vec::new(), cell: judged };
        Ok((ran == Ran::Whole).then(run))
    }

    /// Runs it, and reads what it wrote. `None`: stopped before it began.
    pub async fn journal(
        &self,
        cell: &Cell,
        course: Course,
        name: &str,
        seed: u64,
    ) -> Result<Option<(Ran, Journal)>, Failure> {
        if self.stop.is_cancelled() {
            return Ok(None);
        }
        let dir = self.dir.join(name);
        let (memcached, watched) = (self.settings.memcached, self.settings.watch.as_slice());
        let how = How { course, dir: &dir, memcached, watched, seed };
        let ran = metastable::run(cell, how, self.stop).await.map_err(infrastructure)?;
        Ok(Some((ran, Journal::read(&dir).map_err(infrastructure)?)))
    }
}

/// How long a caller waits for the database, µs.
pub fn patience_us(cell: &Cell) -> u64 {
    u64::try_from(cell.setup.policy.patience.max(Duration::from_micros(1)).as_micros()).unwrap_or(u64::MAX)
}
