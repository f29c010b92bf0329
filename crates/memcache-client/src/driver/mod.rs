//! Wire drivers: how an op becomes bytes on one connection, and bytes become its reply.

pub(crate) mod codec;
mod guarded;
mod memcache_async;
mod meta;
pub(crate) mod pipeline;

#[cfg(any(test, fuzzing))]
pub(crate) use guarded::check_header;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::config::Driver;
use crate::error::Error;
use crate::key::Key;
use crate::op::{Op, Reply};
use crate::server::Replies;
use crate::stream::Stream;

/// What went over one server's connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes.
    pub(crate) read: AtomicU64,
    /// Bytes.
    pub(crate) written: AtomicU64,
    /// Whether the server echoes key and opaque with a miss or a refusal; one of the constants below.
    misses: AtomicU8,
}

/// Nobody has asked.
const UNKNOWN: u8 = 0;
/// It does not, as old versions.
const BARE: u8 = 1;
/// It does, and is held to it.
const ECHOED: u8 = 2;
/// The first connection's first request is a read of this key, which nobody writes, to know how the server sends a
/// miss. Otherwise a stray miss, which names nobody, could be taken for the answer to a read.
const MISSED_KEY: &str = "memcache-client:miss";

impl Traffic {
    fn add_read(&self, n: usize) {
        self.read.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn add_written(&self, n: usize) {
        self.written.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn rules(&self, value_max: usize) -> codec::Rules {
        codec::Rules { value_max, strict: self.misses.load(Ordering::Relaxed) == ECHOED }
    }

    /// What a new connection shall ask first, if it is not known how the server sends a miss.
    fn first_question(&self) -> Option<Key> {
        (self.misses.load(Ordering::Relaxed) == UNKNOWN).then(|| Key::new(MISSED_KEY).ok()).flatten()
    }

    /// Learns from a reply that was the right one.
    fn learn(&self, raw: &codec::Raw) {
        let known = match raw.echoes {
            codec::Echoes::Found => return,
            codec::Echoes::BareMiss => BARE,
            codec::Echoes::EchoedMiss => ECHOED,
        };
        if self.misses.load(Ordering::Relaxed) < known {
            self.misses.store(known, Ordering::Relaxed);
        }
    }
}

/// One connection that speaks. A call that ends in an error other than [`Error::Server`], or whose future is dropped,
/// leaves the connection in an unknown state: it must be closed.
pub(crate) trait Wire: Send {
    /// One op, to the last byte of its reply.
    fn execute(&mut self, op: &Op) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Several ops; their ends go to `replies` in order, as far as they are known.
    fn execute_many(
        &mut self,
        ops: &[Cow<'_, Op>],
        replies: &mut Replies,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Is it open, with nothing unread? Asked before each use of an idle connection; costs no system call as long as
    /// nothing has arrived.
    fn is_quiet(&mut self) -> bool;
}

/// A connection of either driver.
pub(crate) enum Connection {
    Meta(meta::MetaConnection),
    MemcacheAsync(memcache_async::MemcacheAsyncConnection),
}

impl Connection {
    /// Speaks `driver` over `stream`.
    pub(crate) fn new(
        driver: Driver,
        stream: Stream,
        value_max: usize,
        traffic: Arc<Traffic>,
    ) -> Result<Self, Error> {
        match (driver, stream) {
            (Driver::Meta, stream) => {
                Ok(Connection::Meta(meta::MetaConnection::new(stream, value_max, traffic)))
            }
            (Driver::MemcacheAsync, Stream::Tcp(stream)) => {
                let connection = memcache_async::MemcacheAsyncConnection::new(stream, value_max, traffic);
                Ok(Connection::MemcacheAsync(connection))
            }
            _ => Err(Error::Unsupported { driver: driver.name(), op: "connection other than plain TCP" }),
        }
    }

    pub(crate) async fn execute(&mut self, op: &Op) -> Result<Reply, Error> {
        match self {
            Connection::Meta(wire) => wire.execute(op).await,
            Connection::MemcacheAsync(wire) => wire.execute(op).await,
        }
    }

    pub(crate) async fn execute_many(
        &mut self,
        ops: &[Cow<'_, Op>],
        replies: &mut Replies,
    ) -> Result<(), Error> {
        match self {
            Connection::Meta(wire) => wire.execute_many(ops, replies).await,
            Connection::MemcacheAsync(wire) => wire.execute_many(ops, replies).await,
        }
    }

    /// It is used although its last reply has not come.
    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn soil(&mut self) {
        if let Connection::Meta(wire) = self {
            wire.dirty = true;
        }
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        match self {
            Connection::Meta(wire) => wire.is_quiet(),
            Connection::MemcacheAsync(wire) => wire.is_quiet(),
        }
    }
}
