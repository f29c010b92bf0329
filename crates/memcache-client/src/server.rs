//! One server: breaker, pool, dial, exchange - the way of one attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerStats, Permit, Verdict};
use crate::config::Config;
use crate::driver::{Connection, Traffic};
use crate::error::Error;
use crate::key::Key;
use crate::observer::{CloseReason, Observer, Transition};
use crate::op::{Op, Reply};
use crate::outcome::Outcome;
use crate::pool::{Pool, PoolStats, Slot};

/// A timeout counts against the server only if it had the request for this share of the op timeout. Otherwise the op
/// was short of time when it arrived, and the server may be well.
const SERVERS_SHARE: f64 = 0.85;

/// A server's name and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddr {
    /// Decides where keys live; shown in metrics and records.
    pub name: String,
    /// `host:port`; resolved at every dial.
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
    Many(&'a [Key]),
}

pub(crate) enum Answer {
    One(Reply),
    Many(Vec<Option<Bytes>>),
}

pub(crate) struct Server {
    index: usize,
    addr: ServerAddr,
    config: Arc<Config>,
    breaker: Option<Breaker>,
    pool: Pool,
    traffic: Arc<Traffic>,
    in_flight: AtomicU64,
    observer: Arc<dyn Observer>,
}

/// Counts one attempt for as long as it runs.
struct InFlight<'a>(&'a AtomicU64);

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
        let pool = Pool::new(config.pool.clone(), config.pool_wait());
        Self {
            index,
            addr,
            config,
            breaker,
            pool,
            traffic: Arc::default(),
            in_flight: AtomicU64::new(0),
            observer,
        }
    }

    /// One attempt, at an end by `deadline` and within the op timeout.
    pub(crate) async fn attempt(&self, request: Request<'_>, deadline: Instant) -> Result<Answer, Error> {
        let permit = match &self.breaker {
            None => None,
            Some(breaker) => {
                let (permit, transition) = breaker.try_acquire();
                self.tell(transition);
                Some(permit.ok_or(Error::BreakerOpen)?)
            }
        };
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let _in_flight = InFlight(&self.in_flight);
        let began = Instant::now();
        let deadline = deadline.min(began + self.config.op_timeout);
        let mut at_server = None;
        let exchange = self.exchange(request, deadline, &mut at_server);
        let result = match tokio::time::timeout_at(deadline, exchange).await {
            Ok(result) => result,
            Err(_) => {
                self.observer.closed(self.index, CloseReason::Timeout);
                Err(Error::Timeout(deadline - began))
            }
        };
        if let Some(permit) = permit {
            let servers_time = at_server.map_or(Duration::ZERO, |since: Instant| since.elapsed());
            self.judge(permit, &result, servers_time);
        }
        result
    }

    /// Tells the breaker what the attempt says about the server.
    fn judge(&self, permit: Permit<'_>, result: &Result<Answer, Error>, servers_time: Duration) {
        let had_its_time = servers_time >= self.config.op_timeout.mul_f64(SERVERS_SHARE);
        let (verdict, outcome) = match result {
            Ok(Answer::One(reply)) => (Verdict::Success, reply.outcome()),
            Ok(Answer::Many(_)) => (Verdict::Success, Outcome::Hit),
            Err(error) => {
                let verdict = match error {
                    Error::Timeout(_) if had_its_time => Verdict::Timeout,
                    Error::ConnectTimeout(_) => Verdict::Timeout,
                    Error::Connect(_) if error.is_refused() => Verdict::Refused,
                    // Full is not ill: the server answers, and reads go on.
                    Error::Server(text) if text.starts_with("out of memory") => Verdict::Success,
                    Error::Connect(_) | Error::Reset(_) | Error::Protocol(_) | Error::Server(_) => {
                        Verdict::Failure
                    }
                    _ => Verdict::Nothing,
                };
                (verdict, error.outcome())
            }
        };
        let (probe, took) = (permit.is_probe(), permit.took());
        let transition = permit.end(verdict);
        if probe {
            self.observer.probe(self.index, outcome, took);
        }
        self.tell(transition);
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        deadline: Instant,
        at_server: &mut Option<Instant>,
    ) -> Result<Answer, Error> {
        let mut slot = self.pool.acquire().await?;
        *at_server = Some(Instant::now());
        self.connect(&mut slot).await?;
        let Some(connection) = slot.use_until(deadline) else { return Err(Error::Closed) };
        let result = match request {
            Request::One(op) => connection.execute(op).await.map(Answer::One),
            Request::Many(keys) => connection.get_many(keys).await.map(Answer::Many),
        };
        let closed = match &result {
            // A server error is a whole reply.
            Ok(_) | Err(Error::Server(_)) => slot.finish(),
            Err(Error::Protocol(_)) => slot.close(CloseReason::Protocol),
            Err(_) => slot.close(CloseReason::Reset),
        };
        if let Some(reason) = closed {
            self.observer.closed(self.index, reason);
        }
        result
    }

    /// Gives the slot an idle connection or a new one.
    async fn connect(&self, slot: &mut Slot<'_>) -> Result<(), Error> {
        let (found, closed) = slot.take_idle();
        for reason in closed {
            self.observer.closed(self.index, reason);
        }
        if found {
            return Ok(());
        }
        let began = Instant::now();
        let limit = self.config.connect_timeout;
        let dialled = match tokio::time::timeout(limit, TcpStream::connect(&self.addr.addr)).await {
            // Small requests must not wait for the acknowledgement of the one before.
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map(|()| stream).map_err(|e| Error::Connect(Arc::new(e)))
            }
            Ok(Err(error)) => Err(Error::Connect(Arc::new(error))),
            Err(_) => Err(Error::ConnectTimeout(limit)),
        };
        self.observer.dial(self.index, dialled.as_ref().err().map(ToString::to_string), began.elapsed());
        let (driver, value_max) = (self.config.driver, self.config.value_max);
        slot.put_new(Connection::new(driver, dialled?, value_max, Arc::clone(&self.traffic)));
        Ok(())
    }

    fn tell(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.observer.breaker(self.index, &transition);
        }
    }

    pub(crate) async fn close(&self, patience: Duration) {
        for reason in self.pool.close(patience).await {
            self.observer.closed(self.index, reason);
        }
    }

    pub(crate) fn stats(&self) -> ServerStats {
        ServerStats {
            pool: self.pool.stats(),
            breaker: self.breaker.as_ref().map(Breaker::stats),
            bytes_read: self.traffic.read.load(Ordering::Relaxed),
            bytes_written: self.traffic.written.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn addr(&self) -> &ServerAddr {
        &self.addr
    }
}
