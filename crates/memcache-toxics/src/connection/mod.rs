//! One fault on one connection, without its sockets: follows both directions, chooses requests, and knows which replies are
//! due in which order.

mod expected;
mod joining;
mod queue;
mod replies;
mod requests;
mod stage;
#[cfg(any(test, fuzzing))]
pub(crate) mod wire;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use toxiproxy::toxic::{Chunk, Joined, Pop};
use toxiproxy::wire::{Attributes, Stream};

pub(crate) use stage::stages;

use crate::faults::{Declared, Plan};
use crate::parse::{Framer, Why, reply, request};
use expected::{Due, Instead};
use joining::Joining;
use queue::Queue;
use replies::Current;

#[derive(Debug)]
enum Mode {
    /// Passes everything until it is in step.
    Joining(Joining),
    Following,
    /// Passes everything, for good.
    Passing,
}

/// What it has seen and done.
#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    chosen: u64,
    /// Why it no longer follows.
    lost: Option<Why>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    declared: Declared,
    /// `None`: attributes that were refused.
    plan: Option<Plan>,
    rng: ChaCha8Rng,
    mode: Mode,
    /// It knows for certain which replies are due.
    sure: bool,
    /// The toxic is removed: chooses no more, and goes when nothing is owed.
    leaving: bool,
    /// The connection ends behind what waits downstream.
    cut: bool,
    requests: Framer,
    replies: Framer,
    /// The request in hand does not reach the server; what is answered when it has come whole.
    swallowed: Option<Option<Instead>>,
    due: Due,
    /// The reply in hand.
    current: Option<Current>,
    /// A reply that waits for the next one to pass it.
    overtaken: Option<BytesMut>,
    out: [Queue; 2],
    /// The chunk in hand was touched.
    touched: bool,
    tally: Tally,
}

impl Connection {
    fn new(declared: Declared, attributes: &Attributes, rng: ChaCha8Rng, joined: &Joined) -> Self {
        let joining = Joining::new(joined);
        Self {
            declared,
            plan: declared.read(attributes).ok(),
            rng,
            sure: joining.is_none(),
            mode: joining.map_or(Mode::Following, Mode::Joining),
            leaving: false,
            cut: false,
            requests: Framer::new(&request::GRAMMAR),
            replies: Framer::new(&reply::GRAMMAR),
            swallowed: None,
            due: Due::default(),
            current: None,
            overtaken: None,
            out: [Queue::default(), Queue::default()],
            touched: false,
            tally: Tally::default(),
        }
    }

    fn push(&mut self, stream: Stream, chunk: Chunk, now: Instant) -> bool {
        if self.cut {
            return true;
        }
        self.touched = false;
        if let Mode::Joining(joining) = &mut self.mode
            && joining.begins(stream, &chunk.bytes)
        {
            self.mode = Mode::Following;
        }
        if matches!(self.mode, Mode::Following) {
            let mut input = chunk.bytes.clone();
            let followed = match stream {
                Stream::Upstream => self.follow_requests(&mut input, chunk.stamp),
                Stream::Downstream => self.follow_replies(&mut input, chunk.stamp),
            };
            if let Err(why) = followed {
                self.lose(why, chunk.stamp);
                self.pass(stream, input, chunk.stamp);
                if let Mode::Joining(joining) = &mut self.mode {
                    joining.begins(stream, &chunk.bytes);
                }
            }
            self.settle(chunk.stamp);
        } else {
            self.pass(stream, chunk.bytes, chunk.stamp);
        }
        self.touched
            || self.out[stream as usize].is_blocked(now)
            || stream == Stream::Downstream && self.is_gathering()
    }

    /// Does the last reply wait for the next one?
    fn is_gathering(&self) -> bool {
        self.overtaken.is_some() || self.current.as_ref().is_some_and(Current::is_held)
    }

    fn pass(&mut self, stream: Stream, bytes: Bytes, stamp: Instant) {
        if !self.cut {
            self.out[stream as usize].pass(bytes, stamp);
        }
    }

    fn pop(&mut self, stream: Stream, now: Instant) -> Pop {
        self.out[stream as usize].pop(now)
    }

    fn has_room(&self, stream: Stream) -> bool {
        let [up, down] = &self.out;
        match stream {
            // An answer to a swallowed request goes the other way. A fault that answers none does not stop requests for
            // replies that it holds: their ops are carried out.
            Stream::Upstream => up.has_room() && (!self.answers() || down.has_room()),
            Stream::Downstream => down.has_room(),
        }
    }

