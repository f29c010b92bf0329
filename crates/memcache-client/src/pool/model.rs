//! The pool against a model that counts: random histories of ops that ask, wait, are dropped, finish and fail.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::config::Codec;
use crate::error::PoolFull;
use crate::stream::Stream;
use crate::wire::Traffic;

const WAIT_MAX: Duration = Duration::from_millis(25);
const IDLE_MAX: Duration = Duration::from_millis(200);

/// A connection on which nothing happens; counts as open while it lives.
struct Quiet(Arc<AtomicUsize>);

impl Quiet {
    fn open(count: &Arc<AtomicUsize>) -> Connection {
        count.fetch_add(1, Ordering::Relaxed);
        let stream = Stream::Other(Box::new(Quiet(Arc::clone(count))));
        Connection::new(Codec::Meta, stream, 1_000, Arc::new(Traffic::default())).unwrap()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Quiet {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Another op asks.
    Ask,
    /// A waiting op looks again.
    Look(usize),
    /// A waiting op is dropped.
    GiveUp(usize),
    /// An op with a slot gets a connection, if it has none.
    Connect(usize),
    Finish(usize),
    Fail(usize, CloseReason),
    /// An op with a slot is dropped.
    Drop(usize),
    Pass(u64),
    Close,
}

fn step(reasons: &'static [CloseReason]) -> impl Strategy<Value = Step> {
    let n = any::<usize>;
    prop_oneof![
        100 => Just(Step::Ask),
        60 => n().prop_map(Step::Look),
        20 => n().prop_map(Step::GiveUp),
        60 => n().prop_map(Step::Connect),
        50 => n().prop_map(Step::Finish),
        20 => (n(), prop::sample::select(reasons)).prop_map(|(n, reason)| Step::Fail(n, reason)),
        15 => n().prop_map(Step::Drop),
        20 => (0u64..40).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ]
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Slot<'a>, Error>> + 'a>>;

fn look<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// What is true of each waiting op: its number, when it has waited enough, and whether a slot is already its own.
#[derive(Clone, Copy)]
struct Waiter {
    number: u64,
    until: Instant,
    granted: bool,
}

/// Slots, counted.
struct Model {
    free: usize,
    closed: bool,
    /// In the order in which they came.
    waiters: VecDeque<Waiter>,
    refused: u64,
    /// When each idle connection was parked, the youngest last.
    idle: Vec<Instant>,
}

impl Model {
    /// A slot came free: the first that waits has it.
    fn free(&mut self) {
        match self.waiters.iter_mut().find(|waiter| !waiter.granted) {
            Some(first) => first.granted = true,
            None => self.free += 1,
        }
    }

    fn leaves(&mut self, number: u64) -> Waiter {
        let at = self.waiters.iter().position(|waiter| waiter.number == number).unwrap();
        self.waiters.remove(at).unwrap()
    }
}

/// The pool beside its model.
struct Compared<'a> {
    pool: &'a Pool,
    max: usize,
    max_waiting: usize,
    model: Model,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
    asked: u64,
    waiting: Vec<(u64, Asking<'a>)>,
    slots: Vec<Slot<'a>>,
    closed: Closed,
}

impl<'a> Compared<'a> {
    fn new(pool: &'a Pool, max: usize, max_waiting: usize) -> Self {
        let (waiters, idle) = (VecDeque::new(), Vec::new());
        Self {
            pool,
            max,
            max_waiting,
            model: Model { free: max, closed: false, waiters, refused: 0, idle },
            open: Arc::new(AtomicUsize::new(0)),
            asked: 0,
            waiting: Vec::new(),
            slots: Vec::new(),
            closed: Closed::new(),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = Instant::now();
        match step {
            Step::Ask => self.ask(now)?,
            Step::Look(n) if !self.waiting.is_empty() => self.look(n % self.waiting.len(), now)?,
            Step::GiveUp(n) if !self.waiting.is_empty() => {
                let (number, asking) = self.waiting.swap_remove(n % self.waiting.len());
                drop(asking);
                if self.model.leaves(number).granted {
                    self.model.free();
                }
            }
            Step::Connect(n) if !self.slots.is_empty() => self.connect(n % self.slots.len(), now)?,
            Step::Finish(n) if !self.slots.is_empty() => {
                let slot = self.slots.swap_remove(n % self.slots.len());
                if slot.connection.is_some() {
                    self.model.idle.push(now);
                }
                prop_assert_eq!(slot.finish(now), None);
                self.model.free();
            }
            Step::Fail(n, reason) if !self.slots.is_empty() => {
                self.slots.swap_remove(n % self.slots.len()).close(reason, &mut self.closed);
                self.model.free();
            }
            Step::Drop(n) if !self.slots.is_empty() => {
                drop(self.slots.swap_remove(n % self.slots.len()));
                self.model.free();
            }
            Step::Pass(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
            // Patience would make it wait behind the others; here it is the end that counts.
            Step::Close if !self.model.closed && self.waiting.is_empty() && self.slots.is_empty() => {
                prop_assert!(look(std::pin::pin!(self.pool.close(WAIT_MAX))).is_some());
                self.model.closed = true;
                self.model.idle.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn ask(&mut self, now: Instant) -> Result<(), TestCaseError> {
        self.asked += 1;
        let model = &mut self.model;
        let mut asking: Asking<'_> = Box::pin(self.pool.acquire());
        match look(asking.as_mut()) {
            Some(Ok(slot)) => {
                prop_assert!(model.free > 0 && !model.closed);
                model.free -= 1;
                self.slots.push(slot);
            }
            Some(Err(Error::Closed)) => prop_assert!(model.closed),
            Some(Err(Error::PoolExhausted(PoolFull::Waiters(n)))) => {
                prop_assert_eq!((n, model.free), (self.max_waiting, 0));
                model.refused += 1;
            }
            Some(Err(other)) => prop_assert!(false, "{}", other),
            None => {
                prop_assert!(model.free == 0 && !model.closed);
                model.waiters.push_back(Waiter { number: self.asked, until: now + WAIT_MAX, granted: false });
                self.waiting.push((self.asked, asking));
            }
        }
        Ok(())
    }

    fn look(&mut self, n: usize, now: Instant) -> Result<(), TestCaseError> {
        let number = self.waiting[n].0;
        let model = &mut self.model;
        let waiter = *model.waiters.iter().find(|waiter| waiter.number == number).unwrap();
        let Some(ended) = look(self.waiting[n].1.as_mut()) else {
            prop_assert!(!waiter.granted && !model.closed && now < waiter.until);
            return Ok(());
        };
        drop(self.waiting.swap_remove(n));
        model.leaves(number);
        match ended {
            Ok(slot) => {
                prop_assert!(waiter.granted);
                self.slots.push(slot);
            }
            Err(Error::Closed) => prop_assert!(model.closed && !waiter.granted),
            Err(Error::PoolExhausted(PoolFull::Waited(WAIT_MAX))) => {
                prop_assert!(!waiter.granted && now >= waiter.until);
                model.refused += 1;
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        Ok(())
    }

    fn connect(&mut self, n: usize, now: Instant) -> Result<(), TestCaseError> {
        let (slot, idle) = (&mut self.slots[n], &mut self.model.idle);
        if slot.connection.is_some() {
            return Ok(());
        }
        // The youngest first; those that were idle for too long are closed on the way.
        let fresh = idle.last().is_some_and(|since| now - *since <= IDLE_MAX);
        idle.truncate(if fresh { idle.len() - 1 } else { 0 });
        let found = look(Box::pin(slot.find(now, &mut self.closed)).as_mut());
        match found.unwrap().unwrap() {
            Found::Idle => prop_assert!(fresh),
            Found::Dial => {
                prop_assert!(!fresh);
                slot.put_new(Quiet::open(&self.open), 0.5);
            }
        }
        Ok(())
    }

    /// Does the pool count what the model counts?
    fn agree(&self) -> Result<(), TestCaseError> {
        let (stats, model) = (self.pool.stats(), &self.model);
        let granted = model.waiters.iter().filter(|waiter| waiter.granted).count();
        prop_assert_eq!(stats.active, self.slots.len() + granted);
        prop_assert_eq!(stats.active, self.max - model.free);
        prop_assert_eq!(stats.waiting, model.waiters.len());
        prop_assert!(stats.waiting <= self.max_waiting);
        prop_assert_eq!(stats.idle, model.idle.len());
        prop_assert_eq!(stats.acquire_errors, model.refused);
        let held = self.slots.iter().filter(|slot| slot.connection.is_some()).count();
        prop_assert_eq!(self.open.load(Ordering::Relaxed), held + model.idle.len());
        prop_assert!(held + model.idle.len() <= self.max);
        let living = stats.created as usize - stats.discards.iter().sum::<u64>() as usize;
        prop_assert_eq!(living, held + stats.idle);
        Ok(())
    }
}

async fn compare(max: usize, max_waiting: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let config = PoolConfig { max, max_waiting, idle_max: IDLE_MAX, ..PoolConfig::default() };
    let pool = Pool::new(config, WAIT_MAX);
    let mut compared = Compared::new(&pool, max, max_waiting);
    for step in steps {
        compared.step(step).await?;
        compared.agree()?;
    }
    let Compared { open, waiting, slots, .. } = compared;
    drop((waiting, slots));
    prop_assert_eq!((pool.gate.free(), pool.stats().active, pool.stats().waiting), (max, 0, 0));
    prop_assert_eq!(open.load(Ordering::Relaxed), pool.stats().idle);
    Ok(())
}

/// Losses that are storms make ops wait for their dials too; here only what must hold whatever happens.
async fn survives(max: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Slot<'a>, Error>> + 'a>>;
    let config = PoolConfig { max, max_waiting: 4, idle_max: IDLE_MAX, ..PoolConfig::default() };
    let (pool, open) = (Pool::new(config, WAIT_MAX), Arc::new(AtomicUsize::new(0)));
    let (mut asking, mut slots): (Vec<Connecting<'_>>, Vec<Slot<'_>>) = (Vec::new(), Vec::new());
    let connected = || async {
        let mut slot = pool.acquire().await?;
        if matches!(slot.find(Instant::now(), &mut Closed::new()).await?, Found::Dial) {
            slot.put_new(Quiet::open(&open), 0.5);
        }
        Ok(slot)
    };
    for step in steps {
        match step {
            Step::Ask => asking.push(Box::pin(connected())),
            Step::GiveUp(n) if !asking.is_empty() => drop(asking.swap_remove(n % asking.len())),
            Step::Finish(n) if !slots.is_empty() => {
                prop_assert_eq!(slots.swap_remove(n % slots.len()).finish(Instant::now()), None);
            }
            Step::Fail(n, reason) if !slots.is_empty() => {
                slots.swap_remove(n % slots.len()).close(reason, &mut Closed::new());
            }
            Step::Drop(n) if !slots.is_empty() => drop(slots.swap_remove(n % slots.len())),
            Step::Pass(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
            _ => {}
        }
        for n in (0..asking.len()).rev() {
            if let Some(ended) = look(asking[n].as_mut()) {
                drop(asking.swap_remove(n));
                slots.extend(ended.ok());
            }
        }
        let stats = pool.stats();
        prop_assert!(open.load(Ordering::Relaxed) <= max && stats.active <= max && stats.waiting <= 4);
        prop_assert_eq!(open.load(Ordering::Relaxed), slots.len() + stats.idle);
    }
    // Nobody waits for longer than twice the limit: once for a slot, once for a dial.
    tokio::time::advance(2 * WAIT_MAX).await;
    for mut asking in asking {
        let ended = look(asking.as_mut());
        let ended = if ended.is_none() {
            tokio::time::advance(2 * WAIT_MAX).await;
            look(asking.as_mut())
        } else {
            ended
        };
        prop_assert!(ended.is_some());
    }
    slots.clear();
    prop_assert_eq!((pool.gate.free(), pool.stats().waiting), (max, 0));
    Ok(())
}

fn run<S: Strategy>(inputs: &S, cases: u32, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = std::env::var("POOL_CASES").map_or(cases, |cases| cases.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(inputs, test).unwrap();
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn slots_are_what_the_model_counts() {
    const REASONS: &[CloseReason] = &[CloseReason::Protocol, CloseReason::Timeout];
    let (runtime, histories) = (paused(), (1usize..5, 0usize..5, vec(step(REASONS), 0..150)));
    run(&histories, 3_000, |(max, max_waiting, steps)| runtime.block_on(compare(max, max_waiting, steps)));
}

#[test]
fn storms_leak_nothing_and_make_nobody_wait_for_ever() {
    const REASONS: &[CloseReason] = &[CloseReason::Reset];
    let (runtime, histories) = (paused(), (1usize..9, vec(step(REASONS), 0..150)));
    run(&histories, 2_000, |(max, steps)| runtime.block_on(survives(max, steps)));
}
