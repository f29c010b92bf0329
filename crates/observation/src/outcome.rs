//! How an op ended: the same closed set of classes everywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The class of one op's (or one attempt's) end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A read found its key.
    Hit,
    /// A read did not find its key. A miss is a success of the client.
    Miss,
    /// A write was acknowledged.
    Stored,
    /// A conditional write was refused by its condition.
    NotStored,
    /// A delete was acknowledged.
    Deleted,
    /// A delete, incr or touch did not find its key.
    NotFound,
    /// No whole reply within the deadline. A timed-out write is *unknown*, not failed.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The connection broke under the op.
    Reset,
    /// The reply was not what the protocol allows.
    Protocol,
    /// The server answered with an error.
    ServerError,
    /// No connection slot came free in time.
    PoolExhausted,
    /// Refused by the breaker, nothing was sent.
    BreakerOpen,
    /// A reply carried another value than the one that was written.
    WrongValue,
    /// The caller gave the op up.
    Cancelled,
}

impl Outcome {
    /// Every class, in declaration order.
    pub const ALL: [Outcome; 15] = [
        Outcome::Hit,
        Outcome::Miss,
        Outcome::Stored,
        Outcome::NotStored,
        Outcome::Deleted,
        Outcome::NotFound,
        Outcome::Timeout,
        Outcome::Connect,
        Outcome::Reset,
        Outcome::Protocol,
        Outcome::ServerError,
        Outcome::PoolExhausted,
        Outcome::BreakerOpen,
        Outcome::WrongValue,
        Outcome::Cancelled,
    ];

    /// Did the op do what its caller asked, within its deadline?
    pub fn is_ok(self) -> bool {
        use Outcome::*;
        matches!(self, Hit | Miss | Stored | NotStored | Deleted | NotFound)
    }

    /// Counts against the client: everything but success and the caller's own cancel.
    pub fn is_error(self) -> bool {
        !self.is_ok() && self != Outcome::Cancelled
    }

    /// The name used in records and metric labels.
    pub fn name(self) -> &'static str {
        use Outcome::*;
        match self {
            Hit => "hit",
            Miss => "miss",
            Stored => "stored",
            NotStored => "not_stored",
            Deleted => "deleted",
            NotFound => "not_found",
            Timeout => "timeout",
            Connect => "connect",
            Reset => "reset",
            Protocol => "protocol",
            ServerError => "server_error",
            PoolExhausted => "pool_exhausted",
            BreakerOpen => "breaker_open",
            WrongValue => "wrong_value",
            Cancelled => "cancelled",
        }
    }
}

/// How often each class occurred; classes that did not occur are absent. Sums stop at the largest number: counts come
/// from other processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[cfg_attr(feature = "schema", schemars(extend("propertyNames" = { "enum": Outcome::ALL.map(Outcome::name) })))]
pub struct Counts(pub BTreeMap<Outcome, u64>);

impl Counts {
    /// Adds `n` to `class`.
    pub fn add(&mut self, class: Outcome, n: u64) {
        if n > 0 {
            let count = self.0.entry(class).or_default();
            *count = count.saturating_add(n);
        }
    }

    /// The count of one class.
    pub fn get(&self, class: Outcome) -> u64 {
        self.0.get(&class).copied().unwrap_or(0)
    }

    /// All ops, whatever their end.
    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Ops that succeeded.
    pub fn ok(&self) -> u64 {
        self.sum(Outcome::is_ok)
    }

    /// Ops that count against the client.
    pub fn errors(&self) -> u64 {
        self.sum(Outcome::is_error)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Counts) {
        for (&class, &n) in &other.0 {
            self.add(class, n);
        }
    }

    fn sum(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        let counts = self.0.iter().filter(|(class, _)| wanted(**class));
        counts.fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_ok_error_or_cancelled_and_named_as_it_is_serialized() {
        for class in Outcome::ALL {
            assert!(class.is_ok() ^ class.is_error() ^ (class == Outcome::Cancelled));
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("{:?}", class.name()));
        }
    }

    #[test]
    fn counts_are_sparse_and_add_up() {
        let mut counts = Counts::default();
        counts.add(Outcome::Hit, 0);
        assert!(counts.0.is_empty());
        counts.add(Outcome::Hit, 3);
        counts.add(Outcome::Timeout, 2);
        counts.add(Outcome::Cancelled, 1);
        assert_eq!((counts.total(), counts.ok(), counts.errors()), (6, 3, 2));
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"hit":3,"timeout":2,"cancelled":1}"#);
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        let mut counts = Counts([(Outcome::Hit, u64::MAX), (Outcome::Timeout, 1)].into());
        counts.merge(&counts.clone());
        assert_eq!((counts.total(), counts.ok(), counts.errors()), (u64::MAX, u64::MAX, 2));
    }
}
