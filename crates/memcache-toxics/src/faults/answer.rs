//! Faults that answer in the server's place.

use bytes::Bytes;
use toxiproxy::wire::Attributes;

use super::{Fault, Harm, fault, line_text, text_or};
use crate::act::{Act, Answer, ReplyAct, RequestAct};
use crate::command::Commands;

const BETWEEN: &str = "answers that are owed still come, in order; then the server answers again";

fn server_error(attributes: &Attributes) -> Result<Bytes, String> {
    Ok(format!("SERVER_ERROR {}\r\n", line_text(attributes, "text")?).into())
}

pub(super) const HEALTH_ONLY: Fault = fault! {
    "mc_health_only",
    |attributes| {
        let version = line_text(attributes, "version")?;
        Ok(Act::Request(RequestAct::HoldButAnswer(Answer::Health(format!("VERSION {version}\r\n").into()))))
    },
    on: Commands::DATA,
    own: [(text_or("version", "1.6.0-mc_health_only"), "what `version` is answered with")],
    summary: "`version` and `mn` are answered by the toxic at once, the chosen ops wait until it is removed; behind a waiting op \
              of the same connection a probe waits too",
    proves: "a server counts as healthy by its answers to data, not to a probe",
    harm: Harm::Data,
    removal: "held requests go on, in order, and are carried out",
};

pub(super) const SERVER_ERROR: Fault = fault! {
    "mc_server_error",
    |attributes| Ok(Act::Request(RequestAct::Answer(Answer::Line(server_error(attributes)?)))),
    on: Commands::ANSWERED,
    own: [(text_or("text", "out of memory"), "behind `SERVER_ERROR`")],
    summary: "answered with `SERVER_ERROR`; the request never reaches the server",
    proves: "the server's own error is a failure of one op, the connection is used on",
    harm: Harm::Data,
    removal: BETWEEN,
};

pub(super) const ERROR_REPLY: Fault = fault! {
    "mc_error_reply",
    |attributes| Ok(Act::Reply(ReplyAct::Replace(server_error(attributes)?))),
    on: Commands::ANSWERED,
    own: [(text_or("text", "out of memory storing object"), "behind `SERVER_ERROR`")],
    summary: "the op is carried out, then its reply is replaced by `SERVER_ERROR`",
    proves: "a write that ended in an error may have happened: it is not counted as undone, a counter is not repeated",
    harm: Harm::Data,
    removal: BETWEEN,
};

pub(super) const MISS: Fault = fault! {
    "mc_miss",
    |_| Ok(Act::Request(RequestAct::Answer(Answer::Miss))),
    on: Commands::READ,
    own: [],
    summary: "reads are answered as misses (`END`, `EN`); the server does not see them. A read of several keys misses all",
    proves: "the origin survives a cold cache; a miss is no failure and trips nothing",
    harm: Harm::Data,
    removal: BETWEEN,
};

pub(super) const LOST_WRITE: Fault = fault! {
    "mc_lost_write",
    |_| Ok(Act::Request(RequestAct::Answer(Answer::Done))),
    on: Commands::ACKNOWLEDGED,
    own: [],
    summary: "stores, deletes and touches are acknowledged and never reach the server, also those with `noreply` or `q`",
    proves: "the check of what was read finds lost writes and invalidations; nothing else would",
    harm: Harm::Data,
    removal: BETWEEN,
};

pub(super) const BUSY: Fault = fault! {
    "mc_busy",
    |attributes| {
        let line = format!("{}\r\n", line_text(attributes, "text")?);
        Ok(Act::Request(RequestAct::AnswerAndClose(line.into())))
    },
    on: Commands::ANSWERED,
    own: [(text_or("text", "ERROR Too many open connections"), "the line")],
    summary: "answered with an error line, then closed, as by a server that is full",
    proves: "a refused connection is not dialled again at once by everybody; the error has its own class",
    harm: Harm::Connection,
    removal: "new connections work",
};

pub(super) const POISON: Fault = fault! {
    "mc_poison",
    |_| Ok(Act::Request(RequestAct::AnswerAndClose(Bytes::new()))),
    on: Commands::ANSWERED,
    own: [],
    summary: "the connection closes when the op comes, as of a server that dies of it",
    proves: "an op that kills servers is not carried from one to the next by retries; other ops of the connection are \
             repeated only where that is safe",
    harm: Harm::Connection,
    removal: "new connections work",
};
