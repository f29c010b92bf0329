//! The baseline: what tokio, the kernel and memcached cost by themselves. One task a connection; requests are rendered
//! before, replies are framed and thrown away.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::keyspace::{Draw, Keyspace};
use crate::measure::{Crew, Plan, Sample};

/// Requests that are rendered; connections start at different ones and go round.
const RING: usize = 100_000;
/// Bytes that one read may bring.
const INPUT: usize = 16 * 1024;

/// How requests and replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `get`, `set`.
    Text,
    /// `mg`, `ms`, with the echoes that our client asks for.
    Meta,
}

impl Framing {
    /// Appends a get.
    pub fn render_get(self, key: &str, out: &mut Vec<u8>) {
        match self {
            Framing::Text => out.extend([b"get ", key.as_bytes(), b"\r\n"].concat()),
            Framing::Meta => out.extend([b"mg ", key.as_bytes(), b" v k O1\r\n"].concat()),
        }
    }

    /// Appends a set.
    pub fn render_set(self, key: &str, value: &[u8], out: &mut Vec<u8>) {
        let head = match self {
            Framing::Text => format!("set {key} 0 0 {}\r\n", value.len()),
            Framing::Meta => format!("ms {key} {} T0 k O1\r\n", value.len()),
        };
        out.extend(head.as_bytes());
        out.extend(value);
        out.extend(b"\r\n");
    }

    /// Length of the first whole reply in `input`. A miss is an error: every key was written before.
    fn reply_length(self, input: &[u8]) -> Result<Option<usize>> {
        let Some(end) = memchr::memchr(b'\n', input) else { return Ok(None) };
        let (line, head) = (&input[..end], end + 1);
        let with_value = match self {
            Framing::Text if line.starts_with(b"VALUE ") => line.rsplit(|b| *b == b' ').next(),
            Framing::Meta if line.starts_with(b"VA ") => line.split(|b| *b == b' ').nth(1),
            Framing::Text if line.starts_with(b"STORED") => return Ok(Some(head)),
            Framing::Meta if line.starts_with(b"HD") => return Ok(Some(head)),
            _ => bail!("unexpected reply: {}", line.escape_ascii()),
        };
        let tail = if self == Framing::Text { "\r\nEND\r\n".len() } else { "\r\n".len() };
        let text = with_value.and_then(|length| std::str::from_utf8(length.trim_ascii()).ok());
        let length: usize = text.and_then(|text| text.parse().ok()).context("a reply without a length")?;
        let whole = head + length + tail;
        Ok((input.len() >= whole).then_some(whole))
    }
}

/// Takes replies off a connection.
#[derive(Debug)]
pub struct Replies {
    framing: Framing,
    input: Box<[u8]>,
    filled: usize,
}

impl Replies {
    /// For a connection of its own.
    pub fn new(framing: Framing) -> Self {
        Self { framing, input: vec![0; INPUT].into(), filled: 0 }
    }

    /// Reads `count` replies.
    pub async fn take(&mut self, stream: &mut TcpStream, count: usize) -> Result<()> {
        let (mut left, mut parsed) = (count, 0);
        while left > 0 {
            match self.framing.reply_length(&self.input[parsed..self.filled])? {
                Some(length) => {
                    parsed += length;
                    left -= 1;
                }
                None => {
                    self.input.copy_within(parsed..self.filled, 0);
                    self.filled -= parsed;
                    parsed = 0;
                    match stream.read(&mut self.input[self.filled..]).await.context("read")? {
                        0 => bail!("memcached closed the connection, or a reply is above {INPUT} bytes"),
                        n => self.filled += n,
                    }
                }
            }
        }
        self.input.copy_within(parsed..self.filled, 0);
        self.filled -= parsed;
        Ok(())
    }
}

/// Rendered requests, one after the other.
struct Ring {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Ring {
    fn new(framing: Framing, keyspace: &Keyspace, plan: &Plan) -> Self {
        let mut ring = Ring { bytes: Vec::new(), ends: vec![0] };
        let mut draw = Draw::new(keyspace, plan.mix, 0);
        for _ in 0..RING {
            let choice = draw.op();
            let key = keyspace.name(choice.key);
            if choice.is_set {
                framing.render_set(key, keyspace.value(choice.key), &mut ring.bytes);
            } else {
                framing.render_get(key, &mut ring.bytes);
            }
            ring.ends.push(ring.bytes.len());
        }
        ring
    }

    fn requests(&self, numbers: Range<usize>) -> &[u8] {
        &self.bytes[self.ends[numbers.start]..self.ends[numbers.end]]
    }
}

/// Runs it: `plan.depth` requests in one write, then their replies.
pub async fn run(framing: Framing, keyspace: Arc<Keyspace>, plan: &Plan) -> Result<Sample> {
    let ring = Arc::new(Ring::new(framing, &keyspace, plan));
    let mut crew = Crew::default();
    for worker in 0..plan.connections {
        let mut stream = TcpStream::connect(plan.addr).await.context("connect")?;
        stream.set_nodelay(true).context("nodelay")?;
        let (seat, ring, depth) = (crew.seat(), Arc::clone(&ring), plan.depth);
        let mut next = worker * RING / plan.connections;
        crew.spawn(async move {
            let mut replies = Replies::new(framing);
            while seat.goes_on() {
                if next + depth > RING {
                    next = 0;
                }
                stream.write_all(ring.requests(next..next + depth)).await.context("write")?;
                replies.take(&mut stream, depth).await?;
                seat.done(depth);
                next += depth;
            }
            Ok(())
        });
    }
    crew.measure(plan).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_whole_or_not_yet() {
        let cases: [(Framing, &[u8]); 4] = [
            (Framing::Meta, b"VA 3 kx O1\r\nabc\r\n"),
            (Framing::Meta, b"HD kx O1\r\n"),
            (Framing::Text, b"VALUE x 0 3\r\nabc\r\nEND\r\n"),
            (Framing::Text, b"STORED\r\n"),
        ];
        for (framing, reply) in cases {
            let more = [reply, b"VA 9"].concat();
            assert_eq!(framing.reply_length(&more).unwrap(), Some(reply.len()));
            for cut in 0..reply.len() {
                assert_eq!(framing.reply_length(&reply[..cut]).unwrap(), None, "{cut}");
            }
        }
        for (framing, miss) in [(Framing::Meta, "EN\r\n"), (Framing::Text, "END\r\n")] {
            assert!(framing.reply_length(miss.as_bytes()).is_err());
        }
    }
}
