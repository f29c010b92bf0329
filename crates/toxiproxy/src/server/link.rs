//! One direction of one connection with its sockets: reads, lets the pipe work, writes, and takes changes of the chain at any
//! moment - also while the receiver does not read, which locks up the stock server.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::pipe::{Change, Pipe, State};

/// Bytes of one read; a chunk is never larger.
const CHUNK_MAX: usize = 32 * 1024;
/// Changes that may wait for a link.
pub(super) const CHANGES_MAX: usize = 16;

/// A change, and where to say that it is done.
pub(super) type Request = (Change, oneshot::Sender<()>);

/// Runs until its end has been written, its toxics close it, or the proxy drops the other end of `changes`.
pub(super) async fn run(
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    mut pipe: Pipe,
    changes: &mut mpsc::Receiver<Request>,
) {
    loop {
        let wake = match pipe.pump(Instant::now()) {
            State::Closed | State::Ended => return,
            State::Open(wake) => wake,
        };
        if pipe.output().is_some() {
            match write_out(&to, &mut pipe) {
                Err(_) => return,
                // Room has opened up, or the end has come.
                Ok(()) if pipe.output().is_none() => continue,
                Ok(()) => {}
            }
        }
        let (wants_input, has_output) = (pipe.wants_input(), pipe.output().is_some());
        tokio::select! {
            change = changes.recv() => match change {
                None => return,
                Some((change, done)) => {
                    pipe.apply(change, Instant::now());
                    // The asker may have given up.
                    let _ = done.send(());
                }
            },
            ready = from.readable(), if wants_input => {
                if ready.is_err() || read_in(&from, &to, &mut pipe).is_err() {
                    pipe.end_input(Instant::now());
                }
            }
            ready = to.writable(), if has_output => {
                if ready.is_err() {
                    return;
                }
            }
            () = sleep_until(wake) => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One read. An end of the stream, orderly or not, is an error. Not async, so that the buffer lives on the stack and an idle
/// connection costs none.
fn read_in(from: &TcpStream, to: &TcpStream, pipe: &mut Pipe) -> io::Result<()> {
    let mut buffer = [0; CHUNK_MAX];
    let n = match from.try_read(&mut buffer) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => n,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    pipe.count_read(n);
    let mut rest = &buffer[..n];
    if pipe.is_transparent() {
        // The short way: from buffer to socket. An error shows again at the next write.
        let written = to.try_write(rest).unwrap_or(0);
        rest = &rest[written..];
    }
    if !rest.is_empty() {
        pipe.push(Bytes::copy_from_slice(rest), Instant::now());
    }
    Ok(())
}

/// Writes as much as the socket takes.
fn write_out(to: &TcpStream, pipe: &mut Pipe) -> io::Result<()> {
    while let Some(chunk) = pipe.output() {
        match to.try_write(chunk) {
            Ok(n) => pipe.written(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
