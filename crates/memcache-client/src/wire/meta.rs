//! One connection, one op at a time, over meta commands.

pub(crate) mod codec;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::Wire;
use super::traffic::Traffic;
use crate::bugs::Dirt;
use crate::error::{Error, lost};
use crate::key::Key;
use crate::op::{Op, Reply};
use crate::request::Replies;
use crate::stream::Stream;
use codec::{Rules, Step};

/// Bytes asked for in one read: few at first, so that many connections are small, and more once a read was filled.
const READ_MIN: usize = 512;
/// At most, unless a value is longer.
const READ_MAX: usize = 16 * 1024;
/// A buffer that a large value has grown beyond this is given back.
const KEEP_BUFFER: usize = 64 * 1024;

pub(crate) struct MetaConnection {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    /// Bytes to ask for in the next read.
    read: usize,
    opaque: u32,
    value_max: usize,
    traffic: Arc<Traffic>,
    dirt: Dirt,
}

impl MetaConnection {
    pub(crate) fn new(stream: Stream, value_max: usize, traffic: Arc<Traffic>) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let dirt = Dirt::default();
        Self { stream, input, output, read: READ_MIN, opaque: 0, value_max, traffic, dirt }
    }

    /// It will be used whatever is unread, and take whatever comes.
    pub(super) fn soil(&mut self) {
        self.dirt = Dirt::some();
    }

    /// Asks how the server sends a miss, if nobody knows. The answer comes before that of the op behind it.
    fn begin(&mut self) -> Option<(Key, u32)> {
        let key = self.traffic.first_question()?;
        let opaque = self.next_opaque();
        codec::encode_get(&key, opaque, &mut self.output);
        Some((key, opaque))
    }

    async fn settle(&mut self, first: Option<(Key, u32)>) -> Result<(), Error> {
        let Some((key, opaque)) = first else { return Ok(()) };
        // In a box: once in a server's life, and no room in the future of every op.
        match Box::pin(self.receive(&key, opaque)).await {
            // Refused is not answered: the next connection asks again.
            Ok(_) | Err(Error::Server(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        let mut written = 0;
        poll_fn(|cx| self.poll_send(cx, &mut written)).await.map_err(lost)?;
        self.traffic.add_written(written);
        self.output.clear();
        if self.output.capacity() > KEEP_BUFFER {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Reads what has come while there is no room to write: a server that waits for us to read takes nothing.
    fn poll_send(&mut self, cx: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while *written < self.output.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[*written..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => *written += n,
                Poll::Pending => {
                    self.input.reserve(READ_MAX);
                    match ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        n => self.traffic.add_read(n),
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    async fn fill(&mut self, missing: usize) -> Result<(), Error> {
        self.input.reserve(missing.max(self.read));
        let room = self.input.capacity() - self.input.len();
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                if n == room {
                    self.read = (2 * self.read).min(READ_MAX);
                }
                self.traffic.add_read(n);
                Ok(())
            }
            Err(error) => Err(lost(error)),
        }
    }

    /// Reads one reply to its last byte.
    async fn receive(&mut self, key: &Key, opaque: u32) -> Result<codec::Raw, Error> {
        let mut searched = 0;
        let rules = self.traffic.rules(self.value_max);
        loop {
            match self.parse(&mut searched, key, opaque, rules)? {
                Step::Whole(raw) => {
                    self.traffic.learn(&raw);
                    return Ok(raw);
                }
                Step::ServerError(error) => return Err(error),
                Step::Need(missing) => self.fill(missing).await?,
            }
        }
    }

    fn parse(&mut self, searched: &mut usize, key: &Key, opaque: u32, rules: Rules) -> Result<Step, Error> {
        let echoed = self.dirt.echoed(&self.input);
        let (key, opaque) = echoed.as_ref().map_or((key, opaque), |(key, opaque)| (key, *opaque));
        codec::parse(&mut self.input, searched, key, opaque, rules)
    }

    fn shrink(&mut self) {
        if self.input.capacity() > KEEP_BUFFER && self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    fn next_opaque(&mut self) -> u32 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }
}

impl Wire for MetaConnection {
    async fn execute(&mut self, op: &Op) -> Result<Reply, Error> {
        let first = self.begin();
        let opaque = self.next_opaque();
        codec::encode(op, opaque, &mut self.output);
        self.send().await?;
        self.settle(first).await?;
        let raw = self.receive(op.key(), opaque).await?;
        self.shrink();
        raw.reply(op)
    }

    async fn execute_many(&mut self, ops: &[Cow<'_, Op>], replies: &mut Replies) -> Result<(), Error> {
        let question = self.begin();
        let first = self.opaque.wrapping_add(1);
        for op in ops {
            let opaque = self.next_opaque();
            codec::encode(op, opaque, &mut self.output);
        }
        self.send().await?;
        self.settle(question).await?;
        for (index, op) in ops.iter().enumerate() {
            let raw = self.receive(op.key(), first.wrapping_add(index as u32)).await;
            replies.push(raw.and_then(|raw| raw.reply(op)))?;
        }
        self.shrink();
        Ok(())
    }

    fn is_quiet(&mut self) -> bool {
        self.dirt.is_there() || self.input.is_empty() && self.stream.is_quiet()
    }
}
