//! Stale reads: a read gives a version although a newer one was acknowledged before the read began.
//!
//! A count with an age, not a wrong value: a client that fails over to another server, or comes back from it, reads
//! what that server has. A version is superseded by a write that began after the version's own write had ended.

use super::history::{Deed, History, Superseded, Written};

/// The first acknowledged write that is known to supersede what was read.
pub(super) fn judge(history: &History, written: Written, asked: u64) -> Option<Superseded> {
    history.superseded(Deed::Write, written, asked)
}
