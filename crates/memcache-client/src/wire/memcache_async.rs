//! The second codec: classic text by the crate `memcache-async`, for comparison under the same faults.
//!
//! What is different, by that crate's making: `set` and `delete` are sent with `noreply`, so [`Reply::Stored`] and
//! [`Reply::Deleted`] only mean *sent*, and a hung or refusing server is not noticed by writes; the echoed key of a read
//! is not compared; there is no touch. What this codec adds: keys are checked, lengths are bounded, and a connection
//! is used again only after a read whose reply was taken whole.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use memcache_async::ascii::Protocol;
use tokio::net::TcpStream;

use super::Wire;
use super::guarded::{Gate, GuardedStream};
use super::meta::codec::exptime;
use super::traffic::Traffic;
use crate::error::{Error, ProtocolError, lost};
use crate::key::Key;
use crate::op::{Op, Reply};
use crate::request::Replies;

pub(crate) struct MemcacheAsyncConnection {
    protocol: Protocol<GuardedStream>,
    stream: Arc<TcpStream>,
    gate: Arc<Gate>,
    quiet: bool,
}

impl MemcacheAsyncConnection {
    pub(crate) fn new(stream: TcpStream, value_max: usize, traffic: Arc<Traffic>) -> Self {
        let stream = Arc::new(stream);
        let (guarded, gate) = GuardedStream::new(Arc::clone(&stream), value_max, traffic);
        Self { protocol: Protocol::new(guarded), stream, gate, quiet: true }
    }

    async fn get(&mut self, key: &Key) -> Result<Option<Bytes>, Error> {
        self.gate.expect_reply();
        let got = self.protocol.get(key.as_bytes()).await;
        match got {
            Ok(value) => {
                // "VALUE key flags length\r\n" value "\r\nEND\r\n": anything beyond is not ours. Flags and length have
                // at most 10 + 20 digits; what the crate has taken too much would sit in its buffer.
                let least = "VALUE ".len()
                    + key.as_bytes().len()
                    + " 0 0\r\n".len()
                    + value.len()
                    + "\r\nEND\r\n".len();
                let taken = self.gate.delivered.load(Ordering::Acquire);
                self.quiet = (least..=least + 28).contains(&taken);
                Ok(Some(Bytes::from(value)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.quiet = self.gate.delivered.load(Ordering::Acquire) == "END\r\n".len();
                Ok(None)
            }
            Err(error) => Err(mapped(error)),
        }
    }
}

/// The crate has one error type; an established connection's end is told from a bad reply by its kind.
fn mapped(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::Other => Error::Server(error.to_string().trim().escape_default().to_string().into()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            ProtocolError::Unexpected(error.to_string().escape_default().to_string()).into()
        }
        _ => lost(error),
    }
}

impl Wire for MemcacheAsyncConnection {
    async fn execute(&mut self, op: &Op) -> Result<Reply, Error> {
        self.quiet = false;
        let reply = match op {
            Op::Get(key) => return Ok(self.get(key).await?.map_or(Reply::Miss, Reply::Value)),
            Op::Set { key, value, ttl } => {
                self.protocol.set(key, value, exptime(*ttl)).await.map_err(mapped)?;
                Reply::Stored
            }
            Op::Delete(key) => {
                self.protocol.delete(key).await.map_err(mapped)?;
                Reply::Deleted
            }
            Op::Add { key, value, ttl } => {
                self.gate.expect_reply();
                match self.protocol.add(key, value, exptime(*ttl)).await {
                    Ok(()) => Reply::Stored,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Reply::NotStored,
                    Err(error) => return Err(mapped(error)),
                }
            }
            Op::Incr { key, delta, initial } => {
                self.gate.expect_reply();
                match (self.protocol.increment(key.as_bytes(), *delta).await, initial) {
                    (Ok(value), _) => Reply::Counter(value),
                    (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Reply::NotFound,
                    (Err(error), Some((value, ttl))) if error.kind() == io::ErrorKind::NotFound => {
                        self.gate.expect_reply();
                        let text = value.to_string();
                        self.protocol.add(key, text.as_bytes(), exptime(*ttl)).await.map_err(mapped)?;
                        Reply::Counter(*value)
                    }
                    (Err(error), _) => return Err(mapped(error)),
                }
            }
            Op::Touch(..) | Op::Lease { .. } | Op::Cas { .. } | Op::Invalidate { .. } => {
                self.quiet = true;
                return Err(Error::Unsupported { codec: "memcache-async", op: op.name() });
            }
        };
        self.quiet = true;
        Ok(reply)
    }

    async fn execute_many(&mut self, ops: &[Cow<'_, Op>], replies: &mut Replies) -> Result<(), Error> {
        // One by one: the crate's multi-get gives a map without saying which replies were whole.
        for op in ops {
            replies.push(self.execute(op).await)?;
        }
        Ok(())
    }

    fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let blocked =
            |read: io::Result<usize>| matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        self.quiet && blocked(self.stream.try_read(&mut byte))
    }
}
