//! Accepts connections. When no descriptor is left, the one that waits is closed at once: without that its client would believe
//! it is connected, and hang.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Pause after an accept that failed: accepting again at once would spin.
const PAUSE: Duration = Duration::from_millis(20);
/// A cause that lasts is told this often.
const TELL: Duration = Duration::from_secs(10);

/// A listener that always goes on.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// Given up for a moment, so that a connection can be accepted and closed.
    spare: Option<File>,
    told: Option<Instant>,
}

impl Acceptor {
    /// Takes a listener.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, spare: spare(), told: None }
    }

    /// The next connection. May be dropped and called again.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => error,
            };
            if is_short(&error) {
                self.tell(
                    &error,
                    "no descriptor is left; connections are closed unserved: raise `ulimit -Hn`",
                );
                drop(self.spare.take());
                // The connection is closed with the end of this statement, before its descriptor becomes the spare one.
                let closed = matches!(timeout(PAUSE, self.listener.accept()).await, Ok(Ok(_)));
                self.spare = spare();
                if closed {
                    continue;
                }
                // None waits, or another thread was quicker and has taken the descriptor.
            } else {
                self.tell(&error, "a connection cannot be accepted");
            }
            sleep(PAUSE).await;
        }
    }

    fn tell(&mut self, error: &io::Error, what: &str) {
        if self.told.is_none_or(|at| at.elapsed() >= TELL) {
            let listen = self.listener.local_addr().map_or_else(|_| String::new(), |addr| addr.to_string());
            tracing::error!(listen, %error, "accept: {what}");
            self.told = Some(Instant::now());
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_short(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}
