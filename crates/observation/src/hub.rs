//! Fans one source's records out to any number of readers, none of which can slow the source.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::clock::RunClock;
use crate::{Hello, Record, clock, ndjson};

/// Lines that a slow reader may lag behind: about 100 s of ticks and events. Beyond, it reads a gap.
const BACKLOG_LINES: usize = 4096;

/// The sending side. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    hello: Arc<Hello>,
    clock: RunClock,
    lines: broadcast::Sender<Arc<str>>,
}

impl Hub {
    /// A hub whose readers are all greeted with `hello` (its clock fields are set at each greeting).
    pub fn new(hello: Hello, clock: RunClock) -> Self {
        let (lines, _) = broadcast::channel(BACKLOG_LINES);
        Self { hello: Arc::new(hello), clock, lines }
    }

    /// The clock that `at_us` counts on.
    pub fn clock(&self) -> RunClock {
        self.clock
    }

    /// Sends `record` to all present readers. Without a reader nothing is rendered.
    pub fn publish(&self, record: &Record) {
        if self.lines.receiver_count() == 0 {
            return;
        }
        match ndjson::to_line(record) {
            // An error means that the last reader has just left.
            Ok(line) => drop(self.lines.send(line.into())),
            Err(error) => tracing::error!(%error, "a record could not be rendered"),
        }
    }

    /// A new reader; it starts with the hello.
    pub fn subscribe(&self) -> Reader {
        let mut hello = Hello::clone(&self.hello);
        hello.at_us = self.clock.now_us();
        hello.wall_ms = clock::wall_ms();
        Reader {
            hello: Some(Record::Hello(Box::new(hello))),
            lines: self.lines.subscribe(),
            clock: self.clock,
            last_us: self.clock.now_us(),
        }
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Reader {
    hello: Option<Record>,
    lines: broadcast::Receiver<Arc<str>>,
    clock: RunClock,
    last_us: u64,
}

impl Reader {
    /// The next line, newline included; `None` when the source has ended. A reader that fell behind gets a
    /// [`crate::Gap`] in place of what it missed.
    pub async fn next_line(&mut self) -> Option<Arc<str>> {
        if let Some(hello) = self.hello.take() {
            return ndjson::to_line(&hello).ok().map(Into::into);
        }
        let line = match self.lines.recv().await {
            Ok(line) => line,
            Err(broadcast::error::RecvError::Closed) => return None,
            Err(broadcast::error::RecvError::Lagged(n)) => {
                let gap = crate::Gap {
                    from_us: self.last_us,
                    to_us: self.clock.now_us(),
                    reason: format!("the reader was too slow: {n} lines lost"),
                };
                ndjson::to_line(&Record::Gap(gap)).ok()?.into()
            }
        };
        self.last_us = self.clock.now_us();
        Some(line)
    }
}
