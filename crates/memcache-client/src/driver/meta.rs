//! memcached's meta commands. Every request carries an opaque number and asks for its key to be echoed; a reply that
//! brings others back belongs to somebody else. (Some versions send misses without the echoes; there the order of the
//! connection has to do, and it does: a connection whose reply was not read to its end is never used again.)

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Traffic, Wire, exptime, nothing_to_read};
use crate::error::{Error, ProtocolError, lost};
use crate::key::Key;
use crate::op::{Op, Reply};

/// Longest reply line: the longest key, flags and numbers fit many times.
const LINE_MAX: usize = 8 * 1024;
/// Bytes asked for in one read.
const READ_CHUNK: usize = 16 * 1024;
/// A write buffer that a large value has grown beyond this is given back.
const KEEP_BUFFER: usize = 64 * 1024;
/// Bytes of a strange reply that are kept for the error.
const SHOWN: usize = 64;

pub(crate) struct MetaConnection {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    opaque: u32,
    value_max: usize,
    traffic: Arc<Traffic>,
}

/// The first line of a reply, and the value if it has one.
struct Answer {
    line: Bytes,
    value: Option<Bytes>,
}

impl Answer {
    fn code(&self) -> &[u8] {
        self.line.split(|b| *b == b' ').next().unwrap_or_default()
    }

    fn unexpected(&self) -> Error {
        ProtocolError::Unexpected(shown(&self.line)).into()
    }
}

impl MetaConnection {
    pub(crate) fn new(stream: TcpStream, value_max: usize, traffic: Arc<Traffic>) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), opaque: 0, value_max, traffic }
    }

    /// Begins a request: `COMMAND KEY`. Returns its opaque number.
    fn begin(&mut self, command: &[u8], key: &Key) -> u32 {
        self.opaque = self.opaque.wrapping_add(1);
        for part in [command, b" ", key.as_bytes()] {
            self.output.put_slice(part);
        }
        self.opaque
    }

    fn put(&mut self, flag: &[u8], number: u64) {
        self.output.put_slice(flag);
        self.output.put_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Ends a request line with the flags that every request has: echo key and opaque.
    fn end(&mut self, opaque: u32) {
        self.put(b" k O", opaque.into());
        self.output.put_slice(b"\r\n");
    }

    fn encode(&mut self, op: &Op) -> u32 {
        match op {
            Op::Get(key) => self.encode_get(key),
            Op::Set { key, value, ttl } => self.encode_store(key, value, *ttl, b""),
            Op::Add { key, value, ttl } => self.encode_store(key, value, *ttl, b" ME"),
            Op::Delete(key) => {
                let opaque = self.begin(b"md", key);
                self.end(opaque);
                opaque
            }
            Op::Incr { key, delta, initial } => {
                let opaque = self.begin(b"ma", key);
                self.put(b" v D", *delta);
                if let Some((value, ttl)) = initial {
                    self.put(b" N", exptime(*ttl).into());
                    self.put(b" J", *value);
                }
                self.end(opaque);
                opaque
            }
            Op::Touch(key, ttl) => {
                let opaque = self.begin(b"mg", key);
                self.put(b" T", exptime(*ttl).into());
                self.end(opaque);
                opaque
            }
        }
    }

    fn encode_get(&mut self, key: &Key) -> u32 {
        let opaque = self.begin(b"mg", key);
        self.output.put_slice(b" v");
        self.end(opaque);
        opaque
    }

    fn encode_store(
        &mut self,
        key: &Key,
        value: &[u8],
        ttl: Option<std::time::Duration>,
        mode: &[u8],
    ) -> u32 {
        self.output.reserve(value.len() + 320);
        let opaque = self.begin(b"ms", key);
        self.put(b" ", value.len() as u64);
        self.put(b" T", exptime(ttl).into());
        self.output.put_slice(mode);
        self.end(opaque);
        self.output.put_slice(value);
        self.output.put_slice(b"\r\n");
        opaque
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

    async fn fill(&mut self) -> Result<(), Error> {
        self.input.reserve(READ_CHUNK);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(lost(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                self.traffic.add_read(n);
                Ok(())
            }
            Err(error) => Err(lost(error)),
        }
    }

    async fn read_line(&mut self) -> Result<Bytes, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..].iter().position(|b| *b == b'\n') {
                let mut line = self.input.split_to(searched + at + 1).freeze();
                line.truncate(line.len() - 1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                return Ok(line);
            }
            searched = self.input.len();
            if searched > LINE_MAX {
                return Err(ProtocolError::LineTooLong(LINE_MAX).into());
            }
            self.fill().await?;
        }
    }

    async fn read_value(&mut self, length: usize) -> Result<Bytes, Error> {
        while self.input.len() < length + 2 {
            self.fill().await?;
        }
        let value = self.input.split_to(length).freeze();
        if &self.input[..2] != b"\r\n" {
            return Err(ProtocolError::BadValueEnd.into());
        }
        self.input.advance(2);
        Ok(value)
    }

    /// Reads one reply, and checks that it is that of `key` and `opaque` wherever it says so.
    async fn read_answer(&mut self, key: &Key, opaque: u32) -> Result<Answer, Error> {
        let line = self.read_line().await?;
        if let Some(text) = line.strip_prefix(b"SERVER_ERROR") {
            return Err(Error::Server(shown(text.trim_ascii()).into()));
        }
        let value = match line.strip_prefix(b"VA ") {
            None => None,
            Some(rest) => {
                let length = rest.split(|b| *b == b' ').next().unwrap_or_default();
                let length = self.length(length)?;
                Some(self.read_value(length).await?)
            }
        };
        let answer = Answer { line, value };
        let echoes = usize::from(answer.value.is_some()) + 1;
        check_echo(&answer.line, echoes, key, opaque, answer.code())?;
        Ok(answer)
    }

    fn length(&self, text: &[u8]) -> Result<usize, Error> {
        let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        match parsed {
            Some(length) if length <= self.value_max => Ok(length),
            _ => Err(ProtocolError::BadLength { got: shown(text), limit: self.value_max }.into()),
        }
    }
}

