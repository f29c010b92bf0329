//! Bugs to switch on, so that whoever judges clients can be tested: each is a way to be wrong that real clients have had, while
//! the settings claim otherwise. Only with the feature `seeded-bugs`, and never in a release.
//!
//! Where a bug is nothing but other settings than those that were declared, [`Seeded::in_effect`] is all of it. The others
//! have a hook each, marked with the feature, that asks here.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::config::{Config, OnOpen};
use crate::driver::Connection;
use crate::error::{Error, PoolFull};
use crate::key::Key;
use crate::op::{Op, Reply};
use crate::server::{Answer, Request};

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature seeded-bugs makes a client that is wrong on purpose: it is for debug builds only"
);

/// One way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// There is no breaker.
    BreakerDisabled,
    /// A breaker that has opened never closes.
    NeverCloses,
    /// Ten times as many failures as declared open a breaker.
    ThresholdTenfold,
    /// Ops wait ten times as long as declared.
    TimeoutTenfold,
    /// Ops wait for ever.
    NoTimeout,
    /// A server that has lost a connection is never dialled again.
    NeverRedials,
    /// A connection whose op has timed out is used again, and replies are not compared with their requests.
    DirtyConnection,
    /// Each timeout loses a place of the pool.
    LeaksSlot,
    /// An op whose home is down fails.
    NoFailover,
    /// An op whose home is down goes to the next server, even to one that is known to be down.
    FailsOverToDead,
    /// Once a server has been down, its keys stay elsewhere.
    NeverFailsBack,
    /// Some seconds after its recovery a server has no connection to give, for a while.
    Relapses,
    /// What fails is tried again until the op has no time left.
    RetriesWithoutLimit,
    /// One value in ten thousand is that of the read before it.
    Desync,
    /// A miss is a failure of its server.
    MissIsFailure,
    /// The breaker does not hear of timeouts.
    DeafToTimeouts,
    /// A half-open breaker lets everybody through.
    Stampede,
    /// An open breaker closes by itself after a moment, whatever it has not seen.
    Flaps,
    /// A connection whose op has timed out stays open, and nobody has it.
    LeaksConnection,
    /// When a server is back, all of its connections are made at once.
    DialsAtOnce,
    /// All servers share the connections of one.
    SharedPool,
    /// A write that was refused is reported as done.
    HidesRefusals,
    /// A server that is back is taken back half as late again as the settings allow.
    RecoversLate,
}

/// From a recovery to [`Bug::Relapses`], and how long that lasts.
const RELAPSE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(3));
/// Open time of [`Bug::Flaps`].
const FLAP: Duration = Duration::from_millis(750);
/// Of so many values [`Bug::Desync`] forges one.
const DESYNC_ONE_IN: u64 = 10_000;
/// What a judge grants a recovery beyond open time and timeout, as [`Bug::RecoversLate`] guesses.
const RECOVERY_MARGIN: Duration = Duration::from_secs(3);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The bug of one client, with everything that it remembers. Servers are told apart by their index.
#[derive(Clone, Default)]
pub struct Seeded {
    bug: Option<Bug>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    servers: Mutex<Vec<Memory>>,
    values: AtomicU64,
    last_value: Mutex<Bytes>,
    leaked: Mutex<Vec<Connection>>,
    shared: Mutex<Option<Arc<Semaphore>>>,
}

#[derive(Default, Clone)]
struct Memory {
    lost_a_connection: bool,
    closed_at: Option<Instant>,
    back_at: Option<Instant>,
}

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seeded").field(&self.bug).finish()
    }
}

impl PartialEq for Seeded {
    fn eq(&self, other: &Self) -> bool {
        self.bug == other.bug
    }
}

impl From<Bug> for Seeded {
    fn from(bug: Bug) -> Self {
        Self { bug: Some(bug), state: Arc::default() }
    }
}

impl Seeded {
    /// Is it this one?
    pub fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// What the client really does, of what it declares.
    pub(crate) fn in_effect(&self, mut config: Config) -> Config {
        let Some(bug) = self.bug else { return config };
        match (bug, &mut config.breaker) {
            (Bug::BreakerDisabled, breaker) => *breaker = None,
            (Bug::NeverCloses, Some(breaker)) => breaker.successes_to_close = u32::MAX,
            (Bug::ThresholdTenfold, Some(breaker)) => {
                breaker.consecutive_timeouts = breaker.consecutive_timeouts.map(|n| n * 10);
                breaker.ratio.iter_mut().for_each(|rule| rule.min_calls *= 10);
            }
            (Bug::Flaps, Some(breaker)) => (breaker.open, breaker.open_jitter) = (FLAP, 0.0),
            (Bug::TimeoutTenfold, _) => {
                config.op_timeout *= 10;
                config.total_timeout = config.total_timeout.max(config.op_timeout);
            }
            (Bug::NoTimeout, _) => {
                (config.op_timeout, config.total_timeout) = (FOR_EVER, FOR_EVER);
                config.connect_timeout = FOR_EVER;
            }
            (Bug::NoFailover, _) => config.routing.on_open = OnOpen::FailFast,
            _ => {}
        }
        config
    }

