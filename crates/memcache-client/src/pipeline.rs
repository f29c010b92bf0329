//! Connections that many ops share. An op appends its request to the connection's output and its place to the queue;
//! one task a connection writes what has gathered, reads replies, and gives each to the place at the head of the
//! queue, once its echoes are those of the request. The reply to an op that was dropped, or whose time is over, is read
//! and thrown away: the stream stays in step. The task keeps the deadlines too: one timer a connection, not one an op.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use futures::task::AtomicWaker;
use slab::Slab;
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::error::{Error, ProtocolError, lost};
use crate::key::Key;
use crate::observer::CloseReason;
use crate::op::{Op, Reply};
use crate::pool::PoolStats;
use crate::pool::gate::Gate;
use crate::request::Replies;
use crate::site::Site;
use crate::stream::Stream;
use crate::sync::{AbortHandle, Mutex, MutexGuard, SemaphorePermit, spawn, timeout_at};
use crate::timer::Timer;
use crate::wire::meta::codec::{self, Raw, Step};

/// Bytes asked for in one read.
const READ_CHUNK: usize = 16 * 1024;
/// An output buffer that large values have grown beyond this is given back.
const KEEP_BUFFER: usize = 256 * 1024;
/// Reads in a row before other tasks get their turn.
const READS_MAX: usize = 16;

/// All shared connections of one server.
pub(crate) struct Pipelines {
    site: Arc<Site>,
    gate: Gate,
    lines: Vec<Arc<Line>>,
    next: AtomicUsize,
}

/// One connection, or the place where one will be.
struct Line {
    state: Mutex<LineState>,
    /// Wakes the connection's task.
    task: AtomicWaker,
    created: AtomicU64,
    dial_errors: AtomicU64,
    discards: [AtomicU64; CloseReason::ALL.len()],
}

#[derive(Default)]
struct LineState {
    out: BytesMut,
    /// Requests whose replies have not come, in order.
    queue: VecDeque<Asked>,
    places: Slab<Place>,
    opaque: u32,
    /// The task, while there is one.
    task: Option<AbortHandle>,
    open: bool,
    /// No op's time is over before this.
    earliest: Option<Instant>,
    /// When the last whole reply came.
    heard: Option<Instant>,
    /// Why the connection shall be closed.
    condemned: Option<CloseReason>,
}

struct Asked {
    /// Where the reply goes; `None`: nowhere.
    place: Option<usize>,
    key: Key,
    opaque: u32,
    at: Instant,
    deadline: Instant,
}

enum Place {
    Waiting(Option<Waker>),
    Done(Result<Raw, Error>),
    /// Its op was dropped.
    Abandoned,
}

impl Pipelines {
    pub(crate) fn new(site: Arc<Site>, connections: usize, depth: usize) -> Self {
        let line = || {
            Arc::new(Line {
                state: Mutex::default(),
                task: AtomicWaker::new(),
                created: AtomicU64::new(0),
                dial_errors: AtomicU64::new(0),
                discards: Default::default(),
            })
        };
        let waits = site.config.pool_wait();
        let gate = Gate::new(connections * depth, site.config.pool.max_waiting, waits);
        Self { gate, lines: (0..connections).map(|_| line()).collect(), next: AtomicUsize::new(0), site }
    }

    /// One op, in the time from `began`, which is now, to `deadline`. `at_server` is set when it has its place in a
    /// connection.
    pub(crate) async fn execute(
        &self,
        op: &Op,
        (began, deadline): (Instant, Instant),
        at_server: &mut Option<Instant>,
    ) -> Result<Reply, Error> {
        let (_inside, at) = self.enter((began, deadline)).await?;
        *at_server = Some(at);
        let mut ticket = Ticket::new(self.line());
        let mut reply = Err(Error::Closed);
        poll_fn(|cx| {
            if ticket.is_new() {
                self.ask(&mut ticket, [op], (at, deadline), cx.waker());
                return Poll::Pending;
            }
            ticket.poll(cx, |raw| reply = raw)
        })
        .await;
        ticket.line.understood(reply?.reply(op))
    }

