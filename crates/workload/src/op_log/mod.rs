//! Every op in a file: zstd frames one behind the other. The first holds the head, one JSON line; each of the others
//! begins with `BLOCK` and holds ops; the last ends with `END`, without which the file was cut.
//!
//! An op: its kind, with `VERSIONED` if it has a version; its outcome; then, as LEB128, the intended start (zigzag,
//! from that of the op before), the lag, the latency less the lag, the key's number, the home, and the version
//! (zigzag, from that of the op before). At the begin of a block "before" is 0, so that each can be read alone.

mod reader;
mod writer;

pub use reader::{OpLogError, OpLogReader, Tail};
pub use writer::OpLogReport;
pub(crate) use writer::{OpLog, OpLogThread};

/// Bit of an op's first byte: a version follows.
const VERSIONED: u8 = 0x40;
/// Begin of a block.
const BLOCK: u8 = 0x81;
/// End of the log; ops written and ops dropped follow.
const END: u8 = 0x82;

/// What differences are taken from.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    intended_us: u64,
    version: u64,
}

fn zigzag(difference: u64) -> u64 {
    // Differences wrap, so that every pair of numbers has one.
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests;
