//! The face of the crate, and the failover loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::breaker::{Breaker, Ejections};
use crate::config::{Config, ConfigError, OnOpen};
use crate::error::Error;
use crate::key::Key;
use crate::observer::Observer;
use crate::op::{Attempt, Attempts, Completion, KeyCompletion, MultiCompletion, Op, Reply};
use crate::outcome::Outcome;
use crate::retry::RetryBudget;
use crate::router::{Candidates, Router};
use crate::server::{Answer, Request, Server, ServerAddr, ServerStats};

/// Ops that run when the client is closed may take this long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A memcache client over several servers. Cheap to clone; clones share connections and breakers.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    router: Router,
    servers: Vec<Server>,
    budget: RetryBudget,
    ops: AtomicU64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.inner.servers.len()).finish_non_exhaustive()
    }
}

/// What the failover loop does after a failed attempt.
enum Next {
    /// Gives the error to the caller.
    GiveUp,
    /// Tries the same server again.
    Again,
    /// Tries the next server in the key's order.
    Elsewhere,
}

impl Client {
    /// Builds a client; nothing is dialled before the first op.
    pub fn new(
        servers: Vec<ServerAddr>,
        config: Config,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        if servers.is_empty() {
            return Err(ConfigError::NoServers);
        }
        for (index, server) in servers.iter().enumerate() {
            if servers[..index].iter().any(|other| other.name == server.name) {
                return Err(ConfigError::DuplicateServer(server.name.clone()));
            }
        }
        let router = Router::new(servers.iter().map(|server| server.name.as_str()));
        let max_ejected = config.routing.max_ejected.unwrap_or(servers.len().saturating_sub(1));
        let ejections = Ejections::new(max_ejected);
        let config = Arc::new(config);
        let servers = servers.into_iter().enumerate().map(|(index, addr)| {
            let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
            rng.set_stream(index as u64);
            let breaker =
                config.breaker.clone().map(|breaker| Breaker::new(breaker, Arc::clone(&ejections), rng));
            Server::new(index, addr, Arc::clone(&config), breaker, Arc::clone(&observer))
        });
        let servers = servers.collect();
        let budget = RetryBudget::new(config.retry_budget);
        Ok(Self { inner: Arc::new(Inner { config, router, servers, budget, ops: AtomicU64::new(0) }) })
    }

