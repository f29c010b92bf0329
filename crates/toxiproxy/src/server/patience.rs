//! An API connection that does not wait for ever: how long the other side may be silent depends on what it owes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a whole request, from its first byte; for the first one from the connection on.
    pub read: Duration,
    /// To take an answer.
    pub write: Duration,
    /// Between two requests.
    pub idle: Duration,
}

impl Default for Limits {
    /// The stock server's.
    fn default() -> Self {
        Self { read: Duration::from_secs(15), write: Duration::from_secs(30), idle: Duration::from_secs(60) }
    }
}

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The rest of a request.
    Reading,
    /// Our answer: the client owes nothing.
    Serving,
    /// The next request.
    Idle,
}

/// Set by the service, read by the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Now(Arc<AtomicU8>);

impl Now {
    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            phase if phase == Phase::Serving as u8 => Phase::Serving,
            phase if phase == Phase::Idle as u8 => Phase::Idle,
            _ => Phase::Reading,
        }
    }
}

/// A stream whose reads and writes fail with `TimedOut` when the client is too slow.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    limits: Limits,
    now: Now,
    /// The phase that `reading` was set for.
    armed: Phase,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, limits: Limits, now: Now) -> Self {
        now.set(Phase::Reading);
        let reading = Box::pin(tokio::time::sleep(limits.read));
        Self { stream, limits, now, armed: Phase::Reading, reading, writing: None }
    }

    fn arm(&mut self, phase: Phase, limit: Duration) {
        if self.armed != phase {
            self.armed = phase;
            self.reading.as_mut().reset(Instant::now() + limit);
        }
    }

    /// Nothing came: is it too late?
    fn silent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.now.get() {
            Phase::Serving => {
                self.armed = Phase::Serving;
                return Poll::Pending;
            }
            Phase::Reading => self.arm(Phase::Reading, self.limits.read),
            Phase::Idle => self.arm(Phase::Idle, self.limits.idle),
        }
        ready!(self.reading.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The client took nothing: is it too late?
    fn stuck<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let limit = self.limits.write;
        let writing = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(writing.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.silent(cx),
            done => {
                if self.now.get() == Phase::Idle {
                    self.now.set(Phase::Reading);
                    let limit = self.limits.read;
                    self.arm(Phase::Reading, limit);
                }
                done
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.stuck(cx),
            done => done,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Pending => self.stuck(cx),
            done => done,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Everything of the answer has been taken.
        self.writing = None;
        if self.now.get() == Phase::Idle {
            // Whoever waits for the next request asked for it before this one was answered, and will not ask again unless
            // it is woken.
            let limit = self.limits.idle;
            self.arm(Phase::Idle, limit);
            let _ = self.reading.as_mut().poll(cx);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
