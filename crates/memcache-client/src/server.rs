//! One server: breaker, connections, exchange - the way of one attempt.

#[cfg(feature = "seeded-bugs")]
mod seeded;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerStats, Permit, State, Verdict};
use crate::config::{Config, Mode, Probes};
use crate::connect;
use crate::driver::pipeline::Pipelines;
use crate::driver::{Connection, Traffic};
use crate::error::Error;
use crate::key::Key;
use crate::observer::{CloseReason, Observer, Transition};
use crate::op::{Op, Reply};
use crate::outcome::Outcome;
use crate::pool::{Closed, Found, Pool, PoolStats, Slot};
use crate::sync::{sleep_until, spawn, timeout_at};

/// A timeout counts against the server only if it had the request for this share of the op timeout. Otherwise the op
/// was short of time when it arrived, and the server may be well.
const SERVERS_SHARE: f64 = 0.85;

/// A server's name and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddr {
    /// Decides where keys live; shown in metrics and records.
    pub name: String,
    /// `host:port`, resolved at every dial, or `unix:/path`.
    pub addr: String,
}

/// Everything measured at one server since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Its connections.
    pub pool: PoolStats,
    /// Its breaker; `None` when there is none.
    pub breaker: Option<BreakerStats>,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Attempts that run now.
    pub in_flight: u64,
}

pub(crate) enum Request<'a> {
    One(&'a Op),
    /// Ops, and where to put their ends, in order. Those without one share the error of the whole.
    Many(&'a [Cow<'a, Op>], &'a mut Replies),
}

/// The ends of the first ops of a batch.
pub(crate) struct Replies {
    pub(crate) ends: Vec<Result<Reply, Error>>,
    refused: Option<Error>,
}

impl Replies {
    /// For so many ops.
    pub(crate) fn new(ops: usize) -> Self {
        Self { ends: Vec::with_capacity(ops), refused: None }
    }

    /// The end of the next op. A refusal is a whole one: what is behind it can be read. Any other error is given back: it
    /// ends the batch.
    pub(crate) fn push(&mut self, end: Result<Reply, Error>) -> Result<(), Error> {
        match &end {
            Ok(_) => {}
            Err(error @ (Error::Server(_) | Error::Unsupported { .. })) => self.refused = Some(error.clone()),
            Err(error) => return Err(error.clone()),
        }
        self.ends.push(end);
        Ok(())
    }

    /// What the whole says of the server, once all ops have their ends.
    fn answer(&mut self) -> Result<Answer, Error> {
        self.refused.take().map_or(Ok(Answer::Many), Err)
    }
}

pub(crate) enum Answer {
    One(Reply),
    Many,
}

/// When what happened in an attempt; a clock that was read once need not be read again.
#[derive(Default)]
struct Times {
    /// The server was waited for from here on.
    at_server: Option<Instant>,
    /// The last reply was read.
    ended: Option<Instant>,
}

/// Key of the reads that test whether a server is back. Nobody writes it: they are misses.
const PROBE_KEY: &str = "memcache-client:probe";
/// Between two probes of a half-open breaker.
const PROBE_GAP: Duration = Duration::from_millis(20);

/// Where a server is and who hears of it.
pub(crate) struct Site {
    pub(crate) index: usize,
    pub(crate) addr: ServerAddr,
    pub(crate) config: Arc<Config>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) traffic: Arc<Traffic>,
}

pub(crate) struct Server {
    site: Arc<Site>,
    breaker: Option<Breaker>,
    link: Link,
    in_flight: AtomicU64,
    /// Draws the ends of connections' lives, without a lock: a counter that is scrambled.
    drawn: AtomicU64,
    retired: AtomicBool,
}

/// How ops get their connections.
enum Link {
    Pool(Box<Pool>),
    Pipelines(Box<Pipelines>),
}