/// Compares the echoed `k` and `O` flags. `HD` and `VA` must carry both; `EN`, `NF`, `NS` and `EX` may be bare.
fn check_echo(line: &[u8], skip: usize, key: &Key, opaque: u32, code: &[u8]) -> Result<(), Error> {
    let (mut saw_key, mut saw_opaque) = (false, false);
    for flag in line.split(|b| *b == b' ').skip(skip) {
        match flag.split_first() {
            Some((b'k', got)) => {
                saw_key = true;
                if got != key.as_bytes() {
                    return Err(desync("key", key.to_string(), got));
                }
            }
            Some((b'O', got)) => {
                saw_opaque = true;
                if !is_number(got, opaque) {
                    return Err(desync("opaque", opaque.to_string(), got));
                }
            }
            _ => {}
        }
    }
    let must = matches!(code, b"HD" | b"VA");
    if must && !(saw_key && saw_opaque) {
        return Err(desync("key and opaque", format!("{key} {opaque}"), line));
    }
    Ok(())
}

fn is_number(text: &[u8], number: u32) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse() == Ok(number))
}

fn desync(what: &'static str, expected: String, got: &[u8]) -> Error {
    ProtocolError::Desync { what, expected, got: shown(got) }.into()
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string()
}

impl Wire for MetaConnection {
    async fn execute(&mut self, op: &Op) -> Result<Reply, Error> {
        let opaque = self.encode(op);
        self.send().await?;
        let answer = self.read_answer(op.key(), opaque).await?;
        match (op, answer.code(), &answer.value) {
            (Op::Get(_), b"VA", Some(value)) => Ok(Reply::Value(value.clone())),
            (Op::Get(_), b"EN", None) => Ok(Reply::Miss),
            (Op::Set { .. } | Op::Add { .. }, b"HD", None) => Ok(Reply::Stored),
            (Op::Set { .. } | Op::Add { .. }, b"NS", None) => Ok(Reply::NotStored),
            (Op::Delete(_), b"HD", None) => Ok(Reply::Deleted),
            (Op::Touch(..), b"HD", None) => Ok(Reply::Touched),
            (Op::Delete(_) | Op::Incr { .. }, b"NF", None) | (Op::Touch(..), b"EN", None) => {
                Ok(Reply::NotFound)
            }
            (Op::Incr { .. }, b"NS", None) => Ok(Reply::NotStored),
            (Op::Incr { .. }, b"VA", Some(value)) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
                number.map(Reply::Counter).ok_or_else(|| answer.unexpected())
            }
            _ => Err(answer.unexpected()),
        }
    }

    async fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, Error> {
        let first = self.opaque.wrapping_add(1);
        for key in keys {
            self.encode_get(key);
        }
        self.send().await?;
        let mut values = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let answer = self.read_answer(key, first.wrapping_add(index as u32)).await?;
            match (answer.code(), &answer.value) {
                (b"VA", Some(value)) => values.push(Some(value.clone())),
                (b"EN", None) => values.push(None),
                _ => return Err(answer.unexpected()),
            }
        }
        Ok(values)
    }

    fn is_quiet(&self) -> bool {
        self.input.is_empty() && nothing_to_read(&self.stream)
    }
}
