//! Why an op failed: facts first, text last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::outcome::Outcome;

/// Why an attempt, and with it an op, failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No whole reply within the attempt's time.
    #[error("no whole reply within {0:?}")]
    Timeout(Duration),
    /// The dial failed.
    #[error("connect: {0}")]
    Connect(Arc<io::Error>),
    /// The dial took longer than its limit.
    #[error("connect: {who}: no answer within {limit:?}")]
    ConnectTimeout {
        /// Addresses that were silent.
        who: Arc<str>,
        /// The limit.
        limit: Duration,
    },
    /// The server has no room for another connection; it read nothing.
    #[error("connect: the server has too many connections")]
    TooManyConnections,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Reset(Arc<io::Error>),
    /// The reply is not allowed here.
    #[error("protocol: {0}")]
    Protocol(ProtocolError),
    /// The server's own words.
    #[error("server error: {0}")]
    Server(Arc<str>),
    /// No connection slot in time.
    #[error("no connection free: {0}")]
    PoolExhausted(PoolFull),
    /// The breaker of every server that may serve the key is open.
    #[error("circuit breaker open")]
    BreakerOpen,
    /// The value is larger than the server takes; nothing was sent.
    #[error("a value of {len} bytes; the limit is {limit}")]
    ValueTooLarge {
        /// Its length.
        len: usize,
        /// The configured limit.
        limit: usize,
    },
    /// The chosen codec has no such op.
    #[error("the codec {codec} has no {op}")]
    Unsupported {
        /// Which codec.
        codec: &'static str,
        /// Which op.
        op: &'static str,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// What is wrong with a reply. The connection is closed in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Not a reply to this kind of request.
    #[error("unexpected reply {0:?}")]
    Unexpected(String),
    /// The reply of another request: the stream is out of step.
    #[error("the reply carries {what} {got:?} instead of {expected:?}")]
    Desync {
        /// `key` or `opaque`.
        what: &'static str,
        /// What was asked.
        expected: String,
        /// What came.
        got: String,
    },
    /// A line longer than the limit.
    #[error("a reply line of more than {0} bytes")]
    LineTooLong(usize),
    /// A length that is no number or above the limit.
    #[error("a value length of {got:?}; the limit is {limit}")]
    BadLength {
        /// As it came.
        got: String,
        /// The configured limit.
        limit: usize,
    },
    /// A value not followed by CR LF.
    #[error("the value is not followed by a line end")]
    BadValueEnd,
    /// Bytes that nobody asked for.
    #[error("{0} bytes after the reply")]
    TrailingBytes(usize),
}

/// Why there was no connection slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolFull {
    /// Too many ops wait already.
    #[error("{0} ops wait already")]
    Waiters(usize),
    /// Waited as long as allowed.
    #[error("waited {0:?}")]
    Waited(Duration),
}

impl Error {
    /// The class of this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Timeout(_) => Outcome::Timeout,
            Error::Connect(_) | Error::ConnectTimeout { .. } | Error::TooManyConnections | Error::Closed => {
                Outcome::Connect
            }
            Error::Reset(_) => Outcome::Reset,
            Error::Protocol(_) | Error::Unsupported { .. } => Outcome::Protocol,
            Error::Server(_) | Error::ValueTooLarge { .. } => Outcome::ServerError,
            Error::PoolExhausted(_) => Outcome::PoolExhausted,
            Error::BreakerOpen => Outcome::BreakerOpen,
        }
    }

    /// Is it certain that the server never saw the request?
    pub fn nothing_sent(&self) -> bool {
        use Error::*;
        matches!(
            self,
            Connect(_)
                | ConnectTimeout { .. }
                | TooManyConnections
                | PoolExhausted(_)
                | BreakerOpen
                | ValueTooLarge { .. }
                | Closed
        )
    }

    /// Did the server refuse the connection?
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Error::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Error::Protocol(error)
    }
}

/// An I/O error of an established connection.
pub(crate) fn lost(error: io::Error) -> Error {
    Error::Reset(Arc::new(error))
}
