//! Wire drivers: how an op becomes bytes on one connection, and bytes become its reply.

mod guarded;
mod memcache_async;
mod meta;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::config::Driver;
use crate::error::Error;
use crate::key::Key;
use crate::op::{Op, Reply};

/// Bytes that went over one server's connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
}

impl Traffic {
    fn add_read(&self, n: usize) {
        self.read.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn add_written(&self, n: usize) {
        self.written.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// One connection that speaks. A call that ends in an error other than [`Error::Server`], or whose future is dropped,
/// leaves the connection in an unknown state: it must be closed.
pub(crate) trait Wire: Send {
    /// One op, to the last byte of its reply.
    fn execute(&mut self, op: &Op) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Several reads; one entry a key, in order.
    fn get_many(&mut self, keys: &[Key]) -> impl Future<Output = Result<Vec<Option<Bytes>>, Error>> + Send;

    /// Is it open, with nothing unread? Asked before each use of an idle connection; costs no system call as long as
    /// nothing has arrived.
    fn is_quiet(&self) -> bool;
}

/// A connection of either driver.
pub(crate) enum Connection {
    Meta(meta::MetaConnection),
    MemcacheAsync(memcache_async::MemcacheAsyncConnection),
}

impl Connection {
    pub(crate) fn new(driver: Driver, stream: TcpStream, value_max: usize, traffic: Arc<Traffic>) -> Self {
        match driver {
            Driver::Meta => Connection::Meta(meta::MetaConnection::new(stream, value_max, traffic)),
            Driver::MemcacheAsync => {
                let connection = memcache_async::MemcacheAsyncConnection::new(stream, value_max, traffic);
                Connection::MemcacheAsync(connection)
            }
        }
    }

    pub(crate) async fn execute(&mut self, op: &Op) -> Result<Reply, Error> {
        match self {
            Connection::Meta(wire) => wire.execute(op).await,
            Connection::MemcacheAsync(wire) => wire.execute(op).await,
        }
    }

    pub(crate) async fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, Error> {
        match self {
            Connection::Meta(wire) => wire.get_many(keys).await,
            Connection::MemcacheAsync(wire) => wire.get_many(keys).await,
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Connection::Meta(wire) => wire.is_quiet(),
            Connection::MemcacheAsync(wire) => wire.is_quiet(),
        }
    }
}

/// Nothing has arrived and the other side has not closed.
fn nothing_to_read(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// memcached's expiry in seconds: 0 is for ever, a fraction is rounded up so that it does not become for ever, and
/// beyond 30 days it would be read as a Unix time.
fn exptime(ttl: Option<std::time::Duration>) -> u32 {
    const THIRTY_DAYS: u64 = 30 * 24 * 3600;
    ttl.map_or(0, |ttl| ttl.as_millis().div_ceil(1000).clamp(1, THIRTY_DAYS.into()) as u32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::exptime;

    #[test]
    fn a_short_life_is_not_for_ever() {
        assert_eq!(exptime(None), 0);
        assert_eq!(exptime(Some(Duration::ZERO)), 1);
        assert_eq!(exptime(Some(Duration::from_millis(1_001))), 2);
        assert_eq!(exptime(Some(Duration::from_secs(u64::MAX))), 2_592_000);
    }
}
