//! One connection, one op at a time, over meta commands.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::codec::{self, Step};
use super::{Traffic, Wire};
use crate::error::{Error, lost};
use crate::key::Key;
use crate::op::{Op, Reply};
use crate::stream::Stream;

/// Bytes asked for in one read.
const READ_CHUNK: usize = 4 * 1024;
/// A buffer that a large value has grown beyond this is given back.
const KEEP_BUFFER: usize = 64 * 1024;

pub(crate) struct MetaConnection {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    opaque: u32,
    value_max: usize,
    traffic: Arc<Traffic>,
}

impl MetaConnection {
    pub(crate) fn new(stream: Stream, value_max: usize, traffic: Arc<Traffic>) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), opaque: 0, value_max, traffic }
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
        match self.receive(&key, opaque).await {
            // Refused is not answered: the next connection asks again.
            Ok(_) | Err(Error::Server(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.stream.write_all(&self.output).await.map_err(lost)?;
        self.traffic.add_written(self.output.len());
        self.output.clear();
        if self.output.capacity() > KEEP_BUFFER {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    async fn fill(&mut self, missing: usize) -> Result<(), Error> {
        self.input.reserve(missing.max(READ_CHUNK));
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(lost(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
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
            match codec::parse(&mut self.input, &mut searched, key, opaque, rules)? {
                Step::Whole(raw) => {
                    self.traffic.learn(&raw);
                    return Ok(raw);
                }
                Step::ServerError(error) => return Err(error),
                Step::Need(missing) => self.fill(missing).await?,
            }
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
        if self.input.capacity() > KEEP_BUFFER && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        raw.reply(op)
    }

    async fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, Error> {
        let question = self.begin();
        let first = self.opaque.wrapping_add(1);
        for key in keys {
            let opaque = self.next_opaque();
            codec::encode_get(key, opaque, &mut self.output);
        }
        self.send().await?;
        self.settle(question).await?;
        let mut values = Vec::with_capacity(keys.len());
        let mut refused = None;
        for (index, key) in keys.iter().enumerate() {
            match self.receive(key, first.wrapping_add(index as u32)).await {
                Ok(raw) => values.push(raw.read()?),
                // One key's refusal is a whole reply; the others' replies follow and must be read.
                Err(error @ Error::Server(_)) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(values), Err)
    }

    fn is_quiet(&mut self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }
}
