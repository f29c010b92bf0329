//! Every op in a file: zstd frames one behind the other. The first holds the head, one JSON line; each of the others
//! begins with `BLOCK` and holds ops; the last ends with `END`, without which the file was cut.
//!
//! An op: its kind, with `VERSIONED` if it has a version; its outcome; then, as LEB128, the intended start (zigzag,
//! from that of the op before), the lag, the latency less the lag, the key's number, the home, and the version
//! (zigzag, from that of the op before). At the begin of a block "before" is 0, so that each can be read alone.

//!
//! Under the feature `op-log` alone: what compresses is C code, which most programs need not build.

#[cfg(not(feature = "op-log"))]
mod absent;
#[cfg(feature = "op-log")]
mod form;
#[cfg(feature = "op-log")]
mod reader;
#[cfg(feature = "op-log")]
mod writer;

#[cfg(not(feature = "op-log"))]
pub(crate) use absent::{OpLog, OpLogThread};
#[cfg(feature = "op-log")]
pub use reader::{OpLogError, OpLogReader, Tail};
#[cfg(feature = "op-log")]
pub(crate) use writer::{OpLog, OpLogThread};

/// What became of the ops of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpLogReport {
    /// In the file.
    pub written: u64,
    /// Not taken, because the writer was behind.
    pub dropped: u64,
    /// Not written, because the file could not be.
    pub lost: u64,
    /// Could the file be written to its end?
    pub failed: bool,
}

#[cfg(test)]
#[cfg(feature = "op-log")]
mod tests;
