//! A server in memory behind a [`Connector`] with a gate at each point where an op can be made to wait. A gate that is
//! held stops whoever comes to it until the next step; frozen, nobody passes any.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use memcache_client::{Connector, Dialling, Io};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a server can make an op wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Dial,
    LoginWrite,
    LoginReply,
    /// Before the first byte of the request.
    Request,
    /// In the middle of the request.
    RequestRest,
    /// Before the first byte of the reply.
    Reply,
    /// In the middle of its first line.
    ReplyHeader,
    /// After its first line; without a value, before the line's end.
    ReplyValue,
    /// Before its last byte.
    ReplyEnd,
    /// Before a reply about [`HOLDER`], as long as the server is silent about it.
    Silence,
}

impl Gate {
    /// Gates that can be held.
    pub const COUNT: u32 = Gate::Silence as u32;
}

/// The key of an op that is there to take up room.
pub const HOLDER: &str = "holder";

#[derive(Debug, Default)]
struct GatesState {
    held: u32,
    frozen: bool,
    refusing: bool,
    silent: bool,
    open: usize,
    /// Those who wait for a step, a thaw, or the end of the silence.
    wakers: Vec<Waker>,
}

/// A handle on the server and its gates.
#[derive(Clone, Default)]
pub struct Gates(Arc<Mutex<GatesState>>);

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gates(..)")
    }
}

impl Gates {
    fn state(&self) -> MutexGuard<'_, GatesState> {
        self.0.lock().unwrap()
    }

    /// Holds the gates whose bits are set, each once.
    pub fn hold(&self, bits: u32) {
        self.change(|state| state.held = bits);
    }

    /// Lets those pass who wait at gates.
    pub fn step(&self) {
        self.change(|_| ());
    }

    pub fn freeze(&self, frozen: bool) {
        self.change(|state| state.frozen = frozen);
    }

    pub fn silence(&self, silent: bool) {
        self.change(|state| state.silent = silent);
    }

    fn change(&self, change: impl FnOnce(&mut GatesState)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn refuse(&self, refusing: bool) {
        self.state().refusing = refusing;
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.state().open
    }

    fn pass(&self, gate: Gate, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.frozen || gate == Gate::Silence && state.silent {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let bit = 1 << gate as u32;
        if state.held & bit == 0 {
            return Poll::Ready(());
        }
        state.held &= !bit;
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl GatesState {
    fn stops(&self, gate: Gate) -> bool {
        self.frozen || self.held & (1 << gate as u32) != 0 || gate == Gate::Silence && self.silent
    }
}

impl Connector for Gates {
    fn connect(&self, _: &str) -> Dialling {
        let gates = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| gates.pass(Gate::Dial, cx)).await;
            if gates.state().refusing {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            gates.state().open += 1;
            let stream = GatedStream { gates, input: Vec::new(), output: VecDeque::new() };
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

/// One connection, both ends of it.
#[derive(Debug)]
struct GatedStream {
    gates: Gates,
    /// Bytes of requests that are not whole.
    input: Vec<u8>,
    /// Bytes of replies, each in pieces, with the gate before each piece.
    output: VecDeque<(Gate, Vec<u8>)>,
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        self.gates.state().open -= 1;
    }
}

/// What every key holds.
pub fn value_of(key: &[u8]) -> Vec<u8> {
    [b"the value of ", key].concat()
}

impl GatedStream {
    /// Answers what is whole.
    fn answer(&mut self) {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8(self.input[..end].to_vec()).unwrap();
            let words: Vec<&str> = line.trim_end().split(' ').collect();
            let data = match words[0] {
                "set" => words[4].parse::<usize>().unwrap() + 2,
                "ms" => words[2].parse::<usize>().unwrap() + 2,
                _ => 0,
            };
            if self.input.len() < end + 1 + data {
                return;
            }
            self.input.drain(..end + 1 + data);
            if words[0] == "set" {
                self.output.push_back((Gate::LoginReply, b"STORED\r\n".to_vec()));
                continue;
            }
            let key = words[1].as_bytes();
            if words[1] == HOLDER {
                self.output.push_back((Gate::Silence, Vec::new()));
            }
            let echo =
                format!(" k{} {}\r\n", words[1], words.iter().find(|word| word.starts_with('O')).unwrap());
            let value = match words[0] {
                "mg" if words.contains(&"v") => Some(value_of(key)),
                "ma" => Some(b"7".to_vec()),
                _ => None,
            };
            let (header, body) = match value {
                Some(value) => (format!("VA {}{echo}", value.len()), [&value[..], b"\r\n"].concat()),
                None => (format!("HD{echo}"), Vec::new()),
            };
            let whole = [header.as_bytes(), &body].concat();
            let cut = if body.is_empty() { header.len() - 2 } else { header.len() };
            let cuts = [0, header.len() / 2, cut, whole.len() - 1, whole.len()];
            let gates = [Gate::Reply, Gate::ReplyHeader, Gate::ReplyValue, Gate::ReplyEnd];
            for (gate, cut) in gates.into_iter().zip(cuts.windows(2)) {
                self.output.push_back((gate, whole[cut[0]..cut[1]].to_vec()));
            }
        }
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while let Some((gate, piece)) = this.output.front_mut() {
            // What was taken before a gate is given before anybody waits at it.
            let given = buf.filled().len() > before;
            if buf.remaining() == 0 || given && this.gates.state().stops(*gate) {
                break;
            }
            if this.gates.pass(*gate, cx).is_pending() {
                return Poll::Pending;
            }
            let n = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                this.output.pop_front();
            }
        }
        if buf.filled().len() > before { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let begins = this.input.is_empty();
        let gate = match (bytes.starts_with(b"set "), begins) {
            (true, _) => Gate::LoginWrite,
            (false, true) => Gate::Request,
            (false, false) => Gate::RequestRest,
        };
        std::task::ready!(this.gates.pass(gate, cx));
        let halves = gate == Gate::Request && this.gates.state().held & (1 << Gate::RequestRest as u32) != 0;
        let n = if halves { bytes.len().div_ceil(2) } else { bytes.len() };
        this.input.extend_from_slice(&bytes[..n]);
        this.answer();
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
