//! Downstream: matches replies with their requests, holds, forges or swallows them, and says what the fault owes.

use bytes::{Bytes, BytesMut};
use rand::RngExt;
use tokio::time::Instant;
use toxiproxy::wire::Stream;

use super::Connection;
use super::expected::{Expected, From, Instead};
use super::queue::Until;
use super::requests::hold_until;
use crate::act::{Act, Pace, ReplyAct, ValueAct};
use crate::faults::Plan;
use crate::parse::reply::{Fit, Reply};
use crate::parse::{Frame, Why};

/// Bytes of a reply that are gathered at most, to be sent twice or later.
const GATHERED_MAX: usize = 64 * 1024;

/// The reply in hand.
#[derive(Debug)]
pub(super) struct Current {
    expected: Expected,
    until: Until,
    pace: Option<Pace>,
    sink: Sink,
    append: Bytes,
    /// The value in hand is the last of the reply.
    last: bool,
    value: Option<Value>,
}

/// Where its bytes go.
#[derive(Debug)]
enum Sink {
    Out,
    /// Nowhere; this is said instead when it has ended.
    Replaced(Instead),
    /// Out, and here to be sent again.
    Twice(BytesMut),
    /// Here, to be sent behind the next one.
    Overtaken(BytesMut),
}

/// What happens to the value in hand.
#[derive(Debug)]
struct Value {
    /// Bytes of it so far.
    passed: u64,
    act: OnValue,
}

#[derive(Debug, Clone, Copy)]
enum OnValue {
    Pace(Pace),
    CloseAt(u64),
    EndAt(u64),
    FlipAt { at: u64, bit: u8 },
}

impl Current {
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self.sink, Sink::Replaced(_))
    }

    /// What has come of it waits for the next one.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.sink, Sink::Overtaken(_))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn gathered(&self) -> usize {
        match &self.sink {
            Sink::Twice(gathered) | Sink::Overtaken(gathered) => gathered.len(),
            Sink::Out | Sink::Replaced(_) => 0,
        }
    }

    /// Holds back no more of it.
    pub(super) fn free(&mut self) {
        (self.until, self.pace) = (Until::Now, None);
        self.value.take_if(|value| matches!(value.act, OnValue::Pace(_)));
    }

    /// If the toxic left now, the client would get half a reply or none.
    pub(super) fn is_owed(&self) -> bool {
        let shortened = self.value.as_ref().is_some_and(|value| matches!(value.act, OnValue::EndAt(_)));
        self.is_replaced() || shortened
    }
}

impl Connection {
    /// Takes all of `input`. After an error the rest is in it, and what the framer keeps.
    pub(super) fn follow_replies(&mut self, input: &mut Bytes, stamp: Instant) -> Result<(), Why> {
        while let Some(frame) = self.replies.next(input)? {
            match frame {
                Frame::Line(line) => self.reply_line(line, stamp)?,
                Frame::Value(bytes) => self.value_bytes(bytes, stamp),
                Frame::End(bytes) => {
                    let mut last = false;
                    if let Some(current) = &mut self.current {
                        (current.value, last) = (None, current.last);
                    }
                    self.give(bytes, stamp);
                    if last {
                        self.end_reply(stamp);
                    }
                }
            }
            if self.cut {
                *input = Bytes::new();
            }
        }
        Ok(())
    }

    fn reply_line(&mut self, line: Bytes, stamp: Instant) -> Result<(), Why> {
        let matched = Reply::parse(&line).ok_or(Why::Unknown).and_then(|reply| {
            let fit = match &self.current {
                Some(Current { expected: of, .. }) => match reply.fits(of.command, of.quiet, &of.echo) {
                    Fit::No => return Err(Why::Unasked),
                    fit => fit,
                },
                None => match self.due.answered_by(&reply) {
                    Some(matched) => {
                        let proven = matches!(matched.expected.from, From::FaultAfterServer(_));
                        self.sure |= proven || reply.has_opaque();
                        self.current = Some(self.begin_reply(matched.expected, &reply, stamp));
                        matched.fit
                    }
                    None if self.sure => return Err(Why::Unasked),
                    // To a request from before the toxic came.
                    None => Fit::More,
                },
            };
            Ok((reply, fit))
        });
        let (reply, fit) = match matched {
            Ok(matched) => matched,
            Err(why) => {
                self.replies.put_back(&line);
                return Err(why);
            }
        };
        let Some(length) = reply.value else {
            self.give(line, stamp);
            if fit == Fit::Last {
                self.end_reply(stamp);
            }
            return Ok(());
        };
        self.replies.expect_value(length);
        let forged = self.begin_value(&reply, length, &line);
        if let Some(current) = &mut self.current {
            current.last = fit == Fit::Last;
        }
        self.give(forged.unwrap_or_else(|| line.clone()), stamp);
        // Nothing of it is to come.
        self.value_bytes(Bytes::new(), stamp);
        Ok(())
    }

