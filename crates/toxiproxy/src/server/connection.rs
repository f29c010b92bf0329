//! One connection: a client's socket, a server's, and a pipe each way. Its task moves bytes; changes of the chains are applied
//! by whoever asks, under the connection's lock, so that they hold when the call returns - also while a receiver does not
//! read, which locks up the stock server.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::dice::Dice;
use super::dose::{Dose, LinkDose};
use super::pipe::{Pipe, PipeState, Spec};
use super::timer::Timer;
use crate::toxic::{Behaviour, Build, Joined};
use crate::wire::{LinkCounters, Stream};

/// Bytes of one read; a chunk is never larger.
const CHUNK_MAX: usize = 32 * 1024;
/// Rounds over both directions before other connections get their turn.
const ROUNDS_MAX: usize = 16;
/// A connection is woken at least this often while it waits for a time: wakers of ended ones must not pile up in the timer.
const WAKE_MAX: Duration = Duration::from_secs(1);

/// A change of the chains.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add(Stream, Arc<Spec>),
    Update(Arc<Spec>),
    Remove(String),
}

/// What the connection's task and those who change it share.
pub(super) struct Connection {
    state: Mutex<ConnectionState>,
}

struct ConnectionState {
    pipes: [Pipe; 2],
    last: Option<Stream>,
    closed: bool,
    waker: Option<Waker>,
    /// The timer will wake the task then.
    wakes_at: Option<Instant>,
}

impl Connection {
    /// A connection of `proxy` with these toxics.
    pub(super) fn new(
        seed: u64,
        proxy: &str,
        number: u64,
        toxics: &[(Stream, Arc<Spec>)],
        dose: &Arc<Dose>,
    ) -> Self {
        let pipes = Stream::ALL.map(|stream| {
            let dice = Dice::new(seed, proxy, number, stream);
            Pipe::new(dice, Arc::clone(dose), LinkDose::open(dose, stream))
        });
        let mut state = ConnectionState { pipes, last: None, closed: false, waker: None, wakes_at: None };
        for (stream, spec) in toxics {
            for (stream, behaviour, active) in state.build(*stream, spec) {
                state.pipes[stream as usize].append(Arc::clone(spec), behaviour, active);
            }
        }
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its chains; holds when this returns.
    pub(super) fn change(&self, change: &Change) {
        let mut state = self.lock();
        let now = Instant::now();
        match change {
            Change::Add(stream, spec) => {
                for (stream, behaviour, active) in state.build(*stream, spec) {
                    state.pipes[stream as usize].add(Arc::clone(spec), behaviour, active, now);
                }
            }
            Change::Update(spec) => state.pipes.iter_mut().for_each(|pipe| pipe.update(spec, now)),
            Change::Remove(name) => state.pipes.iter_mut().for_each(|pipe| pipe.remove(name, now)),
        }
        state.wake();
    }

    /// What has come in and was touched, by direction.
    pub(super) fn counters(&self) -> [LinkCounters; 2] {
        let state = self.lock();
        [state.pipes[0].counters(), state.pipes[1].counters()]
    }

    /// Ends it: its task closes both sockets.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wake();
    }

    /// Moves bytes until both directions have ended, or [`Self::close`]. There is no half-close: the direction that ends first
    /// closes its destination, which is the other's source; what the other still holds is delivered.
    pub(super) async fn run(&self, client: TcpStream, server: TcpStream, timer: &Timer) {
        let ((client_read, client_write), (server_read, server_write)) =
            (client.into_split(), server.into_split());
        let mut ways = [
            Way { from: Some(client_read), to: Some(server_write), stream: Stream::Upstream },
            Way { from: Some(server_read), to: Some(client_write), stream: Stream::Downstream },
        ];
        poll_fn(|context| self.poll(&mut ways, timer, context)).await;
        // Closed as a whole and at once, without a half-close before it: that would take the place of a reset.
        ways.into_iter().filter_map(|way| way.to).for_each(OwnedWriteHalf::forget);
    }

