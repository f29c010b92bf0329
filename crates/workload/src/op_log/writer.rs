//! Writes an op log from a thread of its own, fed by a bounded queue: the load never waits for it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use observation::{OpLogHead, ndjson};
use tokio::time::Instant;

use super::OpLogReport;
use super::form::{BLOCK, Before, END, VERSIONED, zigzag};
use crate::trace::OpTrace;

/// Ops that may wait; as many come in [`PAUSE`] at six million a second.
const QUEUE_OPS: usize = 1 << 16;
/// The thread looks into the queue so often. Nobody wakes it: that would cost the load a system call an op.
const PAUSE: Duration = Duration::from_millis(10);
/// A block is written when it has so many bytes ...
const BLOCK_BYTES: usize = 256 * 1024;
/// ... or is so old.
const BLOCK_AGE: Duration = Duration::from_secs(1);
/// zstd's; higher ones cost the load's processors.
const LEVEL: i32 = 1;

#[derive(Debug, Default)]
struct WriterState {
    written: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
    failed: AtomicBool,
    stop: AtomicBool,
}

/// Where drivers send their ops. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OpLog {
    queue: SyncSender<OpTrace>,
    state: Arc<WriterState>,
}

impl OpLog {
    /// Takes one op, unless the writer is behind.
    pub(crate) fn push(&self, op: OpTrace) {
        if self.queue.try_send(op).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts until now.
    pub(crate) fn report(&self) -> OpLogReport {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OpLogReport {
            written: count(&self.state.written),
            dropped: count(&self.state.dropped),
            lost: count(&self.state.lost),
            failed: self.state.failed.load(Ordering::Relaxed),
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct OpLogThread {
    log: OpLog,
    thread: JoinHandle<()>,
}

impl OpLogThread {
    /// Creates the file with its head. A file that holds something already is an error, never overwritten.
    pub(crate) fn start(path: &Path, head: &OpLogHead) -> io::Result<Self> {
        if path.metadata().is_ok_and(|known| known.is_file() && known.len() > 0) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not empty"));
        }
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        let (queue, ops) = sync_channel(QUEUE_OPS);
        let state = Arc::<WriterState>::default();
        let mut output = Output::new(file, Arc::clone(&state))?;
        let head = ndjson::to_line(head)?;
        output.write(head.as_bytes(), 0);
        let thread = std::thread::Builder::new().name("op-log".to_owned()).spawn(move || output.run(&ops))?;
        Ok(Self { log: OpLog { queue, state }, thread })
    }

    /// Where to send ops.
    pub(crate) fn log(&self) -> OpLog {
        self.log.clone()
    }

    /// Writes what waits, and the end mark.
    pub(crate) async fn finish(self) -> OpLogReport {
        let Self { log, thread } = self;
        log.state.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::error!("the writer of the op log died");
            log.state.failed.store(true, Ordering::Relaxed);
        }
        log.report()
    }
}

struct Output<W> {
    file: W,
    /// With checksums, so that damage is found.
    compressor: zstd::bulk::Compressor<'static>,
    state: Arc<WriterState>,
    block: Vec<u8>,
    ops: u64,
    before: Before,
    begun: Instant,
}

impl<W: Write> Output<W> {
    fn new(file: W, state: Arc<WriterState>) -> io::Result<Self> {
        let block = Vec::with_capacity(BLOCK_BYTES + 128);
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { file, compressor, state, block, ops: 0, before: Before::default(), begun: Instant::now() })
    }

    fn run(mut self, ops: &Receiver<OpTrace>) {
        loop {
            let stopping = self.state.stop.load(Ordering::Acquire);
            let alive = loop {
                match ops.try_recv() {
                    Ok(op) => self.add(&op),
                    Err(TryRecvError::Empty) => break true,
                    Err(TryRecvError::Disconnected) => break false,
                }
            };
            if self.begun.elapsed() >= BLOCK_AGE {
                self.flush();
            }
            if stopping || !alive {
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
        self.end();
    }

    fn add(&mut self, op: &OpTrace) {
        if self.state.failed.load(Ordering::Relaxed) {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.block.is_empty() {
            self.block.push(BLOCK);
            self.before = Before::default();
        }
        let before = self.before;
        self.block.push(op.kind.index() as u8 | if op.version.is_some() { VERSIONED } else { 0 });
        self.block.push(op.outcome as u8);
        self.number(zigzag(op.intended_us.wrapping_sub(before.intended_us)));
        self.number(op.lag_us);
        self.number(op.latency_us.saturating_sub(op.lag_us));
        self.number(op.key);
        self.number(op.home.into());
        self.before.intended_us = op.intended_us;
        if let Some(version) = op.version {
            self.number(zigzag(version.wrapping_sub(before.version)));
            self.before.version = version;
        }
        self.ops += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.block.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.block.push(number as u8);
    }

    fn end(mut self) {
        self.flush();
        self.block.push(END);
        self.number(self.state.written.load(Ordering::Relaxed));
        self.number(self.state.dropped.load(Ordering::Relaxed));
        self.flush();
    }

    fn flush(&mut self) {
        self.begun = Instant::now();
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block);
            let ops = std::mem::take(&mut self.ops);
            self.write(&block, ops);
            self.block = block;
            self.block.clear();
        }
    }

    /// One frame. After the first failure nothing is written any more: what follows could not be read.
    fn write(&mut self, bytes: &[u8], ops: u64) {
        if self.state.failed.load(Ordering::Relaxed) {
            self.state.lost.fetch_add(ops, Ordering::Relaxed);
            return;
        }
        let frame = self.compressor.compress(bytes);
        let written = frame.and_then(|frame| self.file.write_all(&frame)).and_then(|()| self.file.flush());
        match written {
            Ok(()) => drop(self.state.written.fetch_add(ops, Ordering::Relaxed)),
            Err(error) => {
                tracing::error!(%error, "the op log cannot be written any more; the load goes on");
                self.state.lost.fetch_add(ops, Ordering::Relaxed);
                self.state.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
