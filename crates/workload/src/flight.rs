//! The last ops of a driver, written to a file when something is found that must not be: what led to it is gone from
//! every counter.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use observation::{FlightHead, clock, ndjson};
use tokio_util::task::TaskTracker;

use crate::trace::OpTrace;

/// Ops that a ring keeps.
const OPS_MAX: usize = 128;
/// Files of one run.
const FILES_MAX: u64 = 16;
/// Of them, those about findings that fail no run: a failover must not use up the places of wrong values.
const MILD_FILES_MAX: u64 = 4;

/// The last ops of one driver, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    ops: VecDeque<OpTrace>,
}

impl Ring {
    pub(crate) fn push(&mut self, op: OpTrace) {
        if self.ops.len() >= OPS_MAX {
            self.ops.pop_front();
        }
        self.ops.push_back(op);
    }
}

/// Writes rings to files, not more than a few a run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FlightRecorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: Option<PathBuf>,
    instance: String,
    servers: Vec<String>,
    files: AtomicU64,
    mild_files: AtomicU64,
    tasks: TaskTracker,
}

/// Why a ring is written.
#[derive(Debug, Clone)]
pub(crate) struct Finding<'a> {
    pub(crate) at_us: u64,
    pub(crate) found: &'a str,
    pub(crate) key: String,
    pub(crate) expected: String,
    pub(crate) got: String,
    /// It fails no run.
    pub(crate) mild: bool,
}

impl FlightRecorder {
    /// Writes into `dir`; nothing without one.
    pub(crate) fn new(dir: Option<PathBuf>, instance: String, servers: Vec<String>) -> Self {
        let inner = Inner {
            dir,
            instance,
            servers,
            files: AtomicU64::new(0),
            mild_files: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Writes `ring` in the background; gives the path, unless there are enough files already.
    pub(crate) fn dump(&self, ring: &Ring, finding: Finding<'_>) -> Option<PathBuf> {
        let inner = &self.inner;
        let dir = inner.dir.as_ref()?;
        let free = |files: &AtomicU64, max| {
            files.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).ok()
        };
        if finding.mild {
            free(&inner.mild_files, MILD_FILES_MAX)?;
        }
        let n = free(&inner.files, FILES_MAX)?;
        let wall_ms = clock::wall_ms();
        let path = dir.join(format!("flight-{wall_ms}-{n}.ndjson"));
        let head = FlightHead {
            instance: inner.instance.clone(),
            at_us: finding.at_us,
            wall_ms,
            found: finding.found.to_owned(),
            key: finding.key,
            expected: finding.expected,
            got: finding.got,
        };
        let ops = ring.ops.clone();
        let (shared, target) = (Arc::clone(inner), path.clone());
        inner.tasks.spawn_blocking(move || {
            if let Err(error) = write(&target, &head, &ops, &shared.servers) {
                tracing::error!(path = %target.display(), %error, "the flight record could not be written");
            }
        });
        Some(path)
    }

    /// Waits until everything is written.
    pub(crate) async fn close(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

fn write(path: &Path, head: &FlightHead, ops: &VecDeque<OpTrace>, servers: &[String]) -> std::io::Result<()> {
    let mut text = ndjson::to_line(head)?;
    for op in ops {
        text.push_str(&ndjson::to_line(&op.line(servers))?);
    }
    // A part of it would look like all of it.
    std::fs::write(path, text).inspect_err(|_| drop(std::fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use observation::{OpLine, Outcome};

    use super::*;
    use crate::mix::OpKind;

    fn op(n: u64) -> OpTrace {
        OpTrace {
            kind: OpKind::Get,
            outcome: Outcome::Hit,
            key: n,
            home: 1,
            server: Some(0),
            version: Some(1_000 + n),
            intended_us: n,
            lag_us: 5,
            latency_us: 70,
        }
    }

    fn finding(mild: bool) -> Finding<'static> {
        let (key, expected, got) = ("k".to_owned(), "a".to_owned(), "b".to_owned());
        Finding { at_us: 9, found: "wrong_key", key, expected, got, mild }
    }

    #[tokio::test]
    async fn the_last_ops_are_written_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let servers = vec!["a".to_owned(), "b".to_owned()];
        let recorder = FlightRecorder::new(Some(dir.path().to_owned()), "run".to_owned(), servers);
        let mut ring = Ring::default();
        (0..300).for_each(|n| ring.push(op(n)));
        let path = recorder.dump(&ring, finding(false)).unwrap();
        recorder.close().await;
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let head: FlightHead = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!((head.found.as_str(), head.at_us, head.instance.as_str()), ("wrong_key", 9, "run"));
        let ops: Vec<OpLine> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ops.len(), OPS_MAX);
        let last = ops.last().unwrap();
        assert_eq!((ops[0].key, last.key), (300 - OPS_MAX as u64, 299));
        assert_eq!((last.started_us, last.ended_us, last.version), (304, 369, Some(1_299)));
        assert_eq!((last.home.as_str(), last.server.as_deref()), ("b", Some("a")));
    }

    #[tokio::test]
    async fn a_run_writes_a_few_files_and_keeps_places_for_wrong_values() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = FlightRecorder::new(Some(dir.path().to_owned()), String::new(), Vec::new());
        let ring = Ring::default();
        let written = |mild| (0..50).filter(|_| recorder.dump(&ring, finding(mild)).is_some()).count() as u64;
        assert_eq!((written(true), written(false)), (MILD_FILES_MAX, FILES_MAX - MILD_FILES_MAX));
        recorder.close().await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count() as u64, FILES_MAX);
        let nowhere = FlightRecorder::new(None, String::new(), Vec::new());
        assert_eq!(nowhere.dump(&ring, finding(false)), None);
    }
}
