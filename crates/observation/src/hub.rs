//! Fans one source's records out to any number of readers, none of which can slow the source.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

use crate::clock::RunClock;
use crate::{Hello, Record, clock, ndjson};

/// Lines that a slow reader may lag behind: about 100 s of ticks and events. Beyond, it reads a gap.
const BACKLOG_LINES: usize = 4096;

/// Is shown every record as it is published.
type Onlooker = Box<dyn Fn(&Record) + Send + Sync>;

/// The sending side. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    hello: Arc<Hello>,
    clock: RunClock,
    lines: broadcast::Sender<Arc<str>>,
    onlooker: Arc<OnceLock<Onlooker>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("hello", &self.hello).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub whose readers are all greeted with `hello` (its clock fields are set at each greeting).
    pub fn new(hello: Hello, clock: RunClock) -> Self {
        let (lines, _) = broadcast::channel(BACKLOG_LINES);
        Self { hello: Arc::new(hello), clock, lines, onlooker: Arc::default() }
    }

    /// Shows every record to `onlooker`, in this process and without rendering it; the hello first. It must be quick: the source
    /// waits for it. The first one stays the only one.
    pub fn show(&self, onlooker: impl Fn(&Record) + Send + Sync + 'static) {
        onlooker(&Record::Hello(Box::new(self.greeting())));
        // There is one already: it stays.
        let _ = self.onlooker.set(Box::new(onlooker));
    }

    /// The clock that `at_us` counts on.
    pub fn clock(&self) -> RunClock {
        self.clock
    }

    /// Sends `record` to all present readers. Without a reader nothing is rendered. The onlooker is shown it in any case.
    pub fn publish(&self, record: &Record) {
        if let Some(onlooker) = self.onlooker.get() {
            onlooker(record);
        }
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
        Reader {
            hello: Some(Record::Hello(Box::new(self.greeting()))),
            lines: self.lines.subscribe(),
            clock: self.clock,
            last_us: self.clock.now_us(),
        }
    }

    fn greeting(&self) -> Hello {
        let mut hello = Hello::clone(&self.hello);
        hello.at_us = self.clock.now_us();
        hello.wall_ms = clock::wall_ms();
        hello
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
                    reason: crate::GapReason::SlowReader { lines: n },
                };
                ndjson::to_line(&Record::Gap(gap)).ok()?.into()
            }
        };
        self.last_us = self.clock.now_us();
        Some(line)
    }
}
