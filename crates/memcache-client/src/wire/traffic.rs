//! What went over one server's connections, and what they have taught of how it sends misses.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::meta::codec::{Echoes, Raw, Rules};
use crate::key::Key;

/// What went over one server's connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes.
    pub(crate) read: AtomicU64,
    /// Bytes.
    pub(crate) written: AtomicU64,
    /// Whether the server echoes key and opaque with a miss or a refusal; one of the constants below.
    misses: AtomicU8,
}

/// Nobody has asked.
const UNKNOWN: u8 = 0;
/// It does not, as old versions.
const BARE: u8 = 1;
/// It does, and is held to it.
const ECHOED: u8 = 2;
/// The first connection's first request is a read of this key, which nobody writes, to know how the server sends a
/// miss. Otherwise a stray miss, which names nobody, could be taken for the answer to a read.
const MISSED_KEY: &str = "memcache-client:miss";

impl Traffic {
    pub(crate) fn add_read(&self, n: usize) {
        self.read.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_written(&self, n: usize) {
        self.written.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn rules(&self, value_max: usize) -> Rules {
        Rules { value_max, strict: self.misses.load(Ordering::Relaxed) == ECHOED }
    }

    /// What a new connection shall ask first, if it is not known how the server sends a miss.
    pub(crate) fn first_question(&self) -> Option<Key> {
        (self.misses.load(Ordering::Relaxed) == UNKNOWN).then(|| Key::new(MISSED_KEY).ok()).flatten()
    }

    /// Learns from a reply that was the right one.
    pub(crate) fn learn(&self, raw: &Raw) {
        let known = match raw.echoes {
            Echoes::Found => return,
            Echoes::BareMiss => BARE,
            Echoes::EchoedMiss => ECHOED,
        };
        if self.misses.load(Ordering::Relaxed) < known {
            self.misses.store(known, Ordering::Relaxed);
        }
    }
}