    /// Runs one op: at most one attempt a server and retry, all within the total timeout. Dropping the future is
    /// safe at every point; the connection under it is closed.
    pub async fn execute(&self, op: Op) -> Completion {
        let inner = &*self.inner;
        inner.ops.fetch_add(1, Ordering::Relaxed);
        let candidates = inner.router.candidates(op.key().as_bytes());
        let home = candidates[0];
        let mut attempts = Attempts::new();
        let result = match inner.check(&op) {
            Ok(()) => inner.run(&op, &candidates, &mut attempts).await,
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

    /// Reads several keys, from all their servers at once. Each key has an end of its own: the failure of one server
    /// is not that of the others' keys, and is never a miss.
    pub async fn multi_get(&self, keys: &[Key]) -> MultiCompletion {
        let inner = &*self.inner;
        inner.ops.fetch_add(1, Ordering::Relaxed);
        let deadline = Instant::now() + inner.config.total_timeout;
        let orders: Vec<Candidates> =
            keys.iter().map(|key| inner.router.candidates(key.as_bytes())).collect();
        let mut done = MultiCompletion {
            keys: orders
                .iter()
                .map(|order| KeyCompletion { home: order[0], result: Err(Error::BreakerOpen) })
                .collect(),
            attempts: Attempts::new(),
        };
        let mut pending: Vec<usize> = (0..keys.len()).collect();
        for round in 0..inner.servers.len() {
            let mut groups: Vec<Vec<usize>> = vec![Vec::new(); inner.servers.len()];
            for &key in &pending {
                groups[orders[key][round]].push(key);
            }
            pending.clear();
            let groups = groups.into_iter().enumerate().filter(|(_, group)| !group.is_empty());
            let ended = join_all(groups.map(|(server, group)| async move {
                let asked: Vec<Key> = group.iter().map(|&key| keys[key].clone()).collect();
                (server, inner.servers[server].attempt(Request::Many(&asked), deadline).await, group)
            }));
            for (server, result, group) in ended.await {
                done.attempts.push(attempted(server, &result));
                pending.extend(inner.settle(&mut done, result, group));
            }
            if pending.is_empty() {
                break;
            }
        }
        done
    }

    /// State and counters of every server, in the order of the configuration. Changes nothing.
    pub fn stats(&self) -> Vec<ServerStats> {
        self.inner.servers.iter().map(Server::stats).collect()
    }

    /// The servers, in the order of the configuration.
    pub fn servers(&self) -> impl Iterator<Item = &ServerAddr> {
        self.inner.servers.iter().map(Server::addr)
    }

    /// The settings that the client was built with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Lets running ops end, closes all connections, refuses further ops.
    pub async fn close(&self) {
        join_all(self.inner.servers.iter().map(|server| server.close(CLOSE_PATIENCE))).await;
    }
}

impl Inner {
    fn check(&self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Set { value, .. } | Op::Add { value, .. } if value.len() > self.config.value_max => {
                Err(Error::ValueTooLarge { len: value.len(), limit: self.config.value_max })
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, op: &Op, candidates: &Candidates, attempts: &mut Attempts) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.config.total_timeout;
        let mut retries = self.config.retries;
        let mut at = 0;
        // What another than the home server is asked; built when it is needed.
        let mut elsewhere = None;
        loop {
            let server = candidates[at];
            let request = if at == 0 {
                op
            } else {
                elsewhere.get_or_insert_with(|| op.with_ttl_max(self.config.routing.failover_ttl))
            };
            let result = self.servers[server].attempt(Request::One(request), deadline).await;
            attempts.push(attempted(server, &result));
            let error = match result {
                Ok(Answer::One(reply)) => return Ok(reply),
                Ok(Answer::Many(_)) => return Err(Error::Closed),
                Err(error) => error,
            };
            match self.after(op, &error, &mut retries) {
                Next::Again if Instant::now() < deadline => {}
                Next::Elsewhere if Instant::now() < deadline && at + 1 < candidates.len() => at += 1,
                _ => return Err(error),
            }
        }
    }

    /// Failover costs nothing when nothing was sent; a retry of something that may have been applied needs an
    /// idempotent op and a token of the budget. A full pool is never passed on: it would push one slow server's load
    /// onto the others.
    fn after(&self, op: &Op, error: &Error, retries: &mut u32) -> Next {
        let failover = self.config.routing.on_open == OnOpen::Failover && op.may_fail_over();
        match error {
            Error::BreakerOpen | Error::Connect(_) | Error::ConnectTimeout(_) if failover => Next::Elsewhere,
            Error::Timeout(_) | Error::Reset(_) | Error::Protocol(_)
                if op.is_idempotent() && *retries > 0 =>
            {
                *retries -= 1;
                match self.budget.withdraw(self.ops.load(Ordering::Relaxed)) {
                    false => Next::GiveUp,
                    true if failover => Next::Elsewhere,
                    true => Next::Again,
                }
            }
            _ => Next::GiveUp,
        }
    }

    /// Writes a group's end into `done`; gives the keys that the next server shall be asked for.
    fn settle(
        &self,
        done: &mut MultiCompletion,
        result: Result<Answer, Error>,
        group: Vec<usize>,
    ) -> Vec<usize> {
        match result {
            Ok(Answer::Many(values)) => {
                for (key, value) in group.into_iter().zip(values) {
                    done.keys[key].result = Ok(value);
                }
                Vec::new()
            }
            Ok(Answer::One(_)) => Vec::new(),
            Err(error) => {
                for &key in &group {
                    done.keys[key].result = Err(error.clone());
                }
                let failover = self.config.routing.on_open == OnOpen::Failover;
                let unsent =
                    matches!(error, Error::BreakerOpen | Error::Connect(_) | Error::ConnectTimeout(_));
                if failover && unsent { group } else { Vec::new() }
            }
        }
    }
}

fn attempted(server: usize, result: &Result<Answer, Error>) -> Attempt {
    let outcome = match result {
        Ok(Answer::One(reply)) => reply.outcome(),
        Ok(Answer::Many(_)) => Outcome::Hit,
        Err(error) => error.outcome(),
    };
    Attempt { server, outcome }
}
