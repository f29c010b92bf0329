//! What must hold for any bytes and any use of a fault, as a function of a fuzzer's input. The target in `fuzz/` calls it; the
//! test at the end replays the committed inputs. Not part of the API: only tests and fuzzers have this module.
//!
//! An input is read by lines, so that it can be written by hand: the first one chooses the fault by its name and gives
//! attributes (`mc_stall commands=get min_size=3`), a `+` at its beginning puts the toxic on a connection that is open
//! already. Each other line is a step, told by its first byte; in what is sent a backslash escapes `\r`, `\n` and itself:
//!
//! | Step | What happens |
//! |---|---|
//! | `>bytes` `<bytes` | the client, the server sends them |
//! | `}bytes` `{bytes` | the same, byte by byte |
//! | `*n bytes` `#n bytes` | the server, the client sends them up to 4096 times |
//! | `s` `r` | the client stops reading, reads again |
//! | `t n` | so many milliseconds pass |
//! | `u attributes` | an update |
//! | `-` | the toxic is removed |
//! | `e` `E` | the client, the server ends |

use std::time::Duration;

use toxiproxy::toxic::Joined;
use toxiproxy::wire::{Attribute, Attributes, Stream};

use crate::connection::wire::Wire;
use crate::faults::{FAULTS, Fault, Harm};

/// Steps of one input.
const STEPS_MAX: usize = 64;
/// Bytes that a fault may keep of one connection: what waits both ways when the source is no longer read, what one more
/// chunk can become (twice itself, or a short text behind each of its replies), lines and two gathered replies.
const KEPT_MAX: usize = 2 * (256 + 32) * 1024 + 32 * 1024 * 64 + 5 * 64 * 1024;

/// Follows an input.
pub fn fuzz(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let (open, first) = match first.split_first() {
        Some((b'+', rest)) => (true, rest),
        _ => (false, first),
    };
    let first = String::from_utf8_lossy(first);
    let (name, attributes) = first.split_once(' ').unwrap_or((&first, ""));
    let (fault, attributes) = (named(name), read(attributes));
    // Neither a refusal nor what is built from refused attributes may panic.
    let _ = fault.kind.check_all(&attributes);
    let joined = if open {
        Joined { bytes: [5, 5], tails: [*b"\r\n"; 2], last: Some(Stream::Downstream) }
    } else {
        Joined::default()
    };
    let mut run = Run { wire: Wire::new(fault, &attributes, &joined, 7), sent: [Vec::new(), Vec::new()] };
    for line in lines.take(STEPS_MAX) {
        run.step(line);
        assert!(run.wire.kept() <= KEPT_MAX, "{} keeps {} bytes", fault.kind.name, run.wire.kept());
        if fault.harm == Harm::None {
            run.is_prefix();
        }
    }
    run.wire.set_read(Stream::Downstream, true);
    run.wire.remove();
    if fault.harm == Harm::None {
        assert!(run.wire.gone, "{} stays though it owes nothing", fault.kind.name);
        assert_eq!(run.wire.out, run.sent, "{} changed bytes", fault.kind.name);
    }
    assert!(run.wire.wakes().is_none(), "{} waits for a time though it is removed", fault.kind.name);
}

fn named(name: &str) -> &'static Fault {
    let digest = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    FAULTS.iter().find(|fault| fault.kind.name == name).unwrap_or(&FAULTS[digest % FAULTS.len()])
}

fn read(words: &str) -> Attributes {
    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
    let value = |text: &str| text.parse().map_or_else(|_| text.into(), Attribute::Number);
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

struct Run {
    wire: Wire,
    /// What was taken of each side.
    sent: [Vec<u8>; 2],
}

impl Run {
    fn step(&mut self, line: &[u8]) {
        let Some((step, rest)) = line.split_first() else { return };
        let number = || String::from_utf8_lossy(rest).trim().parse::<u64>().unwrap_or(1);
        match step {
            b'>' => self.send(Stream::Upstream, &escaped(rest)),
            b'<' => self.send(Stream::Downstream, &escaped(rest)),
            b'}' => escaped(rest).chunks(1).for_each(|byte| self.send(Stream::Upstream, byte)),
            b'{' => escaped(rest).chunks(1).for_each(|byte| self.send(Stream::Downstream, byte)),
            b'*' | b'#' => {
                let stream = if *step == b'*' { Stream::Downstream } else { Stream::Upstream };
                let (times, bytes) =
                    String::from_utf8_lossy(rest).split_once(' ').map_or((1, Vec::new()), |(n, text)| {
                        (n.parse().unwrap_or(1usize), escaped(text.as_bytes()))
                    });
                self.send(stream, &bytes.repeat(times.min(4096).min((1 << 20) / bytes.len().max(1))));
            }
            b's' => self.wire.set_read(Stream::Downstream, false),
            b'r' => self.wire.set_read(Stream::Downstream, true),
            b't' => self.wire.wait(Duration::from_millis(number().min(100_000))),
            b'u' => self.wire.update(&read(&String::from_utf8_lossy(rest))),
            b'-' => self.wire.remove(),
            b'e' => self.wire.end(Stream::Upstream),
            b'E' => self.wire.end(Stream::Downstream),
            _ => {}
        }
    }

    fn send(&mut self, stream: Stream, bytes: &[u8]) {
        let (taken, _) = self.wire.push(stream, bytes);
        self.sent[stream as usize].extend_from_slice(&bytes[..taken]);
    }

    fn is_prefix(&self) {
        for (out, sent) in self.wire.out.iter().zip(&self.sent) {
            assert!(sent.starts_with(out), "other bytes came out than went in");
        }
    }
}

fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_committed_inputs_hold() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/memcache_toxics");
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            super::fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}
