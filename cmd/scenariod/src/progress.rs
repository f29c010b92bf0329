//! The progress line, on standard error: rewritten in place on a terminal, a line every few seconds elsewhere.

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

/// Shows the status until `stop`.
pub async fn show(status: watch::Receiver<Status>, stop: CancellationToken) {
    let terminal = std::io::stderr().is_terminal();
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last: Option<(PhaseKind, Instant)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = timer.tick() => {}
        }
        let now = status.borrow().clone();
        if now.phase == PhaseKind::Idle {
            continue;
        }
        if terminal {
            write(&format!("\r\x1b[2K{now}"));
            continue;
        }
        let due = last.is_none_or(|(phase, at)| phase != now.phase || at.elapsed() >= QUIET_PERIOD);
        if due {
            write(&format!("{now}\n"));
            last = Some((now.phase, Instant::now()));
        }
    }
    if terminal {
        write("\r\x1b[2K");
    }
}

fn write(text: &str) {
    // Nobody watching is no failure of the run.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
