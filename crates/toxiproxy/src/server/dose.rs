//! What toxics really touched, counted as it happens: in all, by direction, and by 100 ms.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::wire::{DoseBucket, DoseCounters, LinkCounters, Stream};

/// Buckets that a proxy remembers: a minute.
const BUCKETS_MAX: usize = 600;

/// Counters of one proxy.
#[derive(Debug, Default)]
pub(super) struct Dose {
    streams: [StreamDose; 2],
    /// Number of the bucket that is being filled; a link compares it with that of its last touch.
    bucket: AtomicU64,
    /// Links that a toxic has touched within this bucket.
    touched_now: AtomicU64,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct StreamDose {
    sent: AtomicU64,
    links: AtomicU64,
    links_touched: AtomicU64,
    chunks: AtomicU64,
    chunks_touched: AtomicU64,
    bytes: AtomicU64,
    bytes_touched: AtomicU64,
}

#[derive(Debug, Default)]
struct Past {
    buckets: VecDeque<DoseBucket>,
    /// Counters at the end of the last of them.
    counters: DoseCounters,
}

/// One link's part.
#[derive(Debug)]
pub(super) struct LinkDose {
    stream: usize,
    touched_bucket: Option<u64>,
    counters: LinkCounters,
}

impl LinkDose {
    /// Of a link that opens.
    pub(super) fn open(dose: &Dose, stream: Stream) -> Self {
        let stream = stream as usize;
        dose.streams[stream].links.fetch_add(1, Relaxed);
        Self { stream, touched_bucket: None, counters: LinkCounters::default() }
    }

    pub(super) fn close(&self, dose: &Dose) {
        dose.streams[self.stream].links.fetch_sub(1, Relaxed);
    }

    /// Is it a link of that direction?
    pub(super) fn is(&self, stream: Stream) -> bool {
        self.stream == stream as usize
    }

    pub(super) fn counters(&self) -> LinkCounters {
        self.counters
    }

    pub(super) fn read(&mut self, dose: &Dose, bytes: usize) {
        self.counters.chunks += 1;
        self.counters.bytes += bytes as u64;
        let stream = &dose.streams[self.stream];
        stream.chunks.fetch_add(1, Relaxed);
        stream.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sent(&self, dose: &Dose, bytes: usize) {
        dose.streams[self.stream].sent.fetch_add(bytes as u64, Relaxed);
    }

    /// A chunk that is in pieces by now is touched once for each; never more than came in.
    pub(super) fn touch(&mut self, dose: &Dose, bytes: usize) {
        let LinkCounters { chunks, chunks_touched, bytes: all, bytes_touched } = self.counters;
        if chunks_touched >= chunks {
            return;
        }
        let bytes = (bytes as u64).min(all - bytes_touched);
        let stream = &dose.streams[self.stream];
        stream.chunks_touched.fetch_add(1, Relaxed);
        stream.bytes_touched.fetch_add(bytes, Relaxed);
        if self.counters.chunks_touched == 0 {
            stream.links_touched.fetch_add(1, Relaxed);
        }
        self.counters.chunks_touched += 1;
        self.counters.bytes_touched += bytes;
        let bucket = dose.bucket.load(Relaxed);
        if self.touched_bucket.replace(bucket) != Some(bucket) {
            dose.touched_now.fetch_add(1, Relaxed);
        }
    }
}

impl StreamDose {
    fn read_out(&self) -> DoseCounters {
        DoseCounters {
            links: self.links.load(Relaxed),
            links_touched: self.links_touched.load(Relaxed),
            chunks: self.chunks.load(Relaxed),
            chunks_touched: self.chunks_touched.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_touched: self.bytes_touched.load(Relaxed),
            bytes_sent: self.sent.load(Relaxed),
        }
    }
}

impl Dose {
    /// Of both directions together.
    pub(super) fn read_out(&self) -> DoseCounters {
        let [up, down] = self.by_stream();
        DoseCounters {
            links: up.links + down.links,
            links_touched: up.links_touched + down.links_touched,
            chunks: up.chunks + down.chunks,
            chunks_touched: up.chunks_touched + down.chunks_touched,
            bytes: up.bytes + down.bytes,
            bytes_touched: up.bytes_touched + down.bytes_touched,
            bytes_sent: up.bytes_sent + down.bytes_sent,
        }
    }

    pub(super) fn by_stream(&self) -> [DoseCounters; 2] {
        [self.streams[0].read_out(), self.streams[1].read_out()]
    }

    /// Ends a bucket; `at_us` is the server's clock.
    pub(super) fn close_bucket(&self, at_us: u64, period_us: u64) {
        self.bucket.fetch_add(1, Relaxed);
        let links_touched = self.touched_now.swap(0, Relaxed);
        let now = self.read_out();
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut past.counters, now);
        if past.buckets.len() == BUCKETS_MAX {
            past.buckets.pop_front();
        }
        past.buckets.push_back(DoseBucket {
            at_us,
            period_us,
            links: now.links,
            links_touched,
            chunks: now.chunks - before.chunks,
            chunks_touched: now.chunks_touched - before.chunks_touched,
            bytes: now.bytes - before.bytes,
            bytes_touched: now.bytes_touched - before.bytes_touched,
        });
    }

    /// Buckets that ended later than `after_us`, oldest first.
    pub(super) fn buckets(&self, after_us: u64) -> Vec<DoseBucket> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.buckets.iter().filter(|bucket| bucket.at_us > after_us).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_happened_in_it_and_each_link_once() {
        let dose = Dose::default();
        let mut links = [LinkDose::open(&dose, Stream::Upstream), LinkDose::open(&dose, Stream::Downstream)];
        for _ in 0..3 {
            for link in &mut links {
                link.read(&dose, 10);
            }
            links[0].touch(&dose, 10);
        }
        dose.close_bucket(100_000, 100_000);
        links[0].read(&dose, 5);
        links[0].touch(&dose, 5);
        // All that came in is touched already.
        links[0].touch(&dose, 5);
        links[1].touch(&dose, 5);
        dose.close_bucket(200_000, 100_000);
        dose.close_bucket(300_000, 100_000);
        links[1].close(&dose);
        let [first, second, third] = dose.buckets(0).try_into().unwrap();
        assert_eq!((first.links, first.links_touched, first.chunks, first.chunks_touched), (2, 1, 6, 3));
        assert_eq!((first.bytes, first.bytes_touched), (60, 30));
        assert_eq!((second.links_touched, second.chunks, second.chunks_touched), (2, 1, 2));
        assert_eq!((third.links_touched, third.chunks_touched), (0, 0));
        assert_eq!(dose.buckets(200_000).len(), 1);
        let all = dose.read_out();
        assert_eq!((all.links, all.links_touched, all.chunks, all.chunks_touched), (1, 2, 7, 5));
        assert_eq!(dose.by_stream()[1].bytes_touched, 5);
    }
}
