//! Follows the client while a run lasts: writes its records down, keeps the status up to date, and calls a halt when the client is
//! not seen any more or a stop rule fires.

use std::time::Duration;

use observation::Record;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::observe::Stream;
use crate::recorder::Journal;
use crate::status::{Status, Window};
use crate::stop::Watch;

/// Why the phases of a run do not go to their end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Broken {
    /// On purpose: a signal, a rule, or because nothing could be seen.
    Stopped(String),
    /// The infrastructure.
    Failed(String),
}

/// Ends the phases of one run, for the first reason that is given. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Halt(watch::Sender<Option<Broken>>);

impl Halt {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn call(&self, why: Broken) {
        self.0.send_if_modified(|first| {
            let new = first.is_none();
            first.get_or_insert(why);
            new
        });
    }

    /// Waits for the reason.
    pub(crate) async fn called(&self) -> Broken {
        let mut calls = self.0.subscribe();
        loop {
            if let Some(why) = calls.borrow_and_update().clone() {
                return why;
            }
            // This handle holds a sender, so there is always one.
            if calls.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What ends it.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Without a tick for this long the client is not seen.
    pub(crate) blind: Duration,
    pub(crate) watch: Watch,
    pub(crate) halt: Halt,
}

/// Until `done`. What the client says after a halt is still written down: it belongs to the run.
pub(crate) async fn follow(
    mut stream: Stream,
    journal: Journal,
    status: watch::Sender<Status>,
    mut limits: Limits,
    done: CancellationToken,
) {
    let mut window = Window::default();
    let mut blind_at = Some(Instant::now() + limits.blind);
    loop {
        let observed = tokio::select! {
            () = done.cancelled() => return,
            observed = next(&mut stream, blind_at) => observed,
        };
        let Some(observed) = observed else {
            status.send_modify(|status| status.goodput = None);
            let blind = limits.blind;
            let why =
                format!("no observations for {blind:?} (--blind): is the client under test still there?");
            limits.halt.call(Broken::Stopped(why));
            blind_at = None;
            continue;
        };
        if let Record::Tick(tick) = &observed.record {
            // Only ticks show that it is there: a stream that greets again and again shows nothing.
            blind_at = blind_at.map(|_| Instant::now() + limits.blind);
            let (goodput, error_rate) = window.add(tick);
            status.send_modify(|status| {
                (status.goodput, status.error_rate) = (Some(goodput), error_rate);
                status.breakers = tick.servers.iter().map(|s| (s.server.clone(), s.breaker)).collect();
            });
        }
        if let Some(rule) = limits.watch.record(&observed.record) {
            limits.halt.call(Broken::Stopped(format!("--abort-if {rule}")));
        }
        journal.append_client(observed.at_us, observed.record).await;
    }
}

/// The next record; `None`: blind. After that, and when the reader has ended, whatever comes, if anything.
async fn next(stream: &mut Stream, blind_at: Option<Instant>) -> Option<crate::observe::Observed> {
    let received = async {
        match stream.records.recv().await {
            Some(observed) => observed,
            None => std::future::pending().await,
        }
    };
    match blind_at {
        Some(at) => timeout_at(at, received).await.ok(),
        None => Some(received.await),
    }
}
