//! Faults that change replies.

use bytes::Bytes;
use toxiproxy::toxic::{Param, number};

use super::{Fault, Harm, fault, line_text, text_or};
use crate::act::{Act, ReplyAct, ValueAct};
use crate::command::Commands;

const NEW_ONES: &str = "a connection that met it is out of step; new ones work";
const NEXT: &str = "the next reply is the server's again; one that was begun ends as it began";

pub(super) const CORRUPT_VALUE: Fault = fault! {
    "mc_corrupt_value",
    |_| Ok(Act::Value(ValueAct::Corrupt)),
    on: Commands::READ,
    own: [],
    summary: "one bit of a value is another; empty values are spared",
    proves: "values are verified before they are believed",
    harm: Harm::Data,
    removal: NEXT,
};

pub(super) const TRUNCATE_VALUE: Fault = fault! {
    "mc_truncate_value",
    |attributes| match number(attributes, "shorter") {
        0 => Err("shorter must be at least 1".to_owned()),
        shorter => Ok(Act::Value(ValueAct::Truncate { shorter })),
    },
    on: Commands::READ,
    own: [(Param::number_or("shorter", 1), "bytes that the end of a value loses; a shorter value loses all")],
    summary: "a value lacks its end, and its line says so: the reply is well formed",
    proves: "values are verified before they are believed, where framing cannot help",
    harm: Harm::Data,
    removal: NEXT,
};

pub(super) const WRONG_KEY: Fault = fault! {
    "mc_wrong_key",
    |_| Ok(Act::Value(ValueAct::Key)),
    on: Commands::READ,
    own: [],
    summary: "the item names another key, its last byte changed; a meta reply only if the key is echoed",
    proves: "a reply is matched with its request before it is believed",
    harm: Harm::Data,
    removal: NEXT,
};

pub(super) const CUT_VALUE: Fault = fault! {
    "mc_cut_value",
    |attributes| Ok(Act::Value(ValueAct::Cut { after: number(attributes, "after") })),
    on: Commands::READ,
    own: [(Param::number("after"), "bytes of the value that still come; 0: half of it")],
    summary: "the connection closes inside a value",
    proves: "half a value is no value",
    harm: Harm::Connection,
    removal: "new connections work",
};

pub(super) const WRONG_LENGTH: Fault = fault! {
    "mc_wrong_length",
    |attributes| match (number(attributes, "longer"), number(attributes, "shorter")) {
        (0, 0) => Err("longer and shorter are 0: it would do nothing".to_owned()),
        (1.., 1..) => Err("longer and shorter are both set; set one to 0".to_owned()),
        (longer, shorter) => Ok(Act::Value(ValueAct::Length { longer, shorter })),
    },
    on: Commands::READ,
    own: [
        (Param::number_or("longer", 1), "bytes that the line claims more than follow"),
        (Param::number("shorter"), "bytes that it claims less; set `longer` to 0 for it"),
    ],
    summary: "the line of an item claims another length than its value has",
    proves: "a value that does not end where it says closes the connection; a huge length is not allocated",
    harm: Harm::Connection,
    removal: NEW_ONES,
};

pub(super) const DUPLICATE_REPLY: Fault = fault! {
    "mc_duplicate_reply",
    |_| Ok(Act::Reply(ReplyAct::Duplicate)),
    on: Commands::ANSWERED,
    own: [],
    summary: "the reply comes twice (up to 64 KiB; larger ones once)",
    proves: "bytes that nobody asked for close the connection before they answer the next op",
    harm: Harm::Connection,
    removal: NEW_ONES,
};

pub(super) const SWAP_REPLIES: Fault = fault! {
    "mc_swap_replies",
    |_| Ok(Act::Reply(ReplyAct::Swap)),
    on: Commands::ANSWERED,
    own: [],
    summary: "the reply comes behind the next one, where another request of the connection already waits (up to 64 KiB; larger \
              ones in order)",
    proves: "pipelined replies are matched by key or opaque, not by order alone",
    harm: Harm::Connection,
    removal: NEW_ONES,
};

pub(super) const DROP_REPLY: Fault = fault! {
    "mc_drop_reply",
    |_| Ok(Act::Reply(ReplyAct::Replace(Bytes::new()))),
    on: Commands::ANSWERED,
    own: [],
    summary: "the op is carried out, its reply never comes, the next ones do: all later replies are off by one",
    proves: "a connection with an op that timed out is closed, not used on",
    harm: Harm::Connection,
    removal: NEW_ONES,
};

pub(super) const GARBAGE: Fault = fault! {
    "mc_garbage_after_reply",
    |attributes| match line_text(attributes, "text")? {
        none if none.is_empty() => Err("text is empty: it would do nothing".to_owned()),
        text => Ok(Act::Reply(ReplyAct::Append(format!("{text}\r\n").into()))),
    },
    on: Commands::ANSWERED,
    own: [(text_or("text", "VALUE stray 0 0"), "the line that follows")],
    summary: "a stray line follows the reply in the same segment",
    proves: "what is left in the buffer is seen before the connection is used again",
    harm: Harm::Connection,
    removal: NEW_ONES,
};
