//! Several rows side by side, each in a runtime of its own: what starves one does not starve the others.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::Cli;
use crate::rows::Row;
use crate::world::{self, Judged, WORKERS};

/// Runs them all and gives them back in their order; tells of each when it ends.
pub fn run<'a>(rows: &[&'a Row], cli: &Cli, told: impl Fn(&Judged<'a>) + Sync) -> Vec<Judged<'a>> {
    let waiting: Mutex<VecDeque<(usize, &Row)>> = Mutex::new(rows.iter().copied().enumerate().collect());
    let ended: Mutex<Vec<(usize, Judged<'a>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).pop_front();
                    let Some((place, row)) = next else { return };
                    let judged = alone(row, cli, place as u64);
                    told(&judged);
                    lock(&ended).push((place, judged));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(place, _)| *place);
    ended.into_iter().map(|(_, judged)| judged).collect()
}

fn alone<'a>(row: &'a Row, cli: &Cli, place: u64) -> Judged<'a> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let began = Instant::now();
    let mut judged = Judged { row, end: Err(anyhow::anyhow!("never tried")), tries: 0, took: Duration::ZERO };
    // A judge that refuses asks for another run, and gets it.
    while judged.tries < cli.tries && (judged.tries == 0 || judged.is_refused_in_vain()) {
        judged.tries += 1;
        judged.end = match &runtime {
            Ok(runtime) => {
                runtime.block_on(world::run(row, cli, cli.seed + place + 1000 * u64::from(judged.tries)))
            }
            Err(error) => Err(anyhow::anyhow!("{error}")),
        };
    }
    judged.took = began.elapsed();
    judged
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