    /// Decides what happens to a reply, at its first line.
    fn begin_reply(&mut self, expected: Expected, reply: &Reply<'_>, stamp: Instant) -> Current {
        let (mut until, mut pace, mut sink, mut append) = (Until::Now, None, Sink::Out, Bytes::new());
        if let From::FaultAfterServer(instead) = &expected.from {
            sink = Sink::Replaced(instead.clone());
        }
        let plan = self.plan.as_ref().filter(|_| expected.chosen && !self.leaving);
        if let Some(Plan { act: Act::Reply(act), selector }) = plan
            && (expected.size.is_some() || selector.has_size(reply.value))
        {
            // What it changes is touched where it changes it.
            match act {
                ReplyAct::Hold(hold) => until = hold_until(*hold, stamp, &mut self.rng),
                ReplyAct::Pace(with) => pace = Some(*with),
                ReplyAct::Replace(bytes) => {
                    sink = Sink::Replaced(Instead { bytes: bytes.clone(), then_close: false });
                }
                ReplyAct::Duplicate => sink = Sink::Twice(BytesMut::new()),
                ReplyAct::Swap if self.overtaken.is_none() && self.due.has_certain() => {
                    sink = Sink::Overtaken(BytesMut::new());
                }
                ReplyAct::Swap => {}
                ReplyAct::Append(bytes) => append = bytes.clone(),
            }
        }
        Current { expected, until, pace, sink, append, last: false, value: None }
    }

    /// Decides what happens to an item with a value; gives its line if it becomes another.
    fn begin_value(&mut self, reply: &Reply<'_>, length: u64, line: &Bytes) -> Option<Bytes> {
        let current = self.current.as_mut()?;
        let plan = self.plan.as_ref().filter(|_| current.expected.chosen && !self.leaving)?;
        let Act::Value(act) = &plan.act else { return None };
        // The items of one reply are chosen one by one, as far as each tells its key.
        let key_fits = reply.key().is_none_or(|key| plan.selector.has_prefix(key));
        if !key_fits || !plan.selector.has_size(Some(length)) {
            return None;
        }
        let (mut forged, mut on_value) = (None, None);
        match *act {
            ValueAct::Pace(pace) => on_value = Some(OnValue::Pace(pace)),
            ValueAct::Cut { after: 0 } => on_value = Some(OnValue::CloseAt(length / 2)),
            ValueAct::Cut { after } => on_value = Some(OnValue::CloseAt(after.min(length.saturating_sub(1)))),
            ValueAct::Length { longer, shorter } => {
                forged = reply.with_length(length.saturating_add(longer).saturating_sub(shorter));
            }
            ValueAct::Key => forged = reply.with_other_key(),
            ValueAct::Truncate { shorter } => {
                let left = length.saturating_sub(shorter);
                forged = reply.with_length(left);
                on_value = Some(OnValue::EndAt(left));
            }
            ValueAct::Corrupt if length > 0 => {
                let (at, bit) = (self.rng.random_range(0..length), 1 << self.rng.random_range(0..8));
                on_value = Some(OnValue::FlipAt { at, bit });
            }
            ValueAct::Corrupt => {}
        }
        self.touched |= forged.as_ref().is_some_and(|forged| forged != line);
        current.value = on_value.map(|act| Value { passed: 0, act });
        forged
    }

