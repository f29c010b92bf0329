//! The meta commands, with the flags that clients of this project use: k, O, v, f, t, s, q, c, T, N, R, J, D, M, C, I.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, KEY_MAX};
use crate::store::{Counted, Item, Mode, Store, Stored};
use crate::text::{line, number};

struct Request<'a> {
    key: &'a Bytes,
    flags: &'a [Bytes],
}

impl Request<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags.iter().any(|word| word.first() == Some(&flag))
    }

    fn value<T: std::str::FromStr>(&self, flag: u8) -> Option<T> {
        let word = self.flags.iter().find(|word| word.first() == Some(&flag))?;
        number(Some(&word.slice(1..)))
    }

    /// A status line with the echoes that were asked for, in the order asked.
    fn reply(&self, out: &mut BytesMut, code: &str, shown: Option<&Item>) {
        out.put_slice(code.as_bytes());
        for flag in self.flags {
            match (flag.first(), shown) {
                (Some(b'k'), _) => {
                    out.put_slice(b" k");
                    out.put_slice(self.key);
                }
                (Some(b'O'), _) => {
                    out.put_slice(b" ");
                    out.put_slice(flag);
                }
                (Some(b'f'), Some(item)) => out.put_slice(format!(" f{}", item.flags).as_bytes()),
                (Some(b's'), Some(item)) => out.put_slice(format!(" s{}", item.value.len()).as_bytes()),
                (Some(b'c'), Some(item)) => out.put_slice(format!(" c{}", item.cas).as_bytes()),
                _ => {}
            }
        }
        out.put_slice(b"\r\n");
    }
}

/// Answers one command; `None`: not a meta command.
pub(crate) fn answer(store: &mut Store, command: &Command, out: &mut BytesMut) -> Option<()> {
    let name = command.words.first()?;
    if &name[..] == b"mn" {
        line(out, "MN");
        return Some(());
    }
    if ![&b"mg"[..], b"ms", b"md", b"ma"].contains(&&name[..]) {
        return None;
    }
    let Some(key) = command.words.get(1).filter(|key| key.len() <= KEY_MAX) else {
        line(out, "CLIENT_ERROR bad command line format");
        return Some(());
    };
    let flags_at = if &name[..] == b"ms" { 3 } else { 2 };
    let request = Request { key, flags: command.words.get(flags_at..).unwrap_or_default() };
    match &name[..] {
        b"mg" => get(store, &request, out),
        b"ms" => set(store, &request, command.data.clone().unwrap_or_default(), out),
        b"md" => {
            let found = if request.has(b'I') {
                store.invalidate(key, request.value(b'T'))
            } else {
                store.delete(key)
            };
            let code = if found { "HD" } else { "NF" };
            if !(request.has(b'q') && code == "HD") {
                request.reply(out, code, None);
            }
        }
        _ => arithmetic(store, &request, out),
    }
    Some(())
}

fn get(store: &mut Store, request: &Request<'_>, out: &mut BytesMut) {
    if let Some(exptime) = request.value(b'T') {
        store.touch(request.key, exptime);
    }
    let won = store.claim(request.key, request.value(b'R'), request.value(b'N'));
    match store.get(request.key) {
        None if request.has(b'q') => {}
        None => request.reply(out, "EN", None),
        Some(item) => {
            let mut line = BytesMut::new();
            match request.has(b'v') {
                true => request.reply(&mut line, &format!("VA {}", item.value.len()), Some(item)),
                false => request.reply(&mut line, "HD", Some(item)),
            }
            line.truncate(line.len() - 2);
            out.put_slice(&line);
            for (mark, holds) in [(b" Z", item.taken && !won), (b" X", item.stale), (b" W", won)] {
                out.put_slice(if holds { mark } else { b"" });
            }
            out.put_slice(b"\r\n");
            if request.has(b'v') {
                out.put_slice(&item.value);
                out.put_slice(b"\r\n");
            }
        }
    }
}

fn set(store: &mut Store, request: &Request<'_>, data: Bytes, out: &mut BytesMut) {
    let mode = request.flags.iter().find(|word| word.first() == Some(&b'M')).and_then(|word| word.get(1));
    let mode = match mode.map(u8::to_ascii_uppercase) {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'R') => Mode::Replace,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(_) => return line(out, "CLIENT_ERROR invalid mode for ms"),
    };
    if let Some(token) = request.value::<u64>(b'C') {
        match store.get(request.key).map(|item| item.cas) {
            None => return request.reply(out, "NF", None),
            Some(cas) if cas != token => return request.reply(out, "EX", None),
            Some(_) => {}
        }
    }
    let (flags, exptime) = (request.value(b'F').unwrap_or(0), request.value(b'T').unwrap_or(0));
    match store.store(request.key, data, flags, exptime, mode) {
        Stored::Yes if request.has(b'q') => {}
        Stored::Yes => request.reply(out, "HD", None),
        Stored::No => request.reply(out, "NS", None),
        Stored::OutOfMemory => line(out, "SERVER_ERROR out of memory storing object"),
    }
}

fn arithmetic(store: &mut Store, request: &Request<'_>, out: &mut BytesMut) {
    let up = !request.flags.iter().any(|word| matches!(&word[..], b"MD" | b"Md" | b"M-"));
    let delta = request.value(b'D').unwrap_or(1);
    let mut counted = store.count(request.key, delta, up);
    if counted == Counted::Missing
        && let Some(exptime) = request.value(b'N')
    {
        let initial: u64 = request.value(b'J').unwrap_or(0);
        if store.store(request.key, initial.to_string().into(), 0, exptime, Mode::Set) == Stored::Yes {
            counted = Counted::Value(initial);
        }
    }
    match counted {
        Counted::Value(value) if request.has(b'v') => {
            let text = value.to_string();
            request.reply(out, &format!("VA {}", text.len()), None);
            line(out, &text);
        }
        Counted::Value(_) => request.reply(out, "HD", None),
        Counted::Missing => request.reply(out, "NF", None),
        Counted::NotANumber => line(out, "CLIENT_ERROR cannot increment or decrement non-numeric value"),
    }
}
