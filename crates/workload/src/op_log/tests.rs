//! What is written is read back, cut anywhere.

use std::path::{Path, PathBuf};

use observation::{OpLogHead, Outcome};

use super::form::{unzigzag, zigzag};
use super::*;
use crate::mix::OpKind;
use crate::trace::OpTrace;

fn head() -> OpLogHead {
    OpLogHead {
        format: OpLogHead::FORMAT.to_owned(),
        v: OpLogHead::VERSION,
        instance: "1-2".to_owned(),
        wall_ms: 1_764_000_000_000,
        seed: u64::MAX,
        servers: vec!["a".to_owned(), "b".to_owned()],
        ops: OpKind::ALL.iter().map(|kind| kind.name().to_owned()).collect(),
        outcomes: Outcome::ALL.to_vec(),
    }
}

fn op(n: u64) -> OpTrace {
    let big = |bits: u32| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits);
    OpTrace {
        kind: OpKind::ALL[n as usize % OpKind::ALL.len()],
        outcome: Outcome::ALL[n as usize % Outcome::ALL.len()],
        key: big(20),
        home: n as u32 % 2,
        server: None,
        version: (!n.is_multiple_of(3)).then(|| if n.is_multiple_of(50) { u64::MAX } else { big(51) }),
        intended_us: (n * 37) ^ 63,
        lag_us: big(3),
        latency_us: big(3) + big(18),
    }
}

async fn log(dir: &Path, ops: u64) -> (PathBuf, OpLogReport) {
    let path = dir.join(format!("{ops}.oplog"));
    let thread = OpLogThread::start(&path, &head()).unwrap();
    let log = thread.log();
    // No more than the queue takes: the writer may be as slow as it likes.
    (0..ops).for_each(|n| log.push(op(n)));
    (path, thread.finish().await)
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for ops in [0, 1, 60_000] {
        let (path, report) = log(dir.path(), ops).await;
        assert_eq!(report, OpLogReport { written: ops, ..OpLogReport::default() });
        let mut reader = OpLogReader::open(&path).unwrap();
        assert_eq!(*reader.head(), head());
        let read: Vec<_> = reader.by_ref().collect();
        assert_eq!(read, (0..ops).map(op).collect::<Vec<_>>());
        assert_eq!(reader.tail(), Some(&Tail::Complete { dropped: 0 }));
    }
    let again = OpLogThread::start(&dir.path().join("1.oplog"), &head()).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_log_cut_anywhere_gives_what_is_left_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = log(dir.path(), 30_000).await;
    let whole = std::fs::read(&path).unwrap();
    let cut_path = dir.path().join("cut");
    let mut most = 0;
    for cut in (0..whole.len()).step_by(whole.len() / 60).chain([whole.len() - 1]) {
        std::fs::write(&cut_path, &whole[..cut]).unwrap();
        match OpLogReader::open(&cut_path) {
            Ok(mut reader) => {
                let read: Vec<_> = reader.by_ref().collect();
                assert!(read.iter().copied().eq((0..read.len() as u64).map(op)), "cut at {cut}");
                assert_eq!(reader.tail(), Some(&Tail::Truncated), "cut at {cut}");
                most = most.max(read.len());
            }
            Err(error) => assert!(cut < 600, "cut at {cut}: {error}"),
        }
    }
    assert!(most > 20_000, "{most}");
    // Other bytes in the middle are no cut.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x55);
    std::fs::write(&cut_path, damaged).unwrap();
    let mut reader = OpLogReader::open(&cut_path).unwrap();
    assert!(reader.by_ref().count() < 30_000);
    assert!(matches!(reader.tail(), Some(Tail::Damaged(_))));
}

#[tokio::test]
async fn a_full_disk_is_counted_and_stops_nobody() {
    let thread = OpLogThread::start(Path::new("/dev/full"), &head()).unwrap();
    (0..1_000).for_each(|n| thread.log().push(op(n)));
    let report = thread.finish().await;
    assert_eq!(report, OpLogReport { lost: 1_000, failed: true, ..OpLogReport::default() });
}

#[tokio::test]
async fn a_writer_that_is_behind_drops_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let thread = OpLogThread::start(&path, &head()).unwrap();
    let ops = 2_000_000;
    (0..ops).for_each(|n| thread.log().push(op(n)));
    let report = thread.finish().await;
    assert_eq!(report.written + report.dropped, ops);
    let mut reader = OpLogReader::open(&path).unwrap();
    assert_eq!(reader.by_ref().count() as u64, report.written);
    assert_eq!(reader.tail(), Some(&Tail::Complete { dropped: report.dropped }));
}

#[test]
fn what_is_no_op_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let told = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        OpLogReader::open(&path).unwrap_err().to_string()
    };
    assert!(told(b"").contains("is not an op log"));
    assert!(told(b"hello").contains("is not an op log"));
    let frame = |head: &OpLogHead| {
        zstd::bulk::compress(observation::ndjson::to_line(head).unwrap().as_bytes(), 1).unwrap()
    };
    assert!(
        told(&frame(&OpLogHead { v: 9, ..head() })).contains("its version is 9, and this program reads 1")
    );
    assert!(told(&frame(&OpLogHead { format: "x".to_owned(), ..head() })).contains("its format is \"x\""));
    assert!(OpLogReader::open(&dir.path().join("none")).unwrap_err().to_string().contains("none: "));
}

#[test]
fn differences_of_all_numbers_come_back() {
    for number in [0, 1, 2, 63, u64::MAX, u64::MAX / 2, u64::MAX / 2 + 1] {
        assert_eq!(unzigzag(zigzag(number)), number);
    }
    assert_eq!(zigzag(1_u64.wrapping_sub(3)), 3);
}