    fn server<T>(&self, index: usize, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut servers = lock(&self.state.servers);
        if servers.len() <= index {
            servers.resize(index + 1, Memory::default());
        }
        with(&mut servers[index])
    }

    /// A breaker has closed.
    pub(crate) fn closed(&self, server: usize) {
        self.server(server, |memory| {
            (memory.closed_at, memory.back_at) = (Some(Instant::now()), None);
        });
    }

    /// Has this server been down and come back, and does the client not see it?
    pub(crate) fn stays_away(&self, server: usize) -> bool {
        self.is(Bug::NeverFailsBack) && self.server(server, |memory| memory.closed_at.is_some())
    }

    /// The error of an attempt that is not made.
    pub(crate) fn relapse(&self, server: usize) -> Result<(), Error> {
        if !self.is(Bug::Relapses) {
            return Ok(());
        }
        let well = self.server(server, |memory| memory.closed_at).map(|at| at.elapsed());
        match well {
            Some(well) if well >= RELAPSE.0 && well < RELAPSE.0 + RELAPSE.1 => {
                Err(Error::PoolExhausted(PoolFull::Waiters(0)))
            }
            _ => Ok(()),
        }
    }

    /// A connection was lost.
    pub(crate) fn lost(&self, server: usize) {
        self.server(server, |memory| memory.lost_a_connection = true);
    }

    /// The error of a dial that is not made.
    pub(crate) fn refuse_dial(&self, server: usize) -> Result<(), Error> {
        match self.is(Bug::NeverRedials) && self.server(server, |memory| memory.lost_a_connection) {
            true => Err(Error::Connect(Arc::new(std::io::ErrorKind::NotConnected.into()))),
            false => Ok(()),
        }
    }

    /// A probe has succeeded: shall it count as failed?
    pub(crate) fn not_yet(&self, server: usize, config: &Config) -> bool {
        let (true, Some(breaker)) = (self.is(Bug::RecoversLate), &config.breaker) else { return false };
        let longest = breaker.open.mul_f64(1.0 + breaker.open_jitter);
        let limit = (longest + config.op_timeout + RECOVERY_MARGIN).mul_f64(1.5);
        let since = self.server(server, |memory| *memory.back_at.get_or_insert_with(Instant::now));
        since.elapsed() < limit
    }

    /// Changes what an attempt has brought.
    pub(crate) fn forge(&self, refused_write: bool, result: &mut Result<Answer, Error>) {
        match (self.bug, &mut *result) {
            (Some(Bug::Desync), Ok(Answer::One(Reply::Value(value)))) => {
                let n = self.state.values.fetch_add(1, Ordering::Relaxed) + 1;
                let last = std::mem::replace(&mut *lock(&self.state.last_value), value.clone());
                if n.is_multiple_of(DESYNC_ONE_IN) {
                    *value = last;
                }
            }
            (Some(Bug::HidesRefusals), Err(Error::Server(_))) if refused_write => {
                *result = Ok(Answer::One(Reply::Stored));
            }
            _ => {}
        }
    }

    /// Keeps a connection that nobody will use.
    pub(crate) fn keep(&self, connection: Connection) {
        lock(&self.state.leaked).push(connection);
    }

    /// A place among those that all servers share.
    pub(crate) async fn shared_place(&self, config: &Config) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if !self.is(Bug::SharedPool) {
            return Ok(None);
        }
        let places = Arc::clone(
            lock(&self.state.shared).get_or_insert_with(|| Arc::new(Semaphore::new(config.pool.max))),
        );
        let wait = config.pool_wait();
        match tokio::time::timeout(wait, places.acquire_owned()).await {
            Ok(permit) => Ok(permit.ok()),
            Err(_) => Err(Error::PoolExhausted(PoolFull::Waited(wait))),
        }
    }
}

/// Is it a write that a server may refuse?
pub(crate) fn is_write(request: &Request<'_>) -> bool {
    matches!(request, Request::One(Op::Set { .. } | Op::Add { .. }))
}

/// Key and number that the reply at hand names, whoever asked for it.
pub(crate) fn echoed(input: &[u8]) -> Option<(Key, u32)> {
    let line = &input[..input.iter().position(|byte| *byte == b'\n')?];
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
    let key = words.clone().find_map(|word| word.strip_prefix('k'))?;
    let opaque = words.find_map(|word| word.strip_prefix('O'))?;
    Some((Key::new(key).ok()?, opaque.parse().ok()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