    /// Can what comes upstream become bytes downstream?
    fn answers(&self) -> bool {
        let plan = self.plan.as_ref().filter(|_| matches!(self.mode, Mode::Following) && !self.leaving);
        plan.is_some_and(|plan| plan.act.answers())
    }

    fn end(&mut self, stream: Stream, now: Instant) {
        if matches!(self.mode, Mode::Following) {
            let partial = match stream {
                Stream::Upstream => self.requests.take_partial(),
                Stream::Downstream => {
                    self.stop_gathering(now);
                    self.replies.take_partial()
                }
            };
            // Part of a request or reply that is the fault's own does not go on.
            let kept = match stream {
                Stream::Upstream => self.swallowed.is_some(),
                Stream::Downstream => self.current.as_ref().is_some_and(Current::is_replaced),
            };
            if !kept {
                self.pass(stream, partial, now);
            }
        }
        self.out[stream as usize].ended = true;
    }

    fn update(&mut self, attributes: &Attributes, now: Instant) {
        // What is held leaves at once; later ops meet the new attributes.
        self.plan = self.declared.read(attributes).ok();
        self.free(now);
    }

    /// Holds back nothing of what has come.
    fn free(&mut self, now: Instant) {
        self.stop_gathering(now);
        self.current.iter_mut().for_each(Current::free);
        self.out.iter_mut().for_each(Queue::free);
    }

    fn release(&mut self, stream: Stream) -> VecDeque<Chunk> {
        if !self.leaving {
            self.leaving = true;
            let now = Instant::now();
            self.free(now);
            self.settle(now);
        }
        self.out[stream as usize].take()
    }

    fn drained(&self, stream: Stream) -> bool {
        !self.cut && !matches!(self.mode, Mode::Following) && self.out[stream as usize].is_empty()
    }

    /// Is the stream's order or content still the fault's to put right?
    fn owes(&self) -> bool {
        self.swallowed.is_some()
            || self.overtaken.is_some()
            || self.current.as_ref().is_some_and(Current::is_owed)
            || self.due.owes()
    }

    /// When the toxic is removed and nothing is owed: lets go.
    fn settle(&mut self, stamp: Instant) {
        if self.leaving && !matches!(self.mode, Mode::Passing) && !self.owes() {
            self.let_go(stamp);
        }
    }

    /// Passes on what is kept, and everything from now on.
    fn let_go(&mut self, stamp: Instant) {
        self.stop_gathering(stamp);
        let partials = [self.requests.take_partial(), self.replies.take_partial()];
        for (stream, partial) in Stream::ALL.into_iter().zip(partials) {
            self.pass(stream, partial, stamp);
        }
        self.mode = Mode::Passing;
    }

    /// The bytes are no longer understood.
    fn lose(&mut self, why: Why, stamp: Instant) {
        self.stop_gathering(stamp);
        let owes = self.cut || self.owes();
        if owes {
            // Without the replies that are owed all later ones would answer the wrong requests.
            self.close();
        }
        self.let_go(stamp);
        if self.sure || owes || self.leaving {
            self.tally.lost = Some(why);
            let toxic = self.declared.name;
            tracing::debug!(toxic, ?why, "lost step with a connection; it passes untouched from here");
        } else {
            self.mode = Mode::Joining(Joining::anew());
            (self.due, self.current) = (Due::default(), None);
            self.requests = Framer::new(&request::GRAMMAR);
            self.replies = Framer::new(&reply::GRAMMAR);
        }
    }

    /// The connection ends behind what waits downstream.
    fn close(&mut self) {
        self.cut = true;
        self.touched = true;
        // Nothing more of either side is taken.
        drop([self.requests.take_partial(), self.replies.take_partial()]);
        // Upstream stays open until then: whichever direction ends first ends the connection.
        self.out[Stream::Downstream as usize].ended = true;
    }
}

#[cfg(any(test, fuzzing))]
impl Connection {
    /// Bytes that it keeps.
    fn kept(&self) -> usize {
        let queued: usize = self.out.iter().map(Queue::bytes).sum();
        let gathered = self.current.as_ref().map_or(0, Current::gathered);
        queued
            + gathered
            + self.overtaken.as_ref().map_or(0, BytesMut::len)
            + self.requests.kept()
            + self.replies.kept()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::trace!(toxic = self.declared.name, tally = ?self.tally, "a connection ended or the toxic left it");
    }
}

#[cfg(test)]
mod tests;
