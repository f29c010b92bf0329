//! The classic text commands.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, KEY_MAX};
use crate::store::{Counted, Mode, Store, Stored};

/// Answers one command; `None`: not a text command.
pub(crate) fn answer(store: &mut Store, command: &Command, out: &mut BytesMut) -> Option<()> {
    let words = &command.words;
    let quiet = words.last().is_some_and(|word| &word[..] == b"noreply");
    let mut reply = BytesMut::new();
    match &words.first()?[..] {
        b"get" | b"gets" => {
            get(store, &words[1..], out);
            return Some(());
        }
        b"set" => line(&mut reply, stored(store, command, Mode::Set)),
        b"add" => line(&mut reply, stored(store, command, Mode::Add)),
        b"replace" => line(&mut reply, stored(store, command, Mode::Replace)),
        b"append" => line(&mut reply, stored(store, command, Mode::Append)),
        b"prepend" => line(&mut reply, stored(store, command, Mode::Prepend)),
        b"delete" => {
            let found = words.get(1).is_some_and(|key| store.delete(key));
            line(&mut reply, if found { "DELETED" } else { "NOT_FOUND" });
        }
        b"touch" => {
            let found = words.get(1).is_some_and(|key| store.touch(key, number(words.get(2)).unwrap_or(0)));
            line(&mut reply, if found { "TOUCHED" } else { "NOT_FOUND" });
        }
        b"incr" => count(store, words, true, &mut reply),
        b"decr" => count(store, words, false, &mut reply),
        b"flush_all" => {
            store.clear();
            line(&mut reply, "OK");
        }
        b"verbosity" => line(&mut reply, "OK"),
        b"version" => line(&mut reply, concat!("VERSION fake-", env!("CARGO_PKG_VERSION"))),
        _ => return None,
    }
    if !quiet {
        out.put_slice(&reply);
    }
    Some(())
}

pub(crate) fn line(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_slice(b"\r\n");
}

pub(crate) fn number<T: std::str::FromStr>(word: Option<&Bytes>) -> Option<T> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

fn get(store: &mut Store, keys: &[Bytes], out: &mut BytesMut) {
    if keys.is_empty() || keys.iter().any(|key| key.len() > KEY_MAX) {
        return line(out, if keys.is_empty() { "ERROR" } else { "CLIENT_ERROR bad command line format" });
    }
    for key in keys {
        if let Some(item) = store.get(key) {
            out.put_slice(b"VALUE ");
            out.put_slice(key);
            line(out, &format!(" {} {}", item.flags, item.value.len()));
            out.put_slice(&item.value);
            out.put_slice(b"\r\n");
        }
    }
    line(out, "END");
}

fn stored(store: &mut Store, command: &Command, mode: Mode) -> &'static str {
    let words = &command.words;
    let (Some(key), Some(data)) = (words.get(1), &command.data) else { return "ERROR" };
    let (Some(flags), Some(exptime)) = (number(words.get(2)), number(words.get(3))) else {
        return "CLIENT_ERROR bad command line format";
    };
    if key.len() > KEY_MAX {
        return "CLIENT_ERROR bad command line format";
    }
    match store.store(key, data.clone(), flags, exptime, mode) {
        Stored::Yes => "STORED",
        Stored::No => "NOT_STORED",
        Stored::OutOfMemory => "SERVER_ERROR out of memory storing object",
    }
}

fn count(store: &mut Store, words: &[Bytes], up: bool, reply: &mut BytesMut) {
    let (Some(key), Some(delta)) = (words.get(1), number(words.get(2))) else {
        return line(reply, "CLIENT_ERROR invalid numeric delta argument");
    };
    match store.count(key, delta, up) {
        Counted::Value(value) => line(reply, &value.to_string()),
        Counted::Missing => line(reply, "NOT_FOUND"),
        Counted::NotANumber => line(reply, "CLIENT_ERROR cannot increment or decrement non-numeric value"),
    }
}
