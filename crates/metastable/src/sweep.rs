//! The load up in steps, the trigger, and the load down by the same steps: where is a system healthy, and where does it come
//! back once it is down?

use std::time::Duration;

use observation::metastable::CellPhase;
use tokio::time::sleep;

use crate::cell::{CellError, Scene};
use crate::plan::Cell;

/// Loads, as shares of the cell's.
pub(crate) const SHARES: [f64; 9] = [0.06, 0.08, 0.12, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0];
/// Of a step on the way up. The second half of each step counts.
const UP: Duration = Duration::from_secs(6);
/// Of a step on the way down: a cache has to fill.
const DOWN: Duration = Duration::from_secs(10);

/// How long a sweep takes.
pub fn sweep_takes(cell: &Cell) -> Duration {
    let steps = u32::try_from(SHARES.len()).unwrap_or(u32::MAX);
    cell.phases.warm + cell.trigger.lasts() + UP * steps + DOWN * steps
}

pub(crate) async fn sweep(scene: &mut Scene<'_>) -> Result<(), CellError> {
    let cell = scene.cell;
    let rates = SHARES.map(|share| cell.rate * share);
    scene.journal.tell(CellPhase::Warm).await;
    sleep(cell.phases.warm).await;
    for rate in rates {
        step(scene, CellPhase::Up(rate), rate, UP).await?;
    }
    scene.journal.tell(CellPhase::Trigger).await;
    scene.trigger().await?;
    for rate in rates.into_iter().rev() {
        step(scene, CellPhase::Down(rate), rate, DOWN).await?;
    }
    Ok(())
}

async fn step(scene: &mut Scene<'_>, phase: CellPhase, rate: f64, lasts: Duration) -> Result<(), CellError> {
    scene.load.set_rate(rate)?;
    scene.journal.tell(phase).await;
    sleep(lasts).await;
    Ok(())
}
