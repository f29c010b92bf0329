//! A stream that reads along: the crate `memcache-async` allocates whatever length a server claims (a claim of 2^64-1
//! panics, one of 2^46 ends the process), so the header line of each reply is checked before that crate sees it. It also
//! reads the line after a value however long it is, so a reply may not go on for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::traffic::Traffic;

/// Longest header line.
const LINE_MAX: usize = 8 * 1024;

/// Shared between the stream and its user, because the crate does not give its stream back.
#[derive(Debug)]
pub(super) struct Gate {
    /// The next bytes begin a reply.
    expect_header: AtomicBool,
    /// Bytes that were handed to the crate since the header, minus those that a whole reply has.
    pub(super) delivered: AtomicUsize,
}

impl Gate {
    pub(super) fn expect_reply(&self) {
        self.expect_header.store(true, Ordering::Release);
        self.delivered.store(0, Ordering::Release);
    }
}

pub(super) struct GuardedStream {
    stream: Arc<TcpStream>,
    held: Vec<u8>,
    taken: usize,
    value_max: usize,
    gate: Arc<Gate>,
    traffic: Arc<Traffic>,
}

impl GuardedStream {
    pub(super) fn new(stream: Arc<TcpStream>, value_max: usize, traffic: Arc<Traffic>) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate { expect_header: AtomicBool::new(false), delivered: AtomicUsize::new(0) });
        let guarded =
            Self { stream, held: Vec::new(), taken: 0, value_max, gate: Arc::clone(&gate), traffic };
        (guarded, gate)
    }

    /// Reads into `held` until the header line is whole, then judges it.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(end) = self.held.iter().position(|b| *b == b'\n') {
                return Poll::Ready(check_header(&self.held[..end], self.value_max));
            }
            if self.held.len() > LINE_MAX {
                return Poll::Ready(Err(invalid(format!("a reply line of more than {LINE_MAX} bytes"))));
            }
            let mut chunk = [0; 4096];
            let n = ready!(poll_read_once(&self.stream, cx, &mut chunk))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.traffic.add_read(n);
            self.held.extend_from_slice(&chunk[..n]);
        }
    }
}

fn poll_read_once(stream: &TcpStream, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            done => return Poll::Ready(done),
        }
    }
}

/// Refuses every header line that the crate would read a length above `value_max` in. It takes the fourth word of a line
/// for the length, whatever the first one is, but for the four below.
pub(crate) fn check_header(line: &[u8], value_max: usize) -> io::Result<()> {
    const WITHOUT_LENGTH: [&[u8]; 4] = [b"END", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];
    if WITHOUT_LENGTH.iter().any(|word| line.starts_with(word)) {
        return Ok(());
    }
    let mut words = line.split(|b| *b == b' ');
    let is_value = words.next() == Some(b"VALUE");
    let length = words.nth(2).unwrap_or_default();
    let length = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse::<usize>().ok());
    match length {
        Some(length) if is_value && length <= value_max => Ok(()),
        None if !is_value => Ok(()),
        Some(_) if !is_value => Err(invalid("a length in a reply that is no value".to_owned())),
        _ => Err(invalid(format!("a value length that is no number or above {value_max}"))),
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gate.expect_header.load(Ordering::Acquire) {
            ready!(this.poll_header(cx))?;
            this.gate.expect_header.store(false, Ordering::Release);
        }
        if this.taken < this.held.len() {
            let n = buf.remaining().min(this.held.len() - this.taken);
            buf.put_slice(&this.held[this.taken..this.taken + n]);
            this.taken += n;
            if this.taken == this.held.len() {
                this.held.clear();
                this.taken = 0;
            }
            this.gate.delivered.fetch_add(n, Ordering::AcqRel);
            return Poll::Ready(Ok(()));
        }
        if this.gate.delivered.load(Ordering::Acquire) > this.value_max + 2 * LINE_MAX {
            return Poll::Ready(Err(invalid(format!("a reply that goes on after {} bytes", this.value_max))));
        }
        let into = buf.initialize_unfilled();
        let n = ready!(poll_read_once(&this.stream, cx, into))?;
        buf.advance(n);
        this.traffic.add_read(n);
        this.gate.delivered.fetch_add(n, Ordering::AcqRel);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(n) => {
                    self.traffic.add_written(n);
                    return Poll::Ready(Ok(n));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_within_the_limit_pass() {
        let ok = |line: &str| check_header(line.as_bytes(), 1000).is_ok();
        assert!(ok("VALUE k 0 1000\r") && ok("VALUE k 0 5 77\r") && ok("END\r") && ok("STORED\r"));
        for bad in ["1001", "18446744073709551615", "99999999999999999999", "-1", "x", ""] {
            assert!(!ok(&format!("VALUE k 0 {bad}\r")), "{bad}");
        }
        for bad in
            ["VOLUME k 0 5\r", " k 0 5\r", "STORED k 0 18446744073709551615\r", "VALUE k\r", "1 2 3 4\r"]
        {
            assert!(!ok(bad), "{bad}");
        }
        assert!(ok("STORED\r") && ok("17\r") && ok("17   \r") && ok("SERVER_ERROR out of 9999\r"));
    }
}
