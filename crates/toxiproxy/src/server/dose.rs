//! What toxics really touched, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::DoseCounters;

/// Counters of one proxy.
#[derive(Debug, Default)]
pub(super) struct Dose {
    links: AtomicU64,
    links_touched: AtomicU64,
    chunks: AtomicU64,
    chunks_touched: AtomicU64,
    bytes: AtomicU64,
    bytes_touched: AtomicU64,
}

impl Dose {
    pub(super) fn link_opened(&self) {
        self.links.fetch_add(1, Relaxed);
    }

    pub(super) fn link_closed(&self) {
        self.links.fetch_sub(1, Relaxed);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.chunks.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn touched(&self, bytes: usize, first_of_link: bool) {
        self.chunks_touched.fetch_add(1, Relaxed);
        self.bytes_touched.fetch_add(bytes as u64, Relaxed);
        self.links_touched.fetch_add(u64::from(first_of_link), Relaxed);
    }

    pub(super) fn read_out(&self) -> DoseCounters {
        DoseCounters {
            links: self.links.load(Relaxed),
            links_touched: self.links_touched.load(Relaxed),
            chunks: self.chunks.load(Relaxed),
            chunks_touched: self.chunks_touched.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_touched: self.bytes_touched.load(Relaxed),
        }
    }
}
