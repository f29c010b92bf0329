//! A fault on a connection without a server, for tests and fuzzers: bytes in, bytes out, at moments of one's own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use toxiproxy::toxic::{Behaviour, Chunk, Joined, Pop};
use toxiproxy::wire::{Attributes, Stream};

use super::Connection;
use super::stage::stages_of;
use crate::faults::Fault;

/// Largest chunk that a server gives and takes.
const CHUNK_MAX: usize = 32 * 1024;

pub(crate) struct Wire {
    pub(crate) now: Instant,
    connection: Arc<Mutex<Connection>>,
    stages: [Box<dyn Behaviour>; 2],
    /// What came out, by direction.
    pub(crate) out: [Vec<u8>; 2],
    /// The same in the chunks in which it came, with the time since the beginning.
    pub(crate) chunks: [Vec<(Duration, Bytes)>; 2],
    /// Somebody reads what comes out.
    read: [bool; 2],
    /// The direction has ended, or the connection.
    pub(crate) ended: [bool; 2],
    /// The toxic is gone.
    pub(crate) gone: bool,
    released: bool,
    /// The input has ended.
    closed: [bool; 2],
    begin: Instant,
}

impl Wire {
    pub(crate) fn new(fault: &Fault, attributes: &Attributes, joined: &Joined, seed: u64) -> Self {
        let now = Instant::now();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let connection = Arc::new(Mutex::new(Connection::new(fault.declared, attributes, rng, joined)));
        Self {
            now,
            stages: stages_of(&connection),
            connection,
            out: [Vec::new(), Vec::new()],
            chunks: [Vec::new(), Vec::new()],
            read: [true; 2],
            ended: [false; 2],
            gone: false,
            released: false,
            closed: [false; 2],
            begin: now,
        }
    }

    /// Pushes as a server does, in chunks; says whether the fault touched any. What it has no room for is not taken: the
    /// number of bytes that were is given.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) -> (usize, bool) {
        let (mut taken, mut touched) = (0, false);
        for piece in bytes.chunks(CHUNK_MAX) {
            if self.ended[stream as usize] || self.closed[stream as usize] {
                break;
            }
            if self.gone {
                self.out[stream as usize].extend_from_slice(piece);
            } else {
                if !self.stages[stream as usize].has_room() {
                    break;
                }
                let chunk = Chunk { bytes: Bytes::copy_from_slice(piece), stamp: self.now };
                touched |= self.stages[stream as usize].push(chunk, self.now);
                self.pump();
            }
            taken += piece.len();
        }
        (taken, touched)
    }

    pub(crate) fn end(&mut self, stream: Stream) {
        self.closed[stream as usize] = true;
        if !self.gone {
            self.stages[stream as usize].end(self.now);
            self.pump();
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.pump();
    }

    pub(crate) fn update(&mut self, attributes: &Attributes) {
        if !self.gone {
            self.stages.iter_mut().for_each(|stage| stage.update(attributes, self.now));
            self.pump();
        }
    }

    /// Removes the toxic as a server does: it stays as long as it is not drained.
    pub(crate) fn remove(&mut self) {
        if !self.gone {
            self.released = true;
            for stream in Stream::ALL {
                for chunk in self.stages[stream as usize].release() {
                    self.see(stream, chunk);
                }
            }
            self.pump();
        }
    }

    /// The client or the server reads, or does not.
    pub(crate) fn set_read(&mut self, stream: Stream, read: bool) {
        self.read[stream as usize] = read;
        self.pump();
    }

    /// When it wants to be asked again.
    pub(crate) fn wakes(&mut self) -> Option<Instant> {
        let mut wakes: Option<Instant> = None;
        for stream in Stream::ALL {
            if !self.gone
                && self.read[stream as usize]
                && !self.ended[stream as usize]
                && let Pop::Wait(Some(at)) = self.stages[stream as usize].pop(self.now)
            {
                wakes = Some(wakes.map_or(at, |before| before.min(at)));
            }
        }
        wakes
    }

    fn see(&mut self, stream: Stream, chunk: Chunk) {
        assert!((1..=CHUNK_MAX).contains(&chunk.bytes.len()), "a chunk of {} bytes", chunk.bytes.len());
        self.out[stream as usize].extend_from_slice(&chunk.bytes);
        self.chunks[stream as usize].push((self.now.duration_since(self.begin), chunk.bytes));
    }

    fn pump(&mut self) {
        for stream in Stream::ALL {
            while self.read[stream as usize] && !self.ended[stream as usize] && !self.gone {
                match self.stages[stream as usize].pop(self.now) {
                    Pop::Chunk(chunk) => self.see(stream, chunk),
                    Pop::Wait(until) => {
                        assert!(until.is_none_or(|at| at > self.now), "it wants to be asked at once, again");
                        break;
                    }
                    Pop::End | Pop::Close => self.ended[stream as usize] = true,
                }
            }
        }
        if self.released && self.stages.iter().all(|stage| stage.drained()) {
            self.gone = true;
        }
    }

    /// Bytes that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).kept()
    }
}

#[cfg(test)]
impl Wire {
    /// The client sends; says whether the fault touched it.
    pub(crate) fn up(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let (taken, touched) = self.push(Stream::Upstream, bytes.as_ref());
        assert_eq!(taken, bytes.as_ref().len());
        touched
    }

    /// The server sends.
    pub(crate) fn down(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let (taken, touched) = self.push(Stream::Downstream, bytes.as_ref());
        assert_eq!(taken, bytes.as_ref().len());
        touched
    }

    /// Why it passes everything.
    pub(crate) fn lost(&self) -> Option<crate::parse::Why> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).tally.lost
    }

    /// What came out since it was asked last: at the server, at the client.
    pub(crate) fn seen(&mut self) -> (String, String) {
        let [up, down] = std::mem::take(&mut self.out).map(|out| String::from_utf8(out).unwrap());
        (up, down)
    }
}
