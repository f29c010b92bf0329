//! The way of one attempt at one server: the breaker's permit, the exchange, and what the breaker hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerState, BreakerStats, Permit, Transition, Verdict};
use crate::config::{Config, Mode, Probes, ServerAddr};
use crate::error::Error;
use crate::exchange::{Times, exchange};
use crate::observer::Observer;
use crate::outcome::Outcome;
use crate::pipeline::Pipelines;
use crate::pool::{Pool, PoolStats};
use crate::probe;
use crate::request::{Answer, Request};
use crate::site::Site;
use crate::sync::spawn;

/// A timeout counts against the server only if it had the request for this share of the op timeout. Otherwise the op
/// was short of time when it arrived, and the server may be well.
const SERVERS_SHARE: f64 = 0.85;

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

pub(crate) struct Server {
    site: Arc<Site>,
    breaker: Option<Breaker>,
    link: Link,
    in_flight: AtomicU64,
    retired: AtomicBool,
}

/// How ops get their connections.
enum Link {
    Pool(Arc<Pool>),
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
        let site = Arc::new(Site::new(index, addr, config, observer));
        let link = match site.config.mode {
            Mode::Pooled => {
                Link::Pool(Arc::new(Pool::new(site.config.pool.clone(), site.config.pool_wait())))
            }
            Mode::Pipelined { connections, depth } => {
                Link::Pipelines(Box::new(Pipelines::new(Arc::clone(&site), connections, depth)))
            }
        };
        Self { site, breaker, link, in_flight: AtomicU64::new(0), retired: AtomicBool::new(false) }
    }

    /// One attempt that begins now, at `began`, and is at an end by `deadline` and within the op timeout.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        request: Request<'_>,
        began: Instant,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        self.site.config.bugs.relapse(self.site.index)?;
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
        let result = match &self.link {
            Link::Pool(pool) => exchange(&self.site, pool, request, began, deadline, &mut times).await,
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
                    Error::ConnectTimeout { .. } => Verdict::Timeout,
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
        let verdict = self.site.config.bugs.misjudge(&self.site, verdict, outcome, probe);
        let transition = permit.end(verdict, now);
        if probe {
            self.site.observer.probe(self.site.index, outcome, now.saturating_duration_since(began));
        }
        self.tell(transition);
    }

    /// Tells the observer of a transition; begins to probe if that is the client's own business.
    pub(crate) fn tell(self: &Arc<Self>, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        self.site.observer.breaker(self.site.index, &transition);
        if transition.to == BreakerState::Closed {
            let pool = if let Link::Pool(pool) = &self.link { Some(pool) } else { None };
            self.site.config.bugs.greet(&self.site, pool);
        }
        let own_probes = self.breaker.as_ref().is_some_and(|b| b.config().probes == Probes::OutOfBand);
        if own_probes && transition.from == BreakerState::Closed {
            spawn(probe::until_closed(Arc::downgrade(self)));
        }
    }

    pub(crate) async fn close(&self, patience: Duration) {
        match &self.link {
            Link::Pool(pool) => self.site.tell_closed(&pool.close(patience).await),
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

    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(crate) fn op_timeout(&self) -> Duration {
        self.site.config.op_timeout
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
