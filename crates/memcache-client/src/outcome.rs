//! How an op or an attempt ended.

/// The closed set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A read found its key.
    Hit,
    /// A read did not find its key; a success.
    Miss,
    /// A write was acknowledged (codec `memcache-async`: was sent).
    Stored,
    /// A conditional write was refused by its condition.
    NotStored,
    /// A delete was acknowledged.
    Deleted,
    /// A delete, incr or touch did not find its key.
    NotFound,
    /// No whole reply within the deadline. Whether a write was applied is unknown.
    Timeout,
    /// No connection could be made; nothing was sent.
    Connect,
    /// The connection broke under the op.
    Reset,
    /// The reply was not what the protocol allows, or not that of this request.
    Protocol,
    /// The server answered with an error, or would have (a value above its limit).
    ServerError,
    /// No connection slot came free in time; nothing was sent.
    PoolExhausted,
    /// Refused by the breaker; nothing was sent.
    BreakerOpen,
    /// The caller found that the value is not that of the key. Never set by this crate.
    WrongValue,
    /// The caller dropped the op.
    Cancelled,
}

impl Outcome {
    /// Did the op do what its caller asked?
    pub fn is_ok(self) -> bool {
        use Outcome::*;
        matches!(self, Hit | Miss | Stored | NotStored | Deleted | NotFound)
    }
}
