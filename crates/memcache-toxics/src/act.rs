//! What a fault does with the ops that it chooses: data, carried out by `connection`.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::selector::Acts;

/// One fault's doing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// To requests.
    Request(RequestAct),
    /// To whole replies.
    Reply(ReplyAct),
    /// To each item with a value of a reply.
    Value(ValueAct),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RequestAct {
    /// Held so long, with all behind it.
    Hold(Hold),
    /// Answered here; the server does not see it.
    Answer(Answer),
    /// Held as above, while what a prober asks is answered here.
    HoldButAnswer(Answer),
    /// Answered here with these bytes, then the connection closes.
    AnswerAndClose(Bytes),
}

/// What is said in the server's place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// This line.
    Line(Bytes),
    /// There is no such key.
    Miss,
    /// It has been carried out.
    Done,
    /// `VERSION` with this text, or `MN`.
    Health(Bytes),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReplyAct {
    /// Held so long, with all behind it.
    Hold(Hold),
    /// Sent in pieces.
    Pace(Pace),
    /// This instead; nothing, if empty.
    Replace(Bytes),
    /// Twice.
    Duplicate,
    /// Behind the next one.
    Swap,
    /// These bytes behind it.
    Append(Bytes),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ValueAct {
    /// Sent in pieces.
    Pace(Pace),
    /// The connection closes after so many of its bytes; 0: after half of them.
    Cut { after: u64 },
    /// The line claims so many bytes more and less than follow.
    Length { longer: u64, shorter: u64 },
    /// The line names another key: its last byte changed.
    Key,
    /// The value really is so many bytes shorter, and the line says so.
    Truncate { shorter: u64 },
    /// One bit of it is another.
    Corrupt,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Uniform in latency ± jitter, not below 0.
    For { latency: Duration, jitter: Duration },
    /// Until the toxic is removed or updated.
    Forever,
}

impl Hold {
    /// `None`: without end.
    pub(crate) fn draw(self, rng: &mut ChaCha8Rng) -> Option<Duration> {
        match self {
            Hold::For { latency, jitter } if jitter.is_zero() => Some(latency),
            Hold::For { latency, jitter } => {
                // Whole milliseconds; both are at most a year, so nothing overflows.
                let (latency, jitter) = (latency.as_millis() as i64, jitter.as_millis() as i64);
                let drawn = latency + rng.random_range(-jitter..=jitter);
                Some(Duration::from_millis(drawn.max(0).unsigned_abs()))
            }
            Hold::Forever => None,
        }
    }
}

/// How a piece of a reply is sent in smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) cut: Cut,
    /// Between two of them.
    pub(crate) every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After so many bytes, at least 1.
    Bytes(usize),
    /// Between the two bytes of a line end.
    InsideLineEnds,
}

impl Pace {
    /// Length of the next piece of `bytes`, which are not empty.
    pub(crate) fn next(&self, bytes: &[u8]) -> usize {
        let cut = match self.cut {
            Cut::Bytes(n) => n.max(1),
            Cut::InsideLineEnds => memchr::memmem::find(bytes, b"\r\n").map_or(bytes.len(), |at| at + 1),
        };
        cut.min(bytes.len())
    }
}

impl Act {
    /// Does it say something in the server's place without the server?
    pub(crate) fn answers(&self) -> bool {
        matches!(self, Act::Request(act) if !matches!(act, RequestAct::Hold(_)))
    }

    pub(crate) fn acts(&self) -> Acts {
        match self {
            Act::Request(_) => Acts::OnRequests,
            Act::Reply(_) | Act::Value(_) => Acts::OnReplies,
        }
    }
}
