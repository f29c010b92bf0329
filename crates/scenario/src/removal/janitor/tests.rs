//! The janitor's side of the pipe, with a clock of the test's own.

use std::sync::{Arc, Mutex};

use tokio::io::{DuplexStream, ReadHalf, WriteHalf, split};
use tokio::task::JoinHandle;

use super::*;

const ONE: &str = "table - scenariod.1.2.3.4.1.6";
const TWO: &str = "table blue scenariod.1.2.3.4.2.6";
const RUN: &str = "run http://127.0.0.1:8474 scenariod.web1.00c0ffee.4711.99.1.down";

/// A janitor whose removals are only written down.
struct Rig {
    orders: WriteHalf<DuplexStream>,
    answers: BufReader<ReadHalf<DuplexStream>>,
    removed: Arc<Mutex<Vec<String>>>,
    served: JoinHandle<usize>,
}

/// The first `failing` removals fail.
async fn rig(failing: usize) -> Rig {
    let (ours, its) = tokio::io::duplex(4096);
    let (input, output) = split(its);
    let removed = Arc::new(Mutex::new(Vec::new()));
    let (written, tries) = (Arc::clone(&removed), Arc::new(Mutex::new(0)));
    let served = tokio::spawn(serve(BufReader::new(input), output, move |resource| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        let fails = *tries <= failing;
        if !fails {
            written.lock().unwrap().push(resource.to_string());
        }
        async move { if fails { Err("busy".to_owned()) } else { Ok(()) } }
    }));
    let (answers, orders) = split(ours);
    let mut answers = BufReader::new(answers);
    let mut listens = String::new();
    answers.read_line(&mut listens).await.unwrap();
    assert_eq!(listens, "ok\n");
    Rig { orders, answers, removed, served }
}

impl Rig {
    async fn say(&mut self, line: &str) -> String {
        self.orders.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }

    fn removed(&self) -> Vec<String> {
        self.removed.lock().unwrap().clone()
    }

    /// The owner dies; what was removed, and how much could not be.
    async fn end(self) -> (Vec<String>, usize) {
        let Self { mut orders, answers, removed, served } = self;
        orders.shutdown().await.unwrap();
        drop((orders, answers));
        let left = served.await.unwrap();
        (removed.lock().unwrap().clone(), left)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_owner_had_is_removed_and_what_it_had_removed_is_not() {
    let mut rig = rig(0).await;
    assert_eq!(rig.say(&format!("own 60000 {ONE}")).await, "ok");
    assert_eq!(rig.say(&format!("own 60000 {TWO}")).await, "ok");
    assert_eq!(rig.say(&format!("gone {ONE}")).await, "ok");
    assert!(rig.removed().is_empty());
    assert_eq!(rig.end().await, (vec![TWO.to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_ends_what_a_frozen_owner_has() {
    let mut rig = rig(0).await;
    rig.say(&format!("own 500 {ONE}")).await;
    rig.say(&format!("own 5000 {RUN}")).await;
    // Owned again: from now on.
    rig.say(&format!("own 1000 {ONE}")).await;
    sleep(Duration::from_millis(999)).await;
    assert!(rig.removed().is_empty());
    sleep(Duration::from_millis(2)).await;
    assert_eq!(rig.removed(), [ONE]);
    assert_eq!(rig.end().await.0, [ONE, RUN]);
}

#[tokio::test(start_paused = true)]
async fn done_ends_it_and_a_failed_removal_is_tried_again() {
    let mut rig = rig(3).await;
    rig.say(&format!("own 60000 {ONE}")).await;
    assert_eq!(rig.say("done").await, "ok");
    assert_eq!(rig.end().await, (vec![ONE.to_owned()], 0));

    let mut hopeless = self::rig(usize::MAX).await;
    hopeless.say(&format!("own 60000 {ONE}")).await;
    assert_eq!(hopeless.end().await, (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn orders_that_are_none_are_refused_and_foreign_names_above_all() {
    let mut rig = rig(0).await;
    for order in [
        "own 1000 table - filter",
        "own 1000 table -x scenariod.1.2.3.4.1.6",
        "own 1000 table a/b scenariod.1.2.3.4.1.6",
        "own soon table - scenariod.1.2.3.4.1.6",
        "own 1000 chain - scenariod.1.2.3.4.1.6",
        "own 1000 run http://127.0.0.1:8474 scenariod.",
        "own 1000 run http://127.0.0.1:8474 scenariod.web1.00c0ffee.4711.99.1.down.2.1790000000",
        "own 1000 run http://127.0.0.1:8474",
        "gone",
        "hello",
        "",
    ] {
        let answer = rig.say(order).await;
        assert!(answer.starts_with("error: "), "{order:?}: {answer}");
    }
    assert_eq!(rig.end().await, (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_line_without_an_end_is_an_owner_that_died() {
    let mut rig = rig(0).await;
    rig.say(&format!("own 60000 {ONE}")).await;
    rig.orders.write_all(&[b'x'; LINE_MAX as usize]).await.unwrap();
    assert_eq!((&mut rig.served).await.unwrap(), 0);
    assert_eq!(rig.removed(), [ONE]);
}

/// What a log line to a closed standard error must never do again.
struct PanickingLog;

impl tracing::Subscriber for PanickingLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        assert!(*event.metadata().level() > tracing::Level::WARN, "the log cannot be written");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn everything_is_removed_before_the_first_log_line() {
    let _log = tracing::subscriber::set_default(PanickingLog);
    let mut rig = rig(1).await;
    rig.say(&format!("own 60000 {ONE}")).await;
    rig.say(&format!("own 60000 {TWO}")).await;
    rig.orders.shutdown().await.unwrap();
    assert!((&mut rig.served).await.unwrap_err().is_panic(), "it has logged");
    // The first removal failed, and waited for its second try behind the other.
    assert_eq!(rig.removed(), [TWO, ONE]);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_panics_keeps_none_of_the_others() {
    let removed = Mutex::new(Vec::new());
    let all = vec![TWO.parse().unwrap(), ONE.parse().unwrap()];
    let remove = |resource: Resource| {
        let panics = resource.to_string() == TWO;
        assert!(!panics, "before it is a future");
        removed.lock().unwrap().push(resource.to_string());
        async { Ok(()) }
    };
    assert_eq!(take_away("test", all, &remove).await, [(TWO.parse().unwrap(), "a panic".to_owned())]);
    assert_eq!(*removed.lock().unwrap(), [ONE]);
}
