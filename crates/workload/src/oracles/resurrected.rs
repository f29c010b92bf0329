//! Resurrected values: a read gives a version although a delete that began after that version's write had ended was
//! acknowledged before the read began.
//!
//! A delete that found nothing counts too: after it the key is gone, whoever says so.

use super::history::{Deed, History, Superseded, Written};

/// The first acknowledged delete that is known to have removed what was read.
pub(super) fn judge(history: &History, written: Written, asked: u64) -> Option<Superseded> {
    history.superseded(Deed::Delete, written, asked)
}
