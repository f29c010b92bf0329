//! A look-aside cache before a database: read the cache, load what it misses, fill it. And what may be switched on
//! so that a miss too many does not bring the database down.
//!
//! The cache is a [`Cache`]: the client under test, or [`Memory`] under paused time; the same code runs on both.

mod admitted;
mod breaker;
mod budget;
mod cache;
mod limit;
mod mitigation;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use database::{Database, QueryError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

pub use breaker::BreakerRule;
pub use cache::{Cache, Lookup, Memory};
pub use mitigation::{Mitigation, MitigationError, Setup};

use admitted::Admitted;
use breaker::Breaker;
use budget::Budget;
use limit::Limit;

/// What a caller does about a miss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// It waits so long for one answer of the database.
    pub patience: Duration,
    /// It asks again so many times.
    pub retries: u32,
    /// Retries are at most this share of the loads; `None`: no budget.
    pub budget: Option<f64>,
    /// Before a retry it waits a random time up to this.
    pub backoff: Option<Duration>,
    /// One query a key at a time; others wait for its answer.
    pub coalesce: bool,
    /// An answer that nobody waits for any more fills the cache too.
    pub late_fill: bool,
    /// Queries at once are limited: more when they are answered, fewer when they are not.
    pub adaptive: bool,
    /// No queries for a while when half of them fail.
    pub breaker: Option<BreakerRule>,
}

impl Default for Policy {
    /// 200 ms and two retries; nothing that would protect the database.
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(200),
            retries: 2,
            budget: None,
            backoff: None,
            coalesce: false,
            late_fill: false,
            adaptive: false,
            breaker: None,
        }
    }
}

/// Longest patience.
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);
/// Most retries.
const RETRIES_MAX: u32 = 100;

/// What is wrong with a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing, or too long.
    #[error("a caller waits for the database 1 ms to {PATIENCE_MAX:?}, not {0:?}")]
    Patience(Duration),
    /// Too many.
    #[error("a caller asks the database again {RETRIES_MAX} times at most, not {0}")]
    Retries(u32),
}

impl Policy {
    /// Checks what a user may have mistyped.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !(Duration::from_millis(1)..=PATIENCE_MAX).contains(&self.patience) {
            return Err(PolicyError::Patience(self.patience));
        }
        if self.retries > RETRIES_MAX {
            return Err(PolicyError::Retries(self.retries));
        }
        Ok(())
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The cache had it.
    Hit,
    /// The database had it.
    Loaded,
    /// The database did not answer in time.
    TimedOut,
    /// The database refused.
    Refused,
    /// The limit or the breaker refused: the database was not asked.
    Shed,
}

impl End {
    /// Did the caller get what it asked for?
    pub fn is_good(self) -> bool {
        matches!(self, End::Hit | End::Loaded)
    }
}

/// The cache, the database and the policy between them. Cheap to clone.
#[derive(Debug)]
pub struct LookAside<C> {
    inner: Arc<Inner<C>>,
}

impl<C> Clone for LookAside<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<C> {
    cache: C,
    database: Database,
    policy: Policy,
    budget: Option<Budget>,
    limit: Option<Limit>,
    breaker: Option<Breaker>,
    /// By key; one entry a query that the database has not answered.
    flights: Mutex<HashMap<usize, Arc<Flight>>>,
    rng: Mutex<ChaCha8Rng>,
}

/// The end of a query, for all who wait for it.
type Flight = watch::Sender<Option<Result<(), QueryError>>>;

impl<C: Cache> LookAside<C> {
    /// The same seed draws the same backoff.
    pub fn new(cache: C, database: Database, policy: Policy, seed: u64) -> Self {
        let inner = Inner {
            cache,
            database,
            budget: policy.budget.map(Budget::new),
            limit: policy.adaptive.then(|| Limit::new(policy.patience)),
            breaker: policy.breaker.map(Breaker::new),
            policy,
            flights: Mutex::default(),
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The database behind it.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// One request for one key.
    pub async fn request(&self, key: usize) -> End {
        let inner = &self.inner;
        if inner.cache.get(key).await == Lookup::Hit {
            return End::Hit;
        }
        if let Some(budget) = &inner.budget {
            budget.earn();
        }
        let mut retries = inner.policy.retries;
        loop {
            let end = self.load(key).await;
            // What the caller's own side refused it would refuse again.
            let again = !matches!(end, End::Loaded | End::Shed) && retries > 0;
            if !again || !inner.budget.as_ref().is_none_or(Budget::spend) {
                return end;
            }
            retries -= 1;
            if let Some(most) = inner.policy.backoff {
                let wait = most.mul_f64(lock(&inner.rng).random::<f64>());
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One query, if it may be asked.
    async fn load(&self, key: usize) -> End {
        let inner = &self.inner;
        let admit = |breaker: &Breaker| breaker.admit(&mut *lock(&inner.rng));
        let Some(admitted) = Admitted::ask(inner.breaker.as_ref(), inner.limit.as_ref(), admit) else {
            return End::Shed;
        };
        let answer = if inner.policy.coalesce { self.join(key).await } else { self.ask(key).await };
        admitted.ended(answer.is_ok());
        match answer {
            Ok(()) => End::Loaded,
            Err(QueryError::TimedOut) => End::TimedOut,
            Err(QueryError::Refused) => End::Refused,
        }
    }

    /// A query of one's own.
    async fn ask(&self, key: usize) -> Result<(), QueryError> {
        let inner = &self.inner;
        let mut ticket = inner.database.submit(inner.policy.patience)?;
        let answer = ticket.answer().await;
        match answer {
            Ok(()) => inner.cache.fill(key).await,
            Err(QueryError::TimedOut) if inner.policy.late_fill => {
                let inner = Arc::downgrade(inner);
                // As many of these tasks as there are queries in the database's queue, which is bounded, and which goes with
                // the last of the load.
                tokio::spawn(async move {
                    if ticket.late().await
                        && let Some(inner) = inner.upgrade()
                    {
                        inner.cache.fill(key).await;
                    }
                });
            }
            Err(_) => {}
        }
        answer
    }

    /// The query that is under way for this key, or a new one.
    async fn join(&self, key: usize) -> Result<(), QueryError> {
        let inner = &self.inner;
        let mut end = {
            let mut flights = lock(&inner.flights);
            match flights.get(&key) {
                Some(flight) => flight.subscribe(),
                None => {
                    let ticket = inner.database.submit(inner.policy.patience)?;
                    let (flight, end) = watch::channel(None);
                    let flight = Arc::new(flight);
                    flights.insert(key, Arc::clone(&flight));
                    tokio::spawn(fly(Arc::downgrade(inner), key, ticket, flight));
                    end
                }
            }
        };
        let ended = tokio::time::timeout(inner.policy.patience, end.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(end)) => (*end).unwrap_or(Err(QueryError::Refused)),
            Ok(Err(_)) => Err(QueryError::Refused),
            Err(_) => Err(QueryError::TimedOut),
        }
    }
}

/// Waits until the database has done with a query, however long, fills the cache if somebody still waits, and tells.
async fn fly<C: Cache>(inner: Weak<Inner<C>>, key: usize, ticket: database::Ticket, flight: Arc<Flight>) {
    let served = ticket.late().await;
    // Else the load is over, and nobody waits.
    let Some(inner) = inner.upgrade() else { return };
    if served && (flight.receiver_count() > 0 || inner.policy.late_fill) {
        inner.cache.fill(key).await;
    }
    lock(&inner.flights).remove(&key);
    flight.send_replace(Some(if served { Ok(()) } else { Err(QueryError::Refused) }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
