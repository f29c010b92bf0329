//! What the runs do, on standard error: a block that is drawn in place on a terminal, a line every few seconds elsewhere.

mod block;
mod events;
mod seen;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use observation::PhaseKind;
use observation::journal::Entry;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use seen::Seen;

/// Targets of the log whose lines come again and again under a fault. What they tell is counted, and told once a phase.
pub const FOLDED: &[&str] = &["workload::events", "workload::load::ticker"];

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two lines where the block cannot be drawn.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
/// Width of a terminal that does not tell its own.
const WIDTH: u16 = 80;

/// The runs as they are seen, one a job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Terminal(Arc<[Mutex<Seen>]>);

impl Terminal {
    /// Nothing runs.
    pub fn new(jobs: u32) -> Self {
        Self((0..jobs).map(|_| Mutex::default()).collect())
    }

    /// One more line of the journal of a job, from 1.
    pub fn see(&self, job: u32, entry: &Entry) {
        let Some(seen) = self.0.get(job as usize - 1) else { return };
        let told = seen.lock().unwrap_or_else(PoisonError::into_inner).entry(entry, Instant::now());
        if let Some(told) = told {
            tracing::info!("{told}");
        }
    }

    /// Shows the runs until `stop`.
    pub async fn show(self, stop: CancellationToken) {
        let mut shown = Shown::new(self.0.len());
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = timer.tick() => {}
            }
            let now: Vec<Seen> = self
                .0
                .iter()
                .map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone())
                .collect();
            shown.show(&now);
        }
        shown.end();
    }
}

/// How it is shown.
enum Shown {
    /// In place.
    Block(ProgressBar),
    /// Line by line; of each job the phase and the time of the last one.
    Lines(Vec<Option<(PhaseKind, Instant)>>),
}

impl Shown {
    fn new(jobs: usize) -> Self {
        // A terminal that cannot move its cursor says so.
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !std::io::stderr().is_terminal() {
            return Self::Lines(vec![None; jobs]);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        // Of a bar that is alone, and not of several: those panic where the terminal has gone.
        let drawn = bar.clone();
        telemetry::terminal::keep_clear(move |write| drawn.suspend(write));
        Self::Block(bar)
    }

    fn show(&mut self, now: &[Seen]) {
        match self {
            Self::Block(bar) => {
                let width = columns(std::io::stderr()).unwrap_or(WIDTH);
                let text = block::block(now, usize::from(width), Instant::now());
                bar.set_message(telemetry::terminal::coloured(&text));
                bar.tick();
            }
            Self::Lines(last) => {
                for (index, (seen, last)) in now.iter().zip(last).enumerate() {
                    let due =
                        last.is_none_or(|(phase, at)| phase != seen.phase() || at.elapsed() >= QUIET_PERIOD);
                    if due && seen.phase() != PhaseKind::Idle {
                        write(&format!(
                            "{}{}\n",
                            block::job(index, now.len()),
                            block::line(seen, Instant::now())
                        ));
                        *last = Some((seen.phase(), Instant::now()));
                    }
                }
            }
        }
    }

    fn end(self) {
        if let Self::Block(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Columns of the terminal that results go to; `None`: it is none.
pub fn width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| usize::from(columns(std::io::stdout()).unwrap_or(WIDTH)))
}

fn columns(of: impl AsFd) -> Option<u16> {
    rustix::termios::tcgetwinsize(of).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

fn write(text: &str) {
    // A reader that is gone is no failure of the run.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
