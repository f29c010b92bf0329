//! Faults that hold bytes back and change none.

use std::time::Duration;

use toxiproxy::toxic::{Param, millis, number, text};
use toxiproxy::wire::Attributes;

use super::{Fault, Harm, fault, text_or};
use crate::act::{Act, Cut, Hold, Pace, ReplyAct, RequestAct, ValueAct};
use crate::command::Commands;

const LATENCY: Param = Param::number("latency");
const JITTER: Param = Param::number("jitter");
const AROUND: &str = "milliseconds, uniform around it; the sum is never below 0";

fn latency(attributes: &Attributes) -> Result<Hold, String> {
    let (latency, jitter) = (millis(attributes, "latency"), millis(attributes, "jitter"));
    if latency.is_zero() && jitter.is_zero() {
        return Err("latency and jitter are 0: it would do nothing".to_owned());
    }
    Ok(Hold::For { latency, jitter })
}

pub(super) const DELAY: Fault = fault! {
    "mc_delay",
    |attributes| latency(attributes).map(|hold| Act::Reply(ReplyAct::Hold(hold))),
    on: Commands::ANSWERED,
    own: [(LATENCY, "milliseconds"), (JITTER, AROUND)],
    summary: "the reply leaves later, and with it all behind it; the op was carried out in time",
    proves: "a slow kind of op does not take the fast ones down; a write that timed out may have happened",
    harm: Harm::None,
    removal: "held replies leave at once, in order",
};

pub(super) const DELAY_REQUEST: Fault = fault! {
    "mc_delay_request",
    |attributes| latency(attributes).map(|hold| Act::Request(RequestAct::Hold(hold))),
    on: Commands::ANSWERED,
    own: [(LATENCY, "milliseconds"), (JITTER, AROUND)],
    summary: "the request reaches the server later, and with it all behind it: a write happens late, perhaps after a newer \
              one on another connection",
    proves: "an old write that was given up does not overwrite a newer one unnoticed (CAS, leases)",
    harm: Harm::None,
    removal: "held requests go on at once, in order",
};

pub(super) const STALL: Fault = fault! {
    "mc_stall",
    |_| Ok(Act::Request(RequestAct::Hold(Hold::Forever))),
    on: Commands::ANSWERED,
    own: [],
    summary: "the request waits until the toxic is removed, and all behind it on the connection, as behind a stuck worker",
    proves: "every op has a deadline; a connection with an unanswered request is not used again",
    harm: Harm::None,
    removal: "held requests go on, in order, and are carried out: their late replies come",
};

pub(super) const HOLD_REPLY: Fault = fault! {
    "mc_hold_reply",
    |_| Ok(Act::Reply(ReplyAct::Hold(Hold::Forever))),
    on: Commands::ANSWERED,
    own: [],
    summary: "the op is carried out, its reply waits until the toxic is removed, and all behind it; with `min_size` only \
              large values hang",
    proves: "late replies never reach another op; small ops that work do not hide large ones that hang",
    harm: Harm::None,
    removal: "held replies leave at once, in order",
};

pub(super) const SLOW_VALUE: Fault = fault! {
    "mc_slow_value",
    |attributes| match number(attributes, "rate") {
        0 => Err("rate must be at least 1".to_owned()),
        rate => {
            // A hundred pieces a second, of a byte at least.
            let piece = (rate / 100).max(1);
            let every = Duration::from_nanos(piece.saturating_mul(1_000_000_000) / rate);
            let cut = Cut::Bytes(usize::try_from(piece).unwrap_or(usize::MAX));
            Ok(Act::Value(ValueAct::Pace(Pace { cut, every })))
        }
    },
    on: Commands::READ,
    own: [(Param::number_or("rate", 1024), "bytes of a value per second")],
    summary: "the bytes of values trickle; lines come at once",
    proves: "the deadline is one for the whole reply, not one for each read",
    harm: Harm::None,
    removal: "what is held leaves at once",
};

pub(super) const SPLIT_REPLY: Fault = fault! {
    "mc_split_reply",
    |attributes| {
        let cut = match (text(attributes, "where"), number(attributes, "size")) {
            ("bytes", size @ 1..) => Cut::Bytes(usize::try_from(size).unwrap_or(usize::MAX)),
            ("bytes", 0) => return Err("size must be at least 1".to_owned()),
            ("crlf", _) => Cut::InsideLineEnds,
            (other, _) => return Err(format!("where is {other:?}; it must be \"bytes\" or \"crlf\"")),
        };
        Ok(Act::Reply(ReplyAct::Pace(Pace { cut, every: millis(attributes, "delay") })))
    },
    on: Commands::ANSWERED,
    own: [
        (text_or("where", "bytes"), "`bytes`: after every `size` bytes; `crlf`: inside each line end"),
        (Param::number_or("size", 1), "bytes of a piece"),
        (Param::number_or("delay", 1), "milliseconds between two pieces"),
    ],
    summary: "the reply comes in pieces, each in a segment of its own",
    proves: "the parser needs no reply, line or line end in one read",
    harm: Harm::None,
    removal: "what is held leaves at once",
};