/// Counts one attempt for as long as it runs.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    pub(crate) fn new(
        index: usize,
        addr: ServerAddr,
        config: Arc<Config>,
        breaker: Option<Breaker>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let site = Arc::new(Site { index, addr, config, observer, traffic: Arc::default() });
        let link = match site.config.mode {
            Mode::Pooled => {
                Link::Pool(Box::new(Pool::new(site.config.pool.clone(), site.config.pool_wait())))
            }
            Mode::Pipelined { connections, depth } => {
                Link::Pipelines(Box::new(Pipelines::new(Arc::clone(&site), connections, depth)))
            }
        };
        Self {
            site,
            breaker,
            link,
            in_flight: AtomicU64::new(0),
            drawn: AtomicU64::new(index as u64),
            retired: AtomicBool::new(false),
        }
    }

    /// One attempt that begins now, at `began`, and is at an end by `deadline` and within the op timeout.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        request: Request<'_>,
        began: Instant,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        #[cfg(feature = "seeded-bugs")]
        self.site.config.seeded.relapse(self.site.index)?;
        let permit = match &self.breaker {
            None => None,
            Some(breaker)
                if breaker.config().probes == Probes::OutOfBand && !breaker.is_closed_or_refuse() =>
            {
                return Err(Error::BreakerOpen);
            }
            Some(breaker) => {
                let (permit, transition) = breaker.try_acquire(began);
                self.tell(transition);
                Some(permit.ok_or(Error::BreakerOpen)?)
            }
        };
        self.attempt_with(permit, request, began, deadline).await
    }

    pub(crate) async fn attempt_with(
        self: &Arc<Self>,
        permit: Option<Permit<'_>>,
        request: Request<'_>,
        began: Instant,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let _in_flight = InFlight::enter(&self.in_flight);
        let deadline = deadline.min(began + self.site.config.op_timeout);
        let mut times = Times::default();
        #[cfg(feature = "seeded-bugs")]
        let (_place, is_write) = {
            let config = &self.site.config;
            (config.seeded.shared_place(config).await?, crate::bugs::is_write(&request))
        };
        let result = match &self.link {
            Link::Pool(pool) => self.exchange_alone(pool, request, began, deadline, &mut times).await,
            Link::Pipelines(shared) => {
                let (at, at_server) = ((began, deadline), &mut times.at_server);
                match request {
                    Request::One(op) => shared.execute(op, at, at_server).await.map(Answer::One),
                    Request::Many(ops, replies) => {
                        let ended = shared.execute_many(ops, at, at_server, replies).await;
                        ended.and_then(|()| replies.answer())
                    }
                }
            }
        };
        #[cfg(feature = "seeded-bugs")]
        let result = {
            let mut result = result;
            self.site.config.seeded.forge(is_write, &mut result);
            result
        };
        if let Some(permit) = permit {
            self.judge(permit, &result, began, &times);
        }
        result
    }

    /// Tells the breaker what the attempt says about the server.
    fn judge(
        self: &Arc<Self>,
        permit: Permit<'_>,
        result: &Result<Answer, Error>,
        began: Instant,
        times: &Times,
    ) {
        let now = times.ended.unwrap_or_else(Instant::now);
        let servers_time =
            times.at_server.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let slow = permit.slow_above().is_some_and(|threshold| servers_time > threshold);
        let answered = if slow { Verdict::Slow } else { Verdict::Success };
        let (verdict, outcome) = match result {
            Ok(Answer::One(reply)) => (answered, reply.outcome()),
            Ok(Answer::Many) => (answered, Outcome::Hit),
            Err(error) => {
                let had_its_time = servers_time >= self.site.config.op_timeout.mul_f64(SERVERS_SHARE);
                let verdict = match error {
                    Error::Timeout(_) if had_its_time => Verdict::Timeout,
                    Error::ConnectTimeout(_) => Verdict::Timeout,
                    Error::Connect(_) if error.is_refused() => Verdict::Refused,
                    // Full is not ill: the server answers, and reads go on.
                    Error::Server(text) if text.starts_with("out of memory") => Verdict::Success,
                    Error::Server(text) if text.starts_with("object too large") => Verdict::Success,
                    Error::Connect(_) | Error::Reset(_) | Error::Protocol(_) | Error::Server(_) => {
                        Verdict::Failure
                    }
                    _ => Verdict::Nothing,
                };
                (verdict, error.outcome())
            }
        };
        let probe = permit.is_probe();
        #[cfg(feature = "seeded-bugs")]
        let verdict = self.misjudge(verdict, outcome, probe);
        let transition = permit.end(verdict, now);
        if probe {
            self.site.observer.probe(self.site.index, outcome, now.saturating_duration_since(began));
        }
        self.tell(transition);
    }

    async fn exchange_alone(
        &self,
        pool: &Pool,
        request: Request<'_>,
        began: Instant,
        deadline: Instant,
        times: &mut Times,
    ) -> Result<Answer, Error> {
        let mut closed = Closed::new();
        times.at_server = Some(began);
        let mut slot = pool.try_acquire();
        let ready = slot.as_mut().is_some_and(|slot| slot.take_idle(began, &mut closed));
        if !ready {
            self.tell_closed(&closed);
            closed.clear();
            // In a box: what is seldom waited for takes no room in the future of every op.
            let connected = self.connected(pool, slot.take(), began, &mut times.at_server);
            let connected = Box::pin(timeout_at(deadline, connected)).await;
            slot = Some(connected.unwrap_or_else(|_| Err(Error::Timeout(deadline - began)))?);
        }
        let exchanged = exchange(slot.as_mut(), request, deadline).await;
        #[cfg(feature = "seeded-bugs")]
        if exchanged.is_none() && self.misuse(&mut slot) {
            return Err(Error::Timeout(deadline - began));
        }
        let Some(slot) = slot else { return Err(Error::Timeout(deadline - began)) };
        let Some(result) = exchanged else {
            slot.close(CloseReason::Timeout, &mut closed);
            self.tell_closed(&closed);
            return Err(Error::Timeout(deadline - began));
        };
        let now = *times.ended.insert(Instant::now());
        match &result {
            // A server error is a whole reply; for what the driver does not have, nothing was sent.
            Ok(_) | Err(Error::Server(_) | Error::Unsupported { .. }) => closed.extend(slot.finish(now)),
            Err(Error::Protocol(_)) => slot.close(CloseReason::Protocol, &mut closed),
            Err(Error::TooManyConnections) => {
                pool.no_room();
                slot.close(CloseReason::Protocol, &mut closed);
            }
            Err(_) => slot.close(CloseReason::Reset, &mut closed),
        }
        self.tell_closed(&closed);
        result
    }

    /// `slot`, or the next one, with a connection.
    async fn connected<'a>(
        &self,
        pool: &'a Pool,
        slot: Option<Slot<'a>>,
        began: Instant,
        at_server: &mut Option<Instant>,
    ) -> Result<Slot<'a>, Error> {
        let (mut slot, now) = match slot {
            Some(slot) => (slot, began),
            None => (pool.acquire().await?, Instant::now()),
        };
        *at_server = Some(now);
        self.find_connection(&mut slot, now, at_server).await?;
        Ok(slot)
    }

    /// Gives the slot an idle connection or a new one.
    async fn find_connection(
        &self,
        slot: &mut Slot<'_>,
        now: Instant,
        at_server: &mut Option<Instant>,
    ) -> Result<(), Error> {
        let mut closed = Closed::new();
        let found = slot.find(now, &mut closed).await;
        self.tell_closed(&closed);
        if matches!(found?, Found::Idle) {
            return Ok(());
        }
        let Site { index, addr, config, observer, traffic } = &*self.site;
        #[cfg(feature = "seeded-bugs")]
        config.seeded.refuse_dial(*index)?;
        let began = Instant::now();
        // The server is waited for from here on, not our own turn to dial.
        *at_server = Some(began);
        let dialled = connect::connect(config, &addr.addr).await;
        observer.dial(*index, dialled.as_ref().err().map(ToString::to_string), began.elapsed());
        let dialled = dialled.inspect_err(|_| slot.dial_failed())?;
        let connection = Connection::new(config.driver, dialled, config.value_max, Arc::clone(traffic))?;
        slot.put_new(connection, self.draw());
        Ok(())
    }

    /// A number from 0 to 1.
    fn draw(&self) -> f64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed) ^ self.site.config.seed;
        (crate::router::mix(n) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tell(self: &Arc<Self>, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        self.site.observer.breaker(self.site.index, &transition);
        #[cfg(feature = "seeded-bugs")]
        if transition.to == State::Closed {
            self.misgreet();
        }
        let own_probes = self.breaker.as_ref().is_some_and(|b| b.config().probes == Probes::OutOfBand);
        if own_probes && transition.from == State::Closed {
            spawn(probe_until_closed(Arc::downgrade(self)));
        }
    }

    fn tell_closed(&self, closed: &Closed) {
        for reason in closed {
            self.site.observer.closed(self.site.index, *reason);
        }
    }

    /// Asks once whether the server is back.
    async fn probe(self: &Arc<Self>) {
        let (Some(breaker), Ok(key)) = (&self.breaker, Key::new(PROBE_KEY)) else { return };
        let began = Instant::now();
        let (permit, transition) = breaker.try_acquire(began);
        self.tell(transition);
        if permit.is_some() {
            let op = Op::Get(key);
            let deadline = began + self.site.config.op_timeout;
            // Its end is told to the breaker and the observer; nobody else asks.
            let _ = self.attempt_with(permit, Request::One(&op), began, deadline).await;
        }
    }

    pub(crate) async fn close(&self, patience: Duration) {
        match &self.link {
            Link::Pool(pool) => self.tell_closed(&pool.close(patience).await),
            Link::Pipelines(shared) => shared.close(patience).await,
        }
    }

    pub(crate) fn stats(&self) -> ServerStats {
        ServerStats {
            pool: match &self.link {
                Link::Pool(pool) => pool.stats(),
                Link::Pipelines(shared) => shared.stats(),
            },
            breaker: self.breaker.as_ref().map(Breaker::stats),
            bytes_read: self.site.traffic.read.load(Ordering::Relaxed),
            bytes_written: self.site.traffic.written.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn addr(&self) -> &ServerAddr {
        &self.site.addr
    }

    pub(crate) fn index(&self) -> usize {
        self.site.index
    }

    /// Is it off the list?
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Takes it off the list; `false` if it was already.
    pub(crate) fn retire(&self) -> bool {
        !self.retired.swap(true, Ordering::AcqRel)
    }
}

/// The end of a request on the slot's connection; `None`: none by `deadline`.
async fn exchange(
    slot: Option<&mut Slot<'_>>,
    request: Request<'_>,
    deadline: Instant,
) -> Option<Result<Answer, Error>> {
    let (connection, timer) = slot?.use_until(deadline)?;
    let exchange = pin!(async {
        match request {
            Request::One(op) => connection.execute(op).await.map(Answer::One),
            Request::Many(ops, replies) => {
                let ended = Box::pin(connection.execute_many(ops, replies)).await;
                ended.and_then(|()| replies.answer())
            }
        }
    });
    timer.limit(deadline, exchange).await
}

/// From a trip until the breaker has closed, or its server is gone.
async fn probe_until_closed(server: Weak<Server>) {
    loop {
        let wait = {
            let Some(server) = server.upgrade() else { return };
            let Some(breaker) = &server.breaker else { return };
            match breaker.stats().state {
                State::Closed => return,
                State::HalfOpen => Instant::now() + PROBE_GAP,
                State::Open => breaker.open_until().unwrap_or_else(Instant::now),
            }
        };
        sleep_until(wait).await;
        let Some(server) = server.upgrade() else { return };
        server.probe().await;
    }
}