    /// Several ops on one connection; their ends go to `replies` in order, as far as they are known.
    pub(crate) async fn execute_many(
        &self,
        ops: &[Cow<'_, Op>],
        (began, deadline): (Instant, Instant),
        at_server: &mut Option<Instant>,
        replies: &mut Replies,
    ) -> Result<(), Error> {
        let (_inside, at) = self.enter((began, deadline)).await?;
        *at_server = Some(at);
        let mut ticket = Ticket::new(self.line());
        let mut raws = Vec::with_capacity(ops.len());
        poll_fn(|cx| {
            if ticket.is_new() {
                self.ask(&mut ticket, ops.iter().map(AsRef::as_ref), (at, deadline), cx.waker());
                return Poll::Pending;
            }
            ticket.poll(cx, |raw| raws.push(raw))
        })
        .await;
        for (op, raw) in ops.iter().zip(raws) {
            replies.push(raw.and_then(|raw| ticket.line.understood(raw.reply(op))))?;
        }
        Ok(())
    }

    /// In, and since when: mostly at once.
    async fn enter(
        &self,
        (began, deadline): (Instant, Instant),
    ) -> Result<(SemaphorePermit<'_>, Instant), Error> {
        if let Some(permit) = self.gate.try_enter() {
            return Ok((permit, began));
        }
        // A retry may have less time left than an op may wait. In a box: most ops need no room for this.
        match Box::pin(timeout_at(deadline, self.gate.enter())).await {
            Ok(entered) => Ok((entered?, Instant::now())),
            Err(_) => Err(Error::Timeout(deadline - began)),
        }
    }

    fn line(&self) -> &Arc<Line> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lines[n % self.lines.len()]
    }

    /// Puts ops into the queue; `waker` is told when the last of them has its end.
    fn ask<'a>(
        &self,
        ticket: &mut Ticket<'_>,
        ops: impl IntoIterator<Item = &'a Op>,
        (at, deadline): (Instant, Instant),
        waker: &Waker,
    ) {
        let line = ticket.line;
        let mut state = line.state();
        for op in ops {
            state.opaque = state.opaque.wrapping_add(1);
            let opaque = state.opaque;
            let place = state.places.insert(Place::Waiting(None));
            codec::encode(op, opaque, &mut state.out);
            let key = op.key().clone();
            state.queue.push_back(Asked { place: Some(place), key, opaque, at, deadline });
            ticket.places.push(place);
        }
        if let Some(last) = ticket.places.last() {
            state.places[*last] = Place::Waiting(Some(waker.clone()));
        }
        if state.earliest.is_none_or(|earliest| deadline < earliest) {
            state.earliest = Some(deadline);
        }
        if state.task.is_none() {
            let serving = serve(Arc::clone(&self.site), Arc::clone(line));
            state.task = Some(spawn(serving).abort_handle());
        }
        drop(state);
        line.task.wake();
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let open = self.lines.iter().filter(|line| line.state().open).count();
        let sum = |count: fn(&Line) -> u64| self.lines.iter().map(|line| count(line)).sum();
        let busy = self.lines.iter().filter(|line| !line.state().queue.is_empty()).count();
        PoolStats {
            total: open,
            active: busy.min(open),
            idle: open.saturating_sub(busy),
            waiting: self.gate.waiting(),
            limit: self.lines.len(),
            created: sum(|line| line.created.load(Ordering::Relaxed)),
            dial_errors: sum(|line| line.dial_errors.load(Ordering::Relaxed)),
            acquire_errors: self.gate.refused(),
            discards: std::array::from_fn(|n| {
                self.lines.iter().map(|line| line.discards[n].load(Ordering::Relaxed)).sum()
            }),
        }
    }

    /// Waits for the ops in flight, then closes all connections.
    pub(crate) async fn close(&self, patience: std::time::Duration) {
        self.gate.close(patience).await;
        for line in &self.lines {
            line.state().condemned = Some(CloseReason::Drain);
            line.task.wake();
        }
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        for line in &self.lines {
            if let Some(task) = line.state().task.take() {
                task.abort();
            }
        }
    }
}

/// The places of some requests that were asked together; given back when it is dropped.
struct Ticket<'a> {
    line: &'a Arc<Line>,
    places: SmallVec<[usize; 2]>,
}

impl<'a> Ticket<'a> {
    fn new(line: &'a Arc<Line>) -> Self {
        Self { line, places: SmallVec::new() }
    }

    /// Nothing was asked yet.
    fn is_new(&self) -> bool {
        self.places.is_empty()
    }

