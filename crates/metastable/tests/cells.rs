//! Short cells on a real lab: one that stays down and one that comes back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use lab::MemcachedKind;
use metastable::{Course, How, Phases, Plan, Ran};
use observation::Record;
use observation::journal::Journal;
use observation::metastable::CellPhase::{self, Baseline, Ended, Hold, Trigger, Warm};
use tokio_util::sync::CancellationToken;
use verdict::metastable::{CellState, cell, phases};

fn how(dir: &Path) -> How<'_> {
    How { course: Course::Phases, dir, memcached: MemcachedKind::Fake, watched: &[], seed: 1 }
}

async fn ran(name: &str) -> Journal {
    let plans = metastable::select(&["metastable-fast".to_owned()]).unwrap();
    let Plan { cells, .. } = plans.into_iter().next().unwrap();
    let mut one = cells.into_iter().find(|cell| cell.name == name).unwrap();
    let second = Duration::from_secs(1);
    let (relief, ramp) = (Duration::ZERO, Duration::ZERO);
    one.phases = Phases { warm: second, baseline: 3 * second, hold: 14 * second, relief, ramp };
    let dir = tempfile::tempdir().unwrap();
    let (run, stop) = (dir.path().join("run"), CancellationToken::new());
    let ended = metastable::run(&one, how(&run), &stop).await.unwrap();
    assert_eq!(ended, Ran::Whole);
    Journal::read(&run).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flushed_system_stays_down_and_the_one_with_a_short_queue_comes_back() {
    let (down, back) = tokio::join!(ran("unprotected"), ran("queue-05"));
    let passed: Vec<CellPhase> = phases(&down).into_iter().map(|(phase, _)| phase).collect();
    assert_eq!(passed, [Warm, Baseline, Trigger, Hold, Ended]);
    let (down_cell, back_cell) = (cell(&down), cell(&back));
    assert_eq!(down_cell.state, CellState::Stuck, "{down_cell:?}");
    assert!(down_cell.end < 0.3 && down_cell.queries_per_request.after > 1.5, "{down_cell:?}");
    assert_eq!(back_cell.state, CellState::Recovered, "{back_cell:?}");
    assert!((0.85..0.95).contains(&back_cell.hit_ratio.before), "{back_cell:?}");
    // Five times a second at least.
    let memory = down.entries.iter().filter(|entry| matches!(entry.record, Record::Memory(_))).count();
    assert!(memory >= 18 * 5, "{memory}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_cell_leaves_a_journal_that_can_be_read() {
    let plans = metastable::select(&["metastable-cut-off".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (run, stop) = (dir.path().join("run"), CancellationToken::new());
    let stopper = stop.clone();
    let path = run.join(observation::journal::FILE_NAME);
    tokio::spawn(async move {
        let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        // A journal that stays empty ends with the cell, which is not stopped then.
        while lines() <= 5 {
            // Sleeps: the pause of a poll that ends with the cell.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stopper.cancel();
    });
    let ended = metastable::run(&plans[0].cells[0], how(&run), &stop).await.unwrap();
    assert_eq!(ended, Ran::Stopped);
    let journal = Journal::read(&run).unwrap();
    assert!(!journal.truncated && journal.entries.len() > 5);
    let cell = cell(&journal);
    assert_eq!(
        (cell.state, cell.why.as_deref()),
        (CellState::Invalid, Some("the baseline was not reached, or is shorter than 2 s"))
    );
}