    fn value_bytes(&mut self, mut bytes: Bytes, stamp: Instant) {
        let Some((current, value)) =
            self.current.as_mut().and_then(|current| current.value.take().map(|value| (current, value)))
        else {
            return self.give(bytes, stamp);
        };
        let begin = value.passed;
        let end = begin + bytes.len() as u64;
        // Where in these bytes that place of the value is.
        let here = |at: u64| usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX);
        let (mut closes, mut paced) = (false, None);
        match value.act {
            OnValue::Pace(pace) => paced = Some(pace),
            OnValue::CloseAt(at) if end >= at => {
                bytes.truncate(here(at));
                closes = true;
            }
            OnValue::EndAt(at) => {
                self.touched |= here(at) < bytes.len();
                bytes.truncate(here(at));
            }
            OnValue::FlipAt { at, bit } if (begin..end).contains(&at) => {
                let mut changed = BytesMut::from(&bytes[..]);
                changed[here(at)] ^= bit;
                bytes = changed.freeze();
                self.touched = true;
            }
            OnValue::CloseAt(_) | OnValue::FlipAt { .. } => {}
        }
        let line_pace = std::mem::replace(&mut current.pace, paced);
        current.value = Some(Value { passed: end, ..value });
        self.give(bytes, stamp);
        if let Some(current) = &mut self.current {
            current.pace = line_pace;
        }
        if closes {
            self.close();
        }
    }

    /// Bytes of the reply in hand.
    fn give(&mut self, bytes: Bytes, stamp: Instant) {
        let Some(current) = &mut self.current else { return self.pass(Stream::Downstream, bytes, stamp) };
        let gathered = match &mut current.sink {
            Sink::Out => None,
            Sink::Replaced(_) => {
                self.touched = true;
                return;
            }
            Sink::Twice(gathered) | Sink::Overtaken(gathered) => {
                gathered.extend_from_slice(&bytes);
                Some(gathered.len())
            }
        };
        if !matches!(current.sink, Sink::Overtaken(_)) {
            self.out[Stream::Downstream as usize].push(bytes, stamp, current.until, current.pace);
        }
        if gathered.is_some_and(|length| length > GATHERED_MAX) {
            self.stop_gathering(stamp);
        }
    }

    /// What is gathered leaves in its own place; nothing is sent twice or later.
    pub(super) fn stop_gathering(&mut self, stamp: Instant) {
        if let Some(current) = &mut self.current
            && matches!(current.sink, Sink::Twice(_) | Sink::Overtaken(_))
            && let Sink::Overtaken(gathered) = std::mem::replace(&mut current.sink, Sink::Out)
        {
            self.pass(Stream::Downstream, gathered.freeze(), stamp);
        } else if self.current.is_none()
            && let Some(overtaken) = self.overtaken.take()
        {
            self.pass(Stream::Downstream, overtaken.freeze(), stamp);
        }
    }

    fn end_reply(&mut self, stamp: Instant) {
        let Some(current) = self.current.take() else { return };
        let down = &mut self.out[Stream::Downstream as usize];
        let mut closes = false;
        match current.sink {
            Sink::Out => {}
            Sink::Replaced(instead) => {
                down.pass(instead.bytes, stamp);
                closes = instead.then_close;
            }
            Sink::Twice(again) => {
                self.touched = true;
                down.pass(again.freeze(), stamp);
            }
            Sink::Overtaken(gathered) => {
                self.overtaken = Some(gathered);
                return;
            }
        }
        self.touched |= !current.append.is_empty();
        down.push(current.append, stamp, current.until, None);
        if let Some(overtaken) = self.overtaken.take() {
            self.touched = true;
            down.pass(overtaken.freeze(), stamp);
        }
        if closes {
            self.close();
        } else {
            self.say_own(stamp);
        }
    }

    /// Says what the fault owes, as far as it is its turn.
    pub(super) fn say_own(&mut self, stamp: Instant) {
        while self.current.is_none()
            && !self.cut
            && let Some(instead) = self.due.turn_of_fault()
        {
            self.touched = true;
            self.pass(Stream::Downstream, instead.bytes, stamp);
            if instead.then_close {
                self.close();
            }
        }
    }
}
