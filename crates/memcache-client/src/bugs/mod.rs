//! Bugs to switch on, so that whoever judges clients can be tested: each is a way to be wrong that real clients have had, while
//! the settings claim otherwise. Only with the feature `seeded-bugs`, and never in a release.
//!
//! The client asks its [`Bugs`] wherever a bug may strike. Without the feature they have no size and every answer is a
//! constant: the compiler removes the question (`seeded.rs`).
//!
//! Where a bug is nothing but other settings than those that were declared, `settings.rs` is all of it. What else it
//! does to an attempt is in `attempt.rs` and `shared_pool.rs`, what it does to a connection in `dirt.rs`, and what it
//! remembers in `memory.rs`. Breaker and client ask for the bugs that change one of their own decisions by name.

mod attempt;
mod dirt;
mod memory;
mod seeded;
mod settings;
mod shared_pool;

pub(crate) use dirt::Dirt;
pub(crate) use shared_pool::SharedPlace;

use std::fmt;
use std::sync::Arc;

use memory::Memory;
use seeded::Seeded;

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
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

/// The bug of one client, if it has one; clones share what it remembers.
#[derive(Clone, Default)]
pub struct Bugs(Seeded<Arc<SwitchedOn>>);

/// One bug with its memory.
struct SwitchedOn {
    bug: Bug,
    memory: Memory,
}

#[cfg(feature = "seeded-bugs")]
impl From<Bug> for Bugs {
    fn from(bug: Bug) -> Self {
        Self(Seeded::some(Arc::new(SwitchedOn { bug, memory: Memory::default() })))
    }
}

impl Bugs {
    #[inline]
    fn bug(&self) -> Option<Bug> {
        self.0.get().map(|on| on.bug)
    }

    /// The memory of whatever bug the client has.
    fn memory(&self) -> Option<&Memory> {
        self.0.get().map(|on| &on.memory)
    }

    /// The memory of `bug`, if the client has it.
    #[inline]
    fn memory_of(&self, bug: Bug) -> Option<&Memory> {
        self.0.get().filter(|on| on.bug == bug).map(|on| &on.memory)
    }

    /// Has the client this bug?
    #[inline]
    pub(crate) fn is(&self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }
}

impl fmt::Debug for Bugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bugs").field(&self.bug()).finish()
    }
}

impl PartialEq for Bugs {
    fn eq(&self, other: &Self) -> bool {
        self.bug() == other.bug()
    }
}

#[cfg(all(test, not(feature = "seeded-bugs")))]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_bugs_carries_nothing_of_them() {
        assert_eq!(size_of::<Bugs>(), 0);
        assert_eq!(size_of::<Dirt>(), 0);
        assert_eq!(size_of::<SharedPlace>(), 0);
    }
}
