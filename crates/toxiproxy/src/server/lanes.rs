//! The threads that connections run on. A connection stays on its lane for life: no other thread is woken for its sake, and
//! none takes it over, which costs a work-stealing runtime both time and CPU at every lull.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::timer::Timer;

/// Where connections run. Its threads end when it is dropped.
pub(super) struct Lanes {
    all: Vec<Arc<Lane>>,
    _end: DropGuard,
}

/// One thread, or the runtime of the caller.
pub(super) struct Lane {
    runtime: Handle,
    pub(super) timer: Timer,
}

impl Lanes {
    /// As many threads of their own; 0: as [`Self::current`].
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Ok(Self::current());
        }
        let end = CancellationToken::new();
        let mut all = Vec::new();
        for number in 0..threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            all.push(Arc::new(Lane::on(runtime.handle().clone())));
            let end = end.clone();
            let name = format!("toxiproxy-{number}");
            std::thread::Builder::new().name(name).spawn(move || runtime.block_on(end.cancelled()))?;
        }
        Ok(Self { all, _end: end.drop_guard() })
    }

    /// One lane: the current runtime, in which this must be called.
    pub(super) fn current() -> Self {
        Self { all: vec![Arc::new(Lane::on(Handle::current()))], _end: CancellationToken::new().drop_guard() }
    }

    /// The lane of a proxy's connection of that number: each in turn.
    pub(super) fn of(&self, number: u64) -> &Arc<Lane> {
        &self.all[(number % self.all.len() as u64) as usize]
    }
}

impl Lane {
    fn on(runtime: Handle) -> Self {
        let timer = {
            let _entered = runtime.enter();
            Timer::start()
        };
        Self { runtime, timer }
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Hands a socket over to this lane; within its runtime.
    pub(super) fn adopt(socket: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(socket.into_std()?)
    }
}
