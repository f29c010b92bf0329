//! Follows the client while a run lasts: writes its records down, keeps the status up to date, and calls a halt when the client is
//! not seen any more or a stop rule fires.

use std::time::Duration;

use observation::Record;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::observe::Observed;
use super::recorder::Journal;
use super::status::{Status, Window};
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
    mut records: mpsc::Receiver<Observed>,
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
            observed = next(&mut records, blind_at) => observed,
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
            let goodput = window.add(tick);
            status.send_modify(|status| status.goodput = Some(goodput));
        }
        if let Some(rule) = limits.watch.record(&observed.record) {
            limits.halt.call(Broken::Stopped(format!("--abort-if {rule}")));
        }
        journal.append_client(observed.at_us, observed.record).await;
    }
}

/// The next record; `None`: blind. After that, and when the reader has ended, whatever comes, if anything.
async fn next(records: &mut mpsc::Receiver<Observed>, blind_at: Option<Instant>) -> Option<Observed> {
    let received = async {
        match records.recv().await {
            Some(observed) => observed,
            None => std::future::pending().await,
        }
    };
    match blind_at {
        Some(at) => timeout_at(at, received).await.ok(),
        None => Some(received.await),
    }
}

#[cfg(test)]
mod tests {
    use observation::clock::RunClock;
    use observation::{Host, Tick};

    use super::*;
    use crate::run::onlooker::Onlooker;
    use crate::run::recorder;

    struct Followed {
        client: mpsc::Sender<Observed>,
        halt: Halt,
        done: CancellationToken,
        dir: tempfile::TempDir,
        writing: recorder::Writing,
        following: tokio::task::JoinHandle<()>,
    }

    fn begin(rules: &[&str]) -> Followed {
        let dir = tempfile::tempdir().unwrap();
        let (journal, writing) =
            recorder::start(&dir.path().join("run"), RunClock::start(), None, Onlooker::default()).unwrap();
        let (client, records) = mpsc::channel(64);
        let (halt, done) = (Halt::new(), CancellationToken::new());
        let rules = rules.iter().map(|rule| rule.parse().unwrap());
        let limits = Limits { blind: Duration::from_secs(2), watch: Watch::new(rules), halt: halt.clone() };
        let status = watch::Sender::new(Status::idle());
        let following = tokio::spawn(follow(records, journal, status, limits, done.clone()));
        Followed { client, halt, done, dir, writing, following }
    }

    impl Followed {
        async fn says(&self, record: Record) {
            self.client.send(Observed { at_us: 0, record }).await.unwrap();
            self.passes(Duration::ZERO).await;
        }

        /// Lets time pass, and what waits for it act.
        async fn passes(&self, time: Duration) {
            tokio::time::advance(time).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }

        fn called(&self) -> Option<Broken> {
            self.halt.0.borrow().clone()
        }

        async fn lines(self) -> usize {
            self.done.cancel();
            self.following.await.unwrap();
            let path = self.writing.await.unwrap().unwrap();
            std::fs::read_to_string(path).unwrap().lines().count()
        }
    }

    fn tick() -> Record {
        Record::Tick(Tick { period_us: 100_000, ..Tick::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_tick_and_what_comes_later_is_still_written_down() {
        let followed = begin(&[]);
        followed.says(tick()).await;
        followed.passes(Duration::from_millis(1500)).await;
        followed.says(tick()).await;
        followed.passes(Duration::from_millis(1500)).await;
        // Not a tick: the client is not seen by it.
        followed.says(Record::Host(Host::default())).await;
        assert_eq!(followed.called(), None);
        followed.passes(Duration::from_millis(501)).await;
        let Some(Broken::Stopped(why)) = followed.called() else { panic!("{:?}", followed.called()) };
        assert!(why.starts_with("no observations for 2s (--blind)"), "{why}");
        followed.says(tick()).await;
        assert_eq!(followed.lines().await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_reader_has_ended_is_silence_too() {
        let Followed { client, halt, dir: _dir, .. } = begin(&[]);
        drop(client);
        let began = Instant::now();
        let called = halt.called();
        tokio::pin!(called);
        // The journal's writer is a thread, so time does not pass by itself.
        while futures::poll!(&mut called).is_pending() {
            assert!(began.elapsed() < Duration::from_secs(3));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(began.elapsed() >= Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_is_the_one() {
        let followed = begin(&["goodput < 1 for 100ms", "wrong_values > 0"]);
        followed.says(tick()).await;
        let why = Broken::Stopped("--abort-if goodput < 1 for 100ms: 0 ops/s seen".to_owned());
        assert_eq!(followed.called(), Some(why.clone()));
        followed.passes(Duration::from_secs(5)).await;
        assert_eq!(followed.halt.called().await, why);
    }
}
