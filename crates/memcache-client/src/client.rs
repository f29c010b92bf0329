//! The face of the crate, and the failover loop.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::{Either, join_all, select};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::breaker::{Breaker, Fleet};
use crate::bugs::Bug;
use crate::config::{Config, ConfigError, Hedge, OnOpen, Probes, ServerAddr};
use crate::error::Error;
use crate::key::Key;
use crate::lookaside::Flights;
use crate::observer::Observer;
use crate::op::{Attempt, Attempts, Completion, Op, Reply};
use crate::outcome::Outcome;
use crate::request::{Answer, Request};
use crate::retry::RetryBudget;
use crate::server::{Server, ServerStats};
use crate::sync::{spawn, timeout};
use crate::topology::Topology;

/// Ops that run when the client is closed, or their server is taken off the list, may take this long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A memcache client over several servers. Cheap to clone; clones share connections and breakers.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    observer: Arc<dyn Observer>,
    pub(crate) topology: ArcSwap<Topology>,
    /// Held while the list of servers changes.
    changing: Mutex<()>,
    fleet: Arc<Fleet>,
    retries: RetryBudget,
    hedges: RetryBudget,
    flights: Flights,
    pub(crate) ops: AtomicU64,
    retried: AtomicU64,
    hedged: AtomicU64,
}

