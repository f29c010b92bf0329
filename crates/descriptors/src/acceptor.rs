//! Accepts connections. When no descriptor is left, the one that waits is closed at once: without that its client would believe
//! it is connected, and hang.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// Pause after an accept that failed: accepting again at once would spin.
const PAUSE: Duration = Duration::from_millis(20);
/// Descriptors that the process keeps. One is given up for a moment so that a connection can be accepted and closed; should another
/// thread take it just then, others are left.
static SPARE: Mutex<Vec<File>> = Mutex::new(Vec::new());
const SPARE_MOST: usize = 4;
/// A cause that lasts is told this often.
const TELL: Duration = Duration::from_secs(10);

/// A listener that always goes on.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    told: Option<Instant>,
}

impl Acceptor {
    /// Takes a listener.
    pub fn new(listener: TcpListener) -> Self {
        refill(&mut spare());
        Self { listener, told: None }
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
                if self.one_waits() && self.close_one() {
                    continue;
                }
            } else {
                self.tell(&error, "a connection cannot be accepted");
            }
            sleep(PAUSE).await;
            refill(&mut spare());
        }
    }

    /// Is there a connection? The kernel looks for a descriptor first, so that its error says nothing of that.
    fn one_waits(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Accepts a connection in place of a spare descriptor, and closes it. Nothing is awaited: whoever else opens something would take
    /// the descriptor. `false`: another thread was quicker all the same.
    fn close_one(&self) -> bool {
        let mut spare = spare();
        drop(spare.pop());
        let closed = rustix::net::accept(&self.listener).map(drop).is_ok();
        refill(&mut spare);
        closed
    }

    fn tell(&mut self, error: &io::Error, what: &str) {
        if self.told.is_none_or(|at| at.elapsed() >= TELL) {
            let listen = self.listener.local_addr().map_or_else(|_| String::new(), |addr| addr.to_string());
            tracing::error!(listen, %error, "accept: {what}");
            self.told = Some(Instant::now());
        }
    }
}

fn spare() -> MutexGuard<'static, Vec<File>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refill(spare: &mut Vec<File>) {
    while spare.len() < SPARE_MOST
        && let Ok(file) = File::open("/dev/null")
    {
        spare.push(file);
    }
}

fn is_short(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}