    fn poll(&self, ways: &mut [Way; 2], timer: &Timer, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        let mut wake = None;
        for _ in 0..ROUNDS_MAX {
            let mut again = false;
            wake = None;
            for index in 0..ways.len() {
                match ways[index].turn(&mut state, context) {
                    Turn::Over => {
                        let [up, down] = &mut *ways;
                        let (this, other) = if index == 0 { (up, down) } else { (down, up) };
                        this.close_destination(other, &mut state);
                        if this.to.is_none() && other.to.is_none() {
                            return Poll::Ready(());
                        }
                        again = true;
                    }
                    Turn::Again => again = true,
                    Turn::Wait(None) => {}
                    Turn::Wait(Some(at)) => wake = Some(wake.map_or(at, |wake: Instant| wake.min(at))),
                }
            }
            if !again {
                state.wait(wake, timer, context.waker());
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        state.wait(wake, timer, context.waker());
        Poll::Pending
    }
}

impl ConnectionState {
    /// The stages of a toxic that starts here, and whether their dice let them act.
    fn build(&mut self, stream: Stream, spec: &Spec) -> Vec<(Stream, Box<dyn Behaviour>, bool)> {
        let joined = Joined {
            bytes: [self.pipes[0].counters().bytes, self.pipes[1].counters().bytes],
            tails: [self.pipes[0].tail(), self.pipes[1].tail()],
            last: self.last,
        };
        let dice = self.pipes[stream as usize].dice();
        let own = dice.fork();
        let active = dice.throw(spec.toxicity);
        match spec.kind.build {
            Build::Link(build) => vec![(stream, build(&spec.attributes, own), active)],
            Build::Connection(build) => {
                let [up, down] = build(&spec.attributes, own, &joined);
                vec![(Stream::Upstream, up, active), (Stream::Downstream, down, active)]
            }
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait(&mut self, wake: Option<Instant>, timer: &Timer, waker: &Waker) {
        let Some(at) = wake else { return };
        let now = Instant::now();
        let at = at.min(now + WAKE_MAX);
        if self.wakes_at.is_none_or(|wakes_at| wakes_at <= now || at < wakes_at) {
            self.wakes_at = Some(at);
            timer.wake_at(at, waker.clone());
        }
    }
}

/// The sockets of one direction: `from` is gone when the other direction has ended, `to` when this one has.
struct Way {
    from: Option<OwnedReadHalf>,
    to: Option<OwnedWriteHalf>,
    stream: Stream,
}

/// How a turn of one direction ended.
enum Turn {
    /// This direction is over.
    Over,
    /// There may be more to do at once.
    Again,
    /// Not before a socket is ready, or that moment.
    Wait(Option<Instant>),
}

impl Way {
    /// This direction is over: closes the socket that it wrote to, which the other one has read from.
    fn close_destination(&mut self, other: &mut Way, state: &mut ConnectionState) {
        let (Some(to), from) = (self.to.take(), other.from.take()) else { return };
        // Without a half-close before it: that would take the place of a reset.
        to.forget();
        if from.is_some() {
            let pipe = &mut state.pipes[other.stream as usize];
            if !pipe.has_ended_input() {
                pipe.end_input(Instant::now());
            }
        }
    }

    /// Pumps, writes and reads as far as it goes.
    fn turn(&mut self, state: &mut ConnectionState, context: &mut Context<'_>) -> Turn {
        if self.to.is_none() {
            return Turn::Wait(None);
        }
        let mut wake = None;
        let pipe = &mut state.pipes[self.stream as usize];
        if !pipe.is_idle() {
            match pipe.pump(Instant::now()) {
                PipeState::Closed | PipeState::Ended => return Turn::Over,
                PipeState::Open(at) => wake = at,
            }
            match self.write(pipe, context) {
                Poll::Ready(Err(_)) => return Turn::Over,
                // Room has opened up, or the end has come.
                Poll::Ready(Ok(n)) if n > 0 => return Turn::Again,
                // A stage may have something for the other direction.
                _ if pipe.has_moved() => return Turn::Again,
                _ => {}
            }
        }
        if !pipe.wants_input() {
            return Turn::Wait(wake);
        }
        match self.read(pipe, context) {
            Poll::Ready(()) => {
                state.last = Some(self.stream);
                Turn::Again
            }
            Poll::Pending => Turn::Wait(wake),
        }
    }

    /// Writes as much of the output as the socket takes; gives the bytes.
    fn write(&mut self, pipe: &mut Pipe, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut written = 0;
        while let Some(chunk) = pipe.output() {
            let Some(to) = &mut self.to else { break };
            match Pin::new(to).poll_write(context, chunk) {
                Poll::Ready(Ok(n)) => {
                    pipe.written(n);
                    written += n;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(written))
    }

    /// One read. The buffer lives on the stack, so that an idle connection costs none.
    fn read(&mut self, pipe: &mut Pipe, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [const { MaybeUninit::uninit() }; CHUNK_MAX];
        let mut buffer = ReadBuf::uninit(&mut space);
        let (Some(from), Some(to)) = (&mut self.from, &mut self.to) else { return Poll::Pending };
        let result = ready!(Pin::new(from).poll_read(context, &mut buffer));
        let chunk = buffer.filled();
        // An end of the stream, orderly or not.
        if result.is_err() || chunk.is_empty() {
            pipe.end_input(Instant::now());
            return Poll::Ready(());
        }
        pipe.count_read(chunk);
        let mut rest = chunk;
        if pipe.is_transparent() {
            // The short way: from buffer to socket. An error shows again at the next write.
            if let Poll::Ready(Ok(n)) = Pin::new(to).poll_write(context, rest) {
                pipe.count_sent(n);
                rest = &rest[n..];
            }
        }
        if !rest.is_empty() {
            pipe.push(Bytes::copy_from_slice(rest), Instant::now());
        }
        Poll::Ready(())
    }
}
