//! Upstream: chooses requests, holds or swallows them, and notes which replies are due.

use bytes::Bytes;
use tokio::time::Instant;
use toxiproxy::wire::Stream;

use super::Connection;
use super::expected::{Expected, From, Instead};
use super::queue::Until;
use crate::act::{Act, Answer, Hold, RequestAct};
use crate::command::{Command, Commands};
use crate::parse::request::{Answered, Request};
use crate::parse::{Frame, Why};

/// What goes in the place of a swallowed request, where its answer has to wait for the server.
const PROBE: Bytes = Bytes::from_static(b"mn\r\n");

impl Connection {
    /// Takes all of `input`. After an error the rest is in it, and what the framer keeps.
    pub(super) fn follow_requests(&mut self, input: &mut Bytes, stamp: Instant) -> Result<(), Why> {
        while let Some(frame) = self.requests.next(input)? {
            match frame {
                Frame::Line(line) => self.request_line(line, stamp)?,
                Frame::Value(bytes) => self.send(bytes, stamp, Until::Now),
                Frame::End(bytes) => {
                    self.send(bytes, stamp, Until::Now);
                    self.end_swallowed(stamp)?;
                }
            }
            if self.cut {
                *input = Bytes::new();
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: Bytes, stamp: Instant, until: Until) {
        if self.swallowed.is_some() {
            self.touched = true;
        } else {
            self.out[Stream::Upstream as usize].push(bytes, stamp, until, None);
        }
    }

    fn request_line(&mut self, line: Bytes, stamp: Instant) -> Result<(), Why> {
        let Some(request) = Request::parse(&line) else {
            self.requests.put_back(&line);
            return Err(Why::Unknown);
        };
        self.tally.requests += 1;
        let mut expected = Expected {
            command: request.command,
            quiet: request.answered == Answered::Maybe,
            echo: request.echo(),
            chosen: false,
            size: request.value,
            from: From::Server,
        };
        let mut until = Until::Now;
        if let Some(plan) = self.plan.as_ref().filter(|_| !self.leaving) {
            let chosen = plan.selector.chooses(&request, &mut self.rng);
            match &plan.act {
                Act::Request(RequestAct::HoldButAnswer(answer))
                    if !chosen
                        && Commands::HEALTH.has(request.command)
                        && !self.out[Stream::Upstream as usize].is_blocked(stamp) =>
                {
                    self.swallowed = Some(answer.to(&request));
                }
                _ if !chosen => {}
                Act::Request(RequestAct::Hold(hold)) => until = hold_until(*hold, stamp, &mut self.rng),
                Act::Request(RequestAct::HoldButAnswer(_)) => until = Until::Released,
                Act::Request(RequestAct::Answer(answer)) => self.swallowed = Some(answer.to(&request)),
                Act::Request(RequestAct::AnswerAndClose(bytes)) => {
                    self.swallowed = Some(Some(Instead { bytes: bytes.clone(), then_close: true }));
                }
                Act::Reply(_) | Act::Value(_) => expected.chosen = true,
            }
            self.tally.chosen += u64::from(chosen);
        }
        let (value, answered) = (request.value, request.answered);
        if self.swallowed.is_none()
            && answered != Answered::Never
            && let Err(why) = self.due.push(expected)
        {
            self.requests.put_back(&line);
            return Err(why);
        }
        if let Some(length) = value {
            self.requests.expect_value(length);
        }
        self.send(line, stamp, until);
        if value.is_none() { self.end_swallowed(stamp) } else { Ok(()) }
    }

    /// The request has come whole: if it was swallowed, its answer is due.
    fn end_swallowed(&mut self, stamp: Instant) -> Result<(), Why> {
        let Some(Some(instead)) = self.swallowed.take() else { return Ok(()) };
        // Before an answer of the fault's own come all that are due, also those that it may not know of.
        let after_server = self.due.is_in_doubt() || !self.sure;
        if after_server {
            self.out[Stream::Upstream as usize].pass(PROBE, stamp);
        }
        let from = if after_server { From::FaultAfterServer(instead) } else { From::Fault(instead) };
        let command = Command::Mn;
        let owed = Expected { command, quiet: false, echo: Bytes::new(), chosen: false, size: None, from };
        // What cannot be noted can never be answered.
        self.due.push(owed).inspect_err(|_| self.cut = true)?;
        self.say_own(stamp);
        Ok(())
    }
}

/// Until when something that is held from `stamp` on stays.
pub(super) fn hold_until(hold: Hold, stamp: Instant, rng: &mut rand_chacha::ChaCha8Rng) -> Until {
    hold.draw(rng).map_or(Until::Released, |time| Until::Then(stamp + time))
}

impl Answer {
    /// What is said to a request; `None`: nothing, it asked for silence.
    fn to(&self, request: &Request<'_>) -> Option<Instead> {
        if request.answered == Answered::Never {
            return None;
        }
        let quiet = request.answered == Answered::Maybe;
        let meta = |code: &[u8]| (!quiet).then(|| Bytes::from([code, &request.echo()[..], b"\r\n"].concat()));
        let bytes = match self {
            Answer::Line(line) => Some(line.clone()),
            Answer::Miss if request.command == Command::Mg => meta(b"EN"),
            Answer::Miss => Some(Bytes::from_static(b"END\r\n")),
            Answer::Done => match request.command {
                Command::Ms | Command::Md => meta(b"HD"),
                Command::Delete => Some(Bytes::from_static(b"DELETED\r\n")),
                Command::Touch => Some(Bytes::from_static(b"TOUCHED\r\n")),
                _ => Some(Bytes::from_static(b"STORED\r\n")),
            },
            Answer::Health(_) if request.command == Command::Mn => Some(Bytes::from_static(b"MN\r\n")),
            Answer::Health(version) => Some(version.clone()),
        };
        bytes.map(|bytes| Instead { bytes, then_close: false })
    }
}
