//! What a lie is: when it is told, and what is done.

use std::time::Duration;

use bytes::Bytes;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lie {
    /// When it is told.
    pub when: When,
    /// What is done then.
    pub act: Act,
}

impl Lie {
    /// Told always, until narrowed.
    pub fn new(act: Act) -> Self {
        Self { when: When::default(), act }
    }

    /// Only for the command of this name.
    #[must_use]
    pub fn command(mut self, name: &str) -> Self {
        self.when.command = Some(name.to_owned());
        self
    }

    /// Only for commands with a key that begins so.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl AsRef<[u8]>) -> Self {
        self.when.key_prefix = Some(Bytes::copy_from_slice(prefix.as_ref()));
        self
    }

    /// Only every `n`th time.
    #[must_use]
    pub fn every(mut self, n: u32) -> Self {
        self.when.every = n;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.when.times = Some(times);
        self
    }

    /// Only the first time.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }
}

impl From<Act> for Lie {
    fn from(act: Act) -> Self {
        Self::new(act)
    }
}

/// When a lie is told. Acts on new connections look at `every` and `times` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// The command's first word, such as `mg`; `None`: any.
    pub command: Option<String>,
    /// How one of the command's keys begins; `None`: any, and commands without a key.
    pub key_prefix: Option<Bytes>,
    /// 1: each time that the rest holds; `n`: the `n`th time, the `2n`th, ...
    pub every: u32,
    /// How many times at most; `None`: no end.
    pub times: Option<u64>,
}

impl Default for When {
    fn default() -> Self {
        Self { command: None, key_prefix: None, every: 1, times: None }
    }
}

/// What is done. A command is carried out, whatever happens to its reply, unless the act says otherwise.
///
/// The acts of all lies that hold for one command are done together, such as [`LoseWrite`](Act::LoseWrite) with
/// [`Close`](Act::Close). Of the ways to end a reply the earliest here wins: `Hang`, `NoNewline`, then the cuts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sends the reply, and those behind it, this much later.
    Delay(Duration),
    /// Reads on and never replies on this connection again, nor carries out what else comes.
    Hang,
    /// Closes (FIN) instead of the reply.
    Close,
    /// Resets (RST) instead of the reply; together with a cut, there.
    Reset,
    /// Closes in the middle of the value; of a reply without one, in its middle.
    CloseInsideValue,
    /// Closes after so many bytes of the reply.
    CutAfter(usize),
    /// Replies these bytes instead.
    Reply(Bytes),
    /// Echoes another key: the last byte changed.
    WrongKey,
    /// Echoes another opaque: a number's successor, or the last byte changed.
    WrongOpaque,
    /// Echoes neither key nor opaque in a meta reply.
    BareEcho,
    /// Claims a value so much longer or shorter than what is sent.
    WrongLength(i64),
    /// Claims a value of this length.
    HugeLength(u64),
    /// Sends the reply twice.
    DuplicateReply,
    /// Holds the reply back until the next one of the connection is sent.
    SwapWithNext,
    /// Sends these bytes right behind the reply, in the same write.
    TrailingBytes(Bytes),
    /// Sends these bytes though nobody asked.
    Early {
        /// When.
        at: Moment,
        /// What.
        bytes: Bytes,
    },
    /// Replies `SERVER_ERROR` with this text; the command is not carried out.
    ServerError(String),
    /// Sends the reply byte by byte, with this pause behind each.
    Drip(Duration),
    /// Reads the value of another key, with correct echoes; honest while no other value is stored.
    ForeignValue,
    /// Reads what the key held before its last write: a value, or nothing.
    StaleValue,
    /// Replies as if the write of a key was carried out.
    LoseWrite,
    /// Carries the command out so much later, though the connection may be gone by then, and replies only then.
    LateApply(Duration),
    /// Sends bytes without a line end instead of the reply, until the peer goes.
    NoNewline,
    /// On a new connection: `ERROR Too many open connections`, then closes, as memcached does when it is full.
    RefuseNew,
    /// On a new connection: never reads a byte.
    HangNew,
    /// Accepts no connection while so many are open; new ones wait in the backlog. `when` is not looked at, and the
    /// lowest of several counts.
    AcceptLimit(usize),
}

/// When unasked bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On a new connection, before anything is read.
    Accept,
    /// So long after the reply, in a write of their own. The connection does not wait for it.
    AfterReply(Duration),
}

/// What a lie looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Connection,
    Limit(usize),
    Command,
}

impl Act {
    pub(crate) fn side(&self) -> Side {
        match self {
            Act::RefuseNew | Act::HangNew | Act::Early { at: Moment::Accept, .. } => Side::Connection,
            Act::AcceptLimit(limit) => Side::Limit(*limit),
            _ => Side::Command,
        }
    }
}
