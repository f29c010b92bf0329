//! How an op becomes bytes on one connection, and bytes become its reply: one codec a file, all behind [`Wire`].

mod guarded;
mod memcache_async;
pub(crate) mod meta;
mod traffic;

#[cfg(any(test, fuzzing))]
pub(crate) use guarded::check_header;
pub(crate) use traffic::Traffic;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use crate::config::Codec;
use crate::error::Error;
use crate::op::{Op, Reply};
use crate::request::Replies;
use crate::stream::Stream;
use memcache_async::MemcacheAsyncConnection;
use meta::MetaConnection;

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

/// A connection of either codec.
pub(crate) enum Connection {
    Meta(MetaConnection),
    MemcacheAsync(MemcacheAsyncConnection),
}

impl Connection {
    /// Speaks `codec` over `stream`.
    pub(crate) fn new(
        codec: Codec,
        stream: Stream,
        value_max: usize,
        traffic: Arc<Traffic>,
    ) -> Result<Self, Error> {
        match (codec, stream) {
            (Codec::Meta, stream) => Ok(Connection::Meta(MetaConnection::new(stream, value_max, traffic))),
            (Codec::MemcacheAsync, Stream::Tcp(stream)) => {
                Ok(Connection::MemcacheAsync(MemcacheAsyncConnection::new(stream, value_max, traffic)))
            }
            _ => Err(Error::Unsupported { codec: codec.name(), op: "connection other than plain TCP" }),
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

    /// It will be used although its last reply has not come: a bug that a client may be given.
    pub(crate) fn soil(&mut self) {
        match self {
            Connection::Meta(wire) => wire.soil(),
            // Its crate refuses what it did not ask for.
            Connection::MemcacheAsync(_) => {}
        }
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        match self {
            Connection::Meta(wire) => wire.is_quiet(),
            Connection::MemcacheAsync(wire) => wire.is_quiet(),
        }
    }
}
