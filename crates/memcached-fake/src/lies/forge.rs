//! Rewrites honest replies.

use bytes::{BufMut, Bytes, BytesMut};

use super::Act;

/// A line, and the value behind it if there is one.
struct Part {
    words: Vec<Bytes>,
    value: Option<Bytes>,
}

impl Part {
    /// Which word of the line claims the value's length.
    fn length_at(words: &[Bytes]) -> Option<usize> {
        match &words.first()?[..] {
            b"VA" => Some(1),
            b"VALUE" => Some(3),
            _ => None,
        }
    }

    /// The echoes of a meta reply that begin so.
    fn echoes(&mut self, flag: u8) -> impl Iterator<Item = &mut Bytes> {
        let meta = self.is_meta();
        self.words.iter_mut().skip(1).filter(move |word| meta && word.first() == Some(&flag))
    }

    fn is_meta(&self) -> bool {
        let codes: [&[u8]; 6] = [b"HD", b"VA", b"EN", b"NF", b"NS", b"EX"];
        self.words.first().is_some_and(|word| codes.contains(&&word[..]))
    }

    fn claim(&mut self, length: impl Fn(u64) -> u64) {
        if let Some(value) = &self.value
            && let Some(word) = Part::length_at(&self.words).and_then(|at| self.words.get_mut(at))
        {
            *word = length(value.len() as u64).to_string().into();
        }
    }

    fn edit(&mut self, act: &Act) {
        match act {
            Act::WrongKey => {
                self.echoes(b'k').for_each(|word| *word = other_end(word));
                if self.words.first().is_some_and(|word| &word[..] == b"VALUE")
                    && let Some(key) = self.words.get_mut(1)
                {
                    *key = other_end(key);
                }
            }
            Act::WrongOpaque => self.echoes(b'O').for_each(|word| *word = other_opaque(word)),
            Act::BareEcho if self.is_meta() => {
                self.words.retain(|word| !matches!(word.first(), Some(b'k' | b'O')));
            }
            Act::WrongLength(delta) => self.claim(|length| length.saturating_add_signed(*delta)),
            Act::HugeLength(length) => self.claim(|_| *length),
            _ => {}
        }
    }
}

/// The same with another last byte.
fn other_end(word: &Bytes) -> Bytes {
    let mut other = word.to_vec();
    if let Some(last) = other.last_mut() {
        *last = if *last == b'z' { b'y' } else { b'z' };
    }
    other.into()
}

/// `O` and the number's successor, or another last byte.
fn other_opaque(word: &Bytes) -> Bytes {
    let number = word.get(1..).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    number.map_or_else(|| other_end(word), |number| format!("O{}", number.wrapping_add(1)).into())
}

/// Cuts an honest reply, which is always whole, into parts.
fn parts(mut reply: Bytes) -> Vec<Part> {
    let mut parts = Vec::new();
    while !reply.is_empty() {
        let end = line_end(&reply);
        let line = reply.split_to(end);
        let line = line.strip_suffix(b"\r\n").map_or(line.clone(), |line_only| line.slice_ref(line_only));
        let words: Vec<Bytes> = line.split(|byte| *byte == b' ').map(|word| line.slice_ref(word)).collect();
        let length = Part::length_at(&words)
            .and_then(|at| std::str::from_utf8(words.get(at)?).ok()?.parse::<usize>().ok());
        let value = length.map(|length| {
            let value = reply.split_to(length.min(reply.len()));
            let _ = reply.split_to(reply.len().min(2));
            value
        });
        parts.push(Part { words, value });
    }
    parts
}

/// Length of the first line with its end.
fn line_end(reply: &[u8]) -> usize {
    reply.windows(2).position(|bytes| bytes == b"\r\n").map_or(reply.len(), |at| at + 2)
}

/// The reply with every act that concerns its bytes.
pub(crate) fn forge(reply: Bytes, acts: &[Act]) -> Bytes {
    let instead = acts.iter().find_map(|act| if let Act::Reply(bytes) = act { Some(bytes) } else { None });
    let mut out = BytesMut::new();
    match instead {
        Some(bytes) => out.put_slice(bytes),
        None => {
            for mut part in parts(reply) {
                acts.iter().for_each(|act| part.edit(act));
                out.put_slice(&part.words.join(&b' '));
                out.put_slice(b"\r\n");
                if let Some(value) = &part.value {
                    out.put_slice(value);
                    out.put_slice(b"\r\n");
                }
            }
        }
    }
    if acts.contains(&Act::DuplicateReply) {
        let once = out.clone();
        out.put_slice(&once);
    }
    for act in acts {
        if let Act::TrailingBytes(bytes) = act {
            out.put_slice(bytes);
        }
    }
    out.freeze()
}

/// Where to cut the reply to end inside its first value, or in its middle.
pub(crate) fn inside_value(reply: &Bytes) -> usize {
    let mut start = 0;
    for part in parts(reply.clone()) {
        let line = part.words.iter().map(|word| word.len() + 1).sum::<usize>() + 1;
        if let Some(value) = part.value {
            return (start + line + value.len() / 2).min(reply.len());
        }
        start += line;
    }
    reply.len() / 2
}