/// What a client did beyond one attempt an op, since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Ops.
    pub ops: u64,
    /// Attempts that repeated one whose end is unknown.
    pub retries: u64,
    /// Second copies of slow reads.
    pub hedges: u64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client; nothing is dialled before the first op.
    pub fn new(
        servers: Vec<ServerAddr>,
        config: Config,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        config.validate_servers(&servers)?;
        let config = Arc::new(config.bugs.clone().in_effect(config));
        let fleet = Fleet::new(servers.len(), config.routing.max_ejected);
        let built = servers.into_iter().enumerate();
        let built: Vec<_> =
            built.map(|(index, addr)| build(index, addr, &config, &fleet, &observer)).collect();
        let active: Vec<usize> = (0..built.len()).collect();
        let topology = Topology::new(built, &active, &config.routing.gutter);
        let inner = Inner {
            topology: ArcSwap::from_pointee(topology),
            changing: Mutex::new(()),
            fleet,
            retries: RetryBudget::new(config.retry_budget),
            hedges: RetryBudget::new(config.hedge.map_or(0.0, |hedge| hedge.budget)),
            flights: Flights::default(),
            ops: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            hedged: AtomicU64::new(0),
            config,
            observer,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes the list of servers, at once and as a whole, within a tokio runtime. A server that stays (same name and
    /// address) keeps its connections and its breaker; one that goes lets its ops end. Indices in completions and
    /// statistics belong to names: a name keeps its index, and no other name gets it.
    pub fn set_servers(&self, servers: Vec<ServerAddr>) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        inner.config.validate_servers(&servers)?;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.topology.load_full();
        let mut all = before.servers.clone();
        let mut active = Vec::new();
        for addr in servers {
            let known = all.iter().position(|server| server.addr().name == addr.name);
            let index = known.unwrap_or(all.len());
            let stays = known.is_some_and(|index| *all[index].addr() == addr && !all[index].is_retired());
            if !stays {
                let server = build(index, addr, &inner.config, &inner.fleet, &inner.observer);
                if known.is_some() { all[index] = server } else { all.push(server) }
            }
            active.push(index);
        }
        inner.fleet.resize(active.len());
        let after = Topology::new(all, &active, &inner.config.routing.gutter);
        for (index, server) in before.servers.iter().enumerate() {
            let stays = active.contains(&index) && Arc::ptr_eq(server, &after.servers[index]);
            if !stays && server.retire() {
                let server = Arc::clone(server);
                spawn(async move { server.close(CLOSE_PATIENCE).await });
            }
        }
        inner.topology.store(Arc::new(after));
        Ok(())
    }

    /// Runs one op: at most one attempt a server and retry, all within the total timeout. Dropping the future is
    /// safe at every point; the connection under it is closed.
    pub async fn execute(&self, op: Op) -> Completion {
        let inner = &*self.inner;
        inner.ops.fetch_add(1, Ordering::Relaxed);
        let topology = inner.topology.load_full();
        let home = topology.home(op.key().as_bytes());
        let mut attempts = Attempts::new();
        let result = match inner.check(&op) {
            Ok(()) => inner.run(&op, &topology, home, &mut attempts).await,
            Err(error) => Err(error),
        };
        Completion { home, attempts, result }
    }

    /// Reads one key.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        match self.execute(Op::Get(key.clone())).await.result? {
            Reply::Value(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// Writes one key; `ttl` `None` is for ever.
    pub async fn set(&self, key: &Key, value: Bytes, ttl: Option<Duration>) -> Result<(), Error> {
        self.execute(Op::Set { key: key.clone(), value, ttl }).await.result.map(|_| ())
    }

    /// Writes one key unless it exists; says whether it did.
    pub async fn add(&self, key: &Key, value: Bytes, ttl: Option<Duration>) -> Result<bool, Error> {
        let reply = self.execute(Op::Add { key: key.clone(), value, ttl }).await.result?;
        Ok(reply == Reply::Stored)
    }

    /// Removes one key; says whether it was there.
    pub async fn delete(&self, key: &Key) -> Result<bool, Error> {
        Ok(self.execute(Op::Delete(key.clone())).await.result? == Reply::Deleted)
    }

    /// Counts up; `None` when there is no such counter. `initial` makes one.
    pub async fn incr(
        &self,
        key: &Key,
        delta: u64,
        initial: Option<(u64, Option<Duration>)>,
    ) -> Result<Option<u64>, Error> {
        match self.execute(Op::Incr { key: key.clone(), delta, initial }).await.result? {
            Reply::Counter(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// Renews a time to live; says whether the key was there.
    pub async fn touch(&self, key: &Key, ttl: Option<Duration>) -> Result<bool, Error> {
        Ok(self.execute(Op::Touch(key.clone(), ttl)).await.result? == Reply::Touched)
    }

    /// State and counters of every server, by index. Changes nothing.
    pub fn stats(&self) -> Vec<ServerStats> {
        self.inner.topology.load().servers.iter().map(|server| server.stats()).collect()
    }

    /// What was done beyond one attempt an op.
    pub fn totals(&self) -> ClientStats {
        ClientStats {
            ops: self.inner.ops.load(Ordering::Relaxed),
            retries: self.inner.retried.load(Ordering::Relaxed),
            hedges: self.inner.hedged.load(Ordering::Relaxed),
        }
    }

    /// The servers, by index.
    pub fn servers(&self) -> Vec<ServerAddr> {
        self.inner.topology.load().servers.iter().map(|server| server.addr().clone()).collect()
    }

    /// Index of the server on which `key` lives.
    pub fn home(&self, key: &Key) -> usize {
        self.inner.topology.load().home(key.as_bytes())
    }

    /// The settings that the client was built with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Lets running ops end, closes all connections, refuses further ops.
    pub async fn close(&self) {
        let topology = self.inner.topology.load_full();
        join_all(topology.servers.iter().map(|server| server.close(CLOSE_PATIENCE))).await;
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.inner.flights
    }
}

impl Inner {
    pub(crate) fn check(&self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Set { value, .. } | Op::Add { value, .. } | Op::Cas { value, .. }
                if value.len() > self.config.value_max =>
            {
                Err(Error::ValueTooLarge { len: value.len(), limit: self.config.value_max })
            }
            _ => Ok(()),
        }
    }

    async fn run(
        &self,
        op: &Op,
        topology: &Topology,
        home: usize,
        attempts: &mut Attempts,
    ) -> Result<Reply, Error> {
        let mut now = Instant::now();
        let deadline = now + self.config.total_timeout;
        let mut retries = self.config.retries;
        let (mut place, mut index) = (0, home);
        // The other servers, and what they are asked; looked for when they are needed.
        let (mut candidates, mut elsewhere) = (None, None);
        loop {
            let server = &topology.servers[index];
            if place == 0 && self.config.bugs.stays_away(index) && topology.tries() > 1 {
                place = 1;
                index = candidates.get_or_insert_with(|| topology.candidates(op.key().as_bytes()))[place];
                continue;
            }
            let request = elsewhere.as_ref().unwrap_or(op);
            let mut result = match (&self.config.hedge, op) {
                (Some(hedge), Op::Get(_)) => {
                    self.hedged(hedge, server, request, (now, deadline), attempts).await
                }
                _ if place > 0 && self.config.bugs.is(Bug::FailsOverToDead) => {
                    Box::pin(server.attempt_with(None, Request::One(request), now, deadline)).await
                }
                _ => server.attempt(Request::One(request), now, deadline).await,
            };
            self.config.bugs.forge(op, &mut result);
            attempts.push(attempted(index, &result));
            let error = match result {
                Ok(Answer::One(reply)) => return Ok(reply),
                Ok(Answer::Many) => return Err(Error::Closed),
                Err(error) => error,
            };
            now = Instant::now();
            if now >= deadline {
                return Err(error);
            }
            let Some(next) = self.after(op, &error, place, topology, &mut retries) else { return Err(error) };
            if next != place {
                place = next;
                let candidates = candidates.get_or_insert_with(|| topology.candidates(op.key().as_bytes()));
                index = candidates[place];
                elsewhere.get_or_insert_with(|| op.with_ttl_max(self.config.routing.failover_ttl));
            }
        }
    }

    /// A read that is asked a second time, on another connection, when it takes long. The loser is dropped.
    async fn hedged(
        &self,
        hedge: &Hedge,
        server: &Arc<Server>,
        op: &Op,
        (now, deadline): (Instant, Instant),
        attempts: &mut Attempts,
    ) -> Result<Answer, Error> {
        let mut first = pin!(server.attempt(Request::One(op), now, deadline));
        if let Ok(result) = timeout(hedge.after, &mut first).await {
            return result;
        }
        if !self.hedges.withdraw(self.ops.load(Ordering::Relaxed)) {
            return first.await;
        }
        self.hedged.fetch_add(1, Ordering::Relaxed);
        // In a box: it takes no room in the future of an op that is fast enough.
        let second = Box::pin(server.attempt(Request::One(op), Instant::now(), deadline));
        let (result, other) = match select(first, second).await {
            Either::Left((result, second)) => (result, Either::Left(second)),
            Either::Right((result, first)) => (result, Either::Right(first)),
        };
        if result.is_ok() {
            return result;
        }
        attempts.push(attempted(server.index(), &result));
        match other {
            Either::Left(other) => other.await,
            Either::Right(other) => other.await,
        }
    }

    /// Where an op is asked after it failed at `place` of its key's order; `None`: nowhere, its caller gets the error.
    ///
    /// Failover costs nothing when nothing was sent; a retry of something that may have been applied needs an
    /// idempotent op and a token of the budget. A full pool is never passed on: it would push one slow server's load
    /// onto the others. A retry goes to the next server if it may and there is one, else to the same again.
    pub(crate) fn after(
        &self,
        op: &Op,
        error: &Error,
        place: usize,
        topology: &Topology,
        retries: &mut u32,
    ) -> Option<usize> {
        let failover = self.config.routing.on_open == OnOpen::Failover && op.may_fail_over();
        let next = (failover && place + 1 < topology.tries()).then_some(place + 1);
        if self.config.bugs.is(Bug::RetriesWithoutLimit) && !matches!(error, Error::PoolExhausted(_)) {
            return Some(place);
        }
        match error {
            Error::BreakerOpen
            | Error::Connect(_)
            | Error::ConnectTimeout { .. }
            | Error::TooManyConnections
            | Error::Closed => next,
            Error::Timeout(_) | Error::Reset(_) | Error::Protocol(_)
                if op.is_idempotent() && *retries > 0 =>
            {
                *retries -= 1;
                if !self.retries.withdraw(self.ops.load(Ordering::Relaxed)) {
                    return None;
                }
                self.retried.fetch_add(1, Ordering::Relaxed);
                Some(next.unwrap_or(place))
            }
            _ => None,
        }
    }
}

fn build(
    index: usize,
    addr: ServerAddr,
    config: &Arc<Config>,
    fleet: &Arc<Fleet>,
    observer: &Arc<dyn Observer>,
) -> Arc<Server> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    rng.set_stream(index as u64);
    let breaker = config.breaker.clone().map(|mut breaker| {
        // Nobody asks a stand-in while all homes are well: it would stay ejected until it is needed.
        if config.routing.gutter.contains(&addr.name) {
            breaker.probes = Probes::OutOfBand;
        }
        Breaker::new(breaker, Arc::clone(fleet), rng).with_bugs(config.bugs.clone())
    });
    Arc::new(Server::new(index, addr, Arc::clone(config), breaker, Arc::clone(observer)))
}

pub(crate) fn attempted(server: usize, result: &Result<Answer, Error>) -> Attempt {
    let outcome = match result {
        Ok(Answer::One(reply)) => reply.outcome(),
        Ok(Answer::Many) => Outcome::Hit,
        Err(error) => error.outcome(),
    };
    Attempt { server, outcome }
}
