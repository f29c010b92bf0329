//! The progress line, on standard error: rewritten in place on a terminal, a line every few seconds elsewhere. Several runs side by side
//! have a line each; a terminal shows them in turn, because lines that wrap cannot be rewritten.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use observation::PhaseKind;
use scenario::Status;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);
/// Between two lines that nobody watches.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
/// Looks for which a terminal shows one of several runs.
const TURN: usize = 4;

/// Shows the statuses, one a job, until `stop`.
pub async fn show(statuses: Vec<watch::Receiver<Status>>, stop: CancellationToken) {
    let terminal = std::io::stderr().is_terminal();
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last: Vec<Option<(PhaseKind, Instant)>> = vec![None; statuses.len()];
    for look in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = timer.tick() => {}
        }
        let now: Vec<Status> = statuses.iter().map(|status| status.borrow().clone()).collect();
        if terminal {
            write(&turn(&now, look).map_or(String::new(), |line| format!("\r\x1b[2K{line}")));
            continue;
        }
        for (index, (status, last)) in now.iter().zip(&mut last).enumerate() {
            let due = last.is_none_or(|(phase, at)| phase != status.phase || at.elapsed() >= QUIET_PERIOD);
            if due && status.phase != PhaseKind::Idle {
                write(&format!("{}{status}\n", job(index, now.len())));
                *last = Some((status.phase, Instant::now()));
            }
        }
    }
    if terminal {
        write("\r\x1b[2K");
    }
}

/// Which of several.
fn job(index: usize, jobs: usize) -> String {
    if jobs > 1 { format!("[{}/{jobs}] ", index + 1) } else { String::new() }
}

/// The line of the run whose turn it is, of those that are under way.
fn turn(now: &[Status], look: usize) -> Option<String> {
    let running: Vec<_> =
        now.iter().enumerate().filter(|(_, status)| status.phase != PhaseKind::Idle).collect();
    let (index, status) = running.get((look / TURN).checked_rem(running.len())?)?;
    Some(format!("{}{status}", job(*index, now.len())))
}

fn write(text: &str) {
    // Nobody watching is no failure of the run.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_side_by_side_take_turns_and_idle_ones_have_none() {
        let of = |name: &str, phase| Status { scenario: name.to_owned(), phase, ..Status::idle() };
        let now = [of("a", PhaseKind::Testing), Status::idle(), of("b", PhaseKind::Recovery)];
        let shown = |look| turn(&now, look).unwrap();
        assert!(shown(0).starts_with("[1/3] a testing") && shown(3).starts_with("[1/3] a testing"));
        assert!(shown(4).starts_with("[3/3] b recovery") && shown(8).starts_with("[1/3] a"));
        assert_eq!(turn(&[Status::idle()], 0), None);
        assert!(turn(&now[..1], 7).unwrap().starts_with("a testing"));
    }
}
