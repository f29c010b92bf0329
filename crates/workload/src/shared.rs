//! What all tasks of one load share.

use crate::deaths::Deaths;
use crate::events::EventSink;
use crate::keys::KeyTable;
use crate::op_log::OpLog;
use crate::oracles::Oracles;
use crate::sizes::ValueSize;
use crate::target::AnyTarget;
use crate::ttl::Ttl;

/// What all tasks of one load share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The client under test.
    pub(crate) target: AnyTarget,
    /// Keys of values.
    pub(crate) table: KeyTable,
    /// Keys of counters; kept apart, because a counter's value is not one of ours.
    pub(crate) counters: KeyTable,
    /// How long values are.
    pub(crate) value_size: ValueSize,
    /// Time to live of what is written.
    pub(crate) ttl: Ttl,
    /// What must hold between ops; also gives the versions of values, which grow over all drivers.
    pub(crate) oracles: Oracles,
    /// Where wrong values are reported.
    pub(crate) events: EventSink,
    /// Where every op is written, if it is.
    pub(crate) op_log: Option<OpLog>,
    /// Of the tasks of the load.
    pub(crate) deaths: Deaths,
}
