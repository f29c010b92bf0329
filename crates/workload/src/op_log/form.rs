//! What writer and reader agree on.

/// Bit of an op's first byte: a version follows.
pub(super) const VERSIONED: u8 = 0x40;
/// Begin of a block.
pub(super) const BLOCK: u8 = 0x81;
/// End of the log; ops written and ops dropped follow.
pub(super) const END: u8 = 0x82;

/// What differences are taken from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    pub(super) intended_us: u64,
    pub(super) version: u64,
}

pub(super) fn zigzag(difference: u64) -> u64 {
    // Differences wrap, so that every pair of numbers has one.
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

pub(super) fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}
