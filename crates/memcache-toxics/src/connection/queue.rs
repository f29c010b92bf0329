//! What waits to leave in one direction: pieces in order, each with the moment before which it, and all behind it, stays.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use toxiproxy::toxic::{Chunk, Pop};

use crate::act::Pace;

/// Bytes that wait at most before the source is no longer read. What one chunk becomes may exceed it once.
const BYTES_MAX: usize = 256 * 1024;
/// Pieces that wait at most.
const PIECES_MAX: usize = 4096;
/// Largest chunk; pieces that leave together are one.
const CHUNK_MAX: usize = 32 * 1024;

/// Until when a piece stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Now,
    Then(Instant),
    Released,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    stamp: Instant,
    until: Until,
    pace: Option<Pace>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the next part of a paced piece may leave.
    paced: Option<Instant>,
    /// Nothing follows.
    pub(super) ended: bool,
}

impl Queue {
    pub(super) fn push(&mut self, mut bytes: Bytes, stamp: Instant, until: Until, pace: Option<Pace>) {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK_MAX));
            self.pieces.push_back(Piece { bytes: piece, stamp, until, pace });
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pass(&mut self, bytes: Bytes, stamp: Instant) {
        self.push(bytes, stamp, Until::Now, None);
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < BYTES_MAX && self.pieces.len() < PIECES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Does what comes now have to wait?
    pub(super) fn is_blocked(&self, now: Instant) -> bool {
        let waits = |piece: &Piece| match piece.until {
            Until::Now => piece.pace.is_some(),
            Until::Then(at) => at > now,
            Until::Released => true,
        };
        self.pieces.iter().any(waits)
    }

    /// Nothing waits any longer.
    pub(super) fn free(&mut self) {
        self.paced = None;
        for piece in &mut self.pieces {
            (piece.until, piece.pace) = (Until::Now, None);
        }
    }

    pub(super) fn take(&mut self) -> VecDeque<Chunk> {
        self.free();
        let mut taken = VecDeque::new();
        while let Some(chunk) = self.joined() {
            taken.push_back(chunk);
        }
        taken
    }

    pub(super) fn pop(&mut self, now: Instant) -> Pop {
        let Some(front) = self.pieces.front_mut() else {
            return if self.ended { Pop::End } else { Pop::Wait(None) };
        };
        match front.until {
            Until::Released => return Pop::Wait(None),
            Until::Then(at) if at > now => return Pop::Wait(Some(at)),
            // A delay behind this one counts from here.
            Until::Then(at) => (front.stamp, front.until) = (at.max(front.stamp), Until::Now),
            Until::Now => {}
        }
        let Some(pace) = front.pace else {
            return self.joined().map_or(Pop::Wait(None), Pop::Chunk);
        };
        let due = self.paced.map_or(front.stamp, |at| at.max(front.stamp));
        if due > now {
            return Pop::Wait(Some(due));
        }
        self.paced = Some(due + pace.every);
        let bytes = front.bytes.split_to(pace.next(&front.bytes));
        if front.bytes.is_empty() {
            self.pieces.pop_front();
        }
        self.bytes -= bytes.len();
        Pop::Chunk(Chunk { bytes, stamp: due })
    }

    /// The pieces at the front that leave without waiting, as one chunk.
    fn joined(&mut self) -> Option<Chunk> {
        let first = self.pieces.pop_front()?;
        let (mut length, mut more) = (first.bytes.len(), 0);
        for piece in &self.pieces {
            if piece.until != Until::Now || piece.pace.is_some() || length + piece.bytes.len() > CHUNK_MAX {
                break;
            }
            (length, more) = (length + piece.bytes.len(), more + 1);
        }
        self.bytes -= length;
        if more == 0 {
            return Some(Chunk { bytes: first.bytes, stamp: first.stamp });
        }
        let (mut bytes, mut stamp) = (BytesMut::with_capacity(length), first.stamp);
        bytes.extend_from_slice(&first.bytes);
        for piece in self.pieces.drain(..more) {
            bytes.extend_from_slice(&piece.bytes);
            stamp = stamp.max(piece.stamp);
        }
        Some(Chunk { bytes: bytes.freeze(), stamp })
    }
}