    /// Gives the ends of all requests in order, once the last has its: ends come in order, or all at once.
    fn poll(&mut self, cx: &mut Context<'_>, mut each: impl FnMut(Result<Raw, Error>)) -> Poll<()> {
        let mut state = self.line.state();
        if let Some(Place::Waiting(waker)) = self.places.last().map(|last| &mut state.places[*last]) {
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        for place in self.places.drain(..) {
            match state.places.try_remove(place) {
                Some(Place::Done(result)) => each(result),
                _ => each(Err(Error::Closed)),
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let mut state = self.line.state();
        for &place in &self.places {
            if matches!(state.places.get(place), Some(Place::Waiting(_))) {
                // Its reply will free it.
                state.places[place] = Place::Abandoned;
            } else {
                state.places.try_remove(place);
            }
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what a reply means; one that the op cannot have closes the connection.
    fn understood(&self, reply: Result<Reply, Error>) -> Result<Reply, Error> {
        if matches!(reply, Err(Error::Protocol(_))) {
            self.state().condemned = Some(CloseReason::Protocol);
            self.task.wake();
        }
        reply
    }

    /// There is a connection. Its first request asks how the server sends a miss, if nobody knows.
    fn opened(&self, site: &Site) {
        let mut state = self.state();
        state.open = true;
        let Some(key) = site.traffic.first_question() else { return };
        state.opaque = state.opaque.wrapping_add(1);
        let opaque = state.opaque;
        let mut out = BytesMut::new();
        codec::encode_get(&key, opaque, &mut out);
        out.extend_from_slice(&state.out);
        state.out = out;
        let at = Instant::now();
        let deadline = at + site.config.op_timeout;
        state.queue.push_front(Asked { place: None, key, opaque, at, deadline });
    }

    /// Everybody in the queue gets `error`; the line is ready for another connection.
    fn fail(&self, error: &Error) {
        let mut state = self.state();
        let mut wakers = Vec::new();
        let queue = std::mem::take(&mut state.queue);
        for asked in queue {
            state.answer(asked.place, Err(error.clone()), &mut wakers);
        }
        state.earliest = None;
        state.out = BytesMut::new();
        (state.open, state.task, state.condemned, state.heard) = (false, None, None, None);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl LineState {
    fn answer(&mut self, place: Option<usize>, result: Result<Raw, Error>, wakers: &mut Vec<Waker>) {
        let Some(place) = place else { return };
        match self.places.get_mut(place) {
            Some(Place::Abandoned) => drop(self.places.try_remove(place)),
            Some(waiting @ Place::Waiting(_)) => {
                if let Place::Waiting(Some(waker)) = std::mem::replace(waiting, Place::Done(result)) {
                    wakers.push(waker);
                }
            }
            _ => {}
        }
    }
}

/// Ends the ops whose time is over; one timer a connection.
struct Reaper<'a> {
    line: &'a Line,
    timer: Timer,
}

impl<'a> Reaper<'a> {
    fn new(line: &'a Line) -> Self {
        Self { line, timer: Timer::default() }
    }

    /// To be polled whenever an op has been asked; is never ready.
    fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(earliest) = self.line.state().earliest else { return };
            if self.timer.poll(cx, earliest).is_pending() {
                return;
            }
            self.line.expire(Instant::now());
        }
    }
}

impl Line {
    /// Tells the ops whose time is over. If nothing at all was heard since one of them was asked, the connection is at
    /// fault, and is given up.
    fn expire(&self, now: Instant) {
        let mut state = self.state();
        let mut wakers = Vec::new();
        let mut queue = std::mem::take(&mut state.queue);
        let (mut earliest, mut silent) = (None, false);
        for asked in queue.iter_mut().filter(|asked| asked.place.is_some()) {
            if asked.deadline > now {
                earliest = Some(earliest.map_or(asked.deadline, |e: Instant| e.min(asked.deadline)));
                continue;
            }
            silent |= state.heard.is_none_or(|heard| heard < asked.at);
            // Its place may soon be another op's; its reply must not find it.
            let place = asked.place.take();
            state.answer(place, Err(Error::Timeout(asked.deadline - asked.at)), &mut wakers);
        }
        state.queue = queue;
        state.earliest = earliest;
        if silent && state.open {
            state.condemned = Some(CloseReason::Timeout);
            self.task.wake();
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The life of one connection.
async fn serve(site: Arc<Site>, line: Arc<Line>) {
    let mut reaper = Reaper::new(&line);
    let mut dialling = std::pin::pin!(site.dial());
    let dialled = poll_fn(|cx| {
        line.task.register(cx.waker());
        reaper.poll(cx);
        dialling.as_mut().poll(cx)
    });
    let stream = match dialled.await {
        Ok(stream) => stream,
        Err(error) => {
            line.dial_errors.fetch_add(1, Ordering::Relaxed);
            return line.fail(&error);
        }
    };
    line.created.fetch_add(1, Ordering::Relaxed);
    line.opened(&site);
    let mut io = Io {
        site: &site,
        line: &line,
        reaper,
        stream,
        writing: BytesMut::new(),
        input: BytesMut::new(),
        searched: 0,
        wakers: Vec::new(),
    };
    let error = poll_fn(|cx| io.poll(cx)).await;
    let condemned = line.state().condemned;
    let reason = condemned.unwrap_or(match &error {
        Error::Protocol(_) => CloseReason::Protocol,
        _ => CloseReason::Reset,
    });
    line.discards[reason as usize].fetch_add(1, Ordering::Relaxed);
    // The descriptor is closed before the next one is opened.
    drop(io);
    line.fail(&error);
    site.observer.closed(site.index, reason);
}

struct Io<'a> {
    site: &'a Site,
    line: &'a Line,
    reaper: Reaper<'a>,
    stream: Stream,
    writing: BytesMut,
    input: BytesMut,
    searched: usize,
    wakers: Vec<Waker>,
}

impl Io<'_> {
    /// Runs until the connection ends; says why it did.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.line.task.register(cx.waker());
        self.reaper.poll(cx);
        if let Some(reason) = self.line.state().condemned {
            let text = format!("the connection was closed: {}", reason.name());
            return Poll::Ready(lost(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, text)));
        }
        if let Poll::Ready(error) = self.poll_write(cx) {
            return Poll::Ready(error);
        }
        for _ in 0..READS_MAX {
            if let Err(error) = ready!(self.poll_read(cx)) {
                return Poll::Ready(error);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes until there is nothing to write or no room; ready only when the connection is lost.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            if self.writing.is_empty() {
                if self.writing.capacity() > KEEP_BUFFER {
                    self.writing = BytesMut::new();
                }
                std::mem::swap(&mut self.writing, &mut self.line.state().out);
                if self.writing.is_empty() {
                    return Poll::Pending;
                }
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.writing)) {
                Ok(0) => return Poll::Ready(lost(std::io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.writing.advance(n);
                    self.site.traffic.add_written(n);
                }
                Err(error) => return Poll::Ready(lost(error)),
            }
        }
    }

    /// One read, and all replies that are whole after it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.input.reserve(READ_CHUNK);
        // Nothing of this future outlives the poll, so it may be made anew each time.
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match ready!(read) {
            Ok(0) => Poll::Ready(Err(lost(std::io::ErrorKind::UnexpectedEof.into()))),
            Ok(n) => {
                self.site.traffic.add_read(n);
                Poll::Ready(self.parse())
            }
            Err(error) => Poll::Ready(Err(lost(error))),
        }
    }

    fn parse(&mut self) -> Result<(), Error> {
        let line = self.line;
        let mut state = line.state();
        let traffic = &self.site.traffic;
        let rules = traffic.rules(self.site.config.value_max);
        let mut heard = false;
        let result = loop {
            let Some(asked) = state.queue.front() else {
                break match self.input.len() {
                    0 => Ok(()),
                    n => Err(ProtocolError::TrailingBytes(n).into()),
                };
            };
            match codec::parse(&mut self.input, &mut self.searched, &asked.key, asked.opaque, rules) {
                Ok(Step::Need(_)) => break Ok(()),
                Ok(step) => {
                    let place = asked.place;
                    state.queue.pop_front();
                    let result = match step {
                        Step::ServerError(error) => Err(error),
                        Step::Whole(raw) => {
                            traffic.learn(&raw);
                            Ok(raw)
                        }
                        Step::Need(_) => break Ok(()),
                    };
                    heard = true;
                    state.answer(place, result, &mut self.wakers);
                }
                Err(error) => break Err(error),
            }
        };
        if heard {
            state.heard = Some(Instant::now());
        }
        drop(state);
        self.wakers.drain(..).for_each(Waker::wake);
        result
    }
}
