//! One connection: reads commands, answers them, and lies when told to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::transport::{Transport, read_now};
use crate::command::{Command, Parsed, parse};
use crate::lies::apply::{apply, honest};
use crate::lies::forge::{forge, inside_value};
use crate::lies::{Act, Counters, Lies, Moment};
use crate::store::Store;
use crate::text::line;

/// Bytes read ahead while a reply waits; beyond, the peer's end is not noticed.
const AHEAD: usize = 4 * 1024 * 1024;
/// What memcached says when it is full.
const FULL: &[u8] = b"ERROR Too many open connections\r\n";

/// What all connections of a fake share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    pub(crate) lies: Lies,
    pub(crate) counters: Counters,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as open while it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.disconnected();
        // There may be room for another.
        self.0.lies.wake();
    }
}

/// Why a connection ends.
enum End {
    /// The peer has gone.
    Gone,
    /// To be closed in order.
    Fin,
    Reset,
    /// The peer has gone before this was carried out; it still is, at its time.
    Late(Instant, Command, Vec<Act>),
}

/// How far a reply gets.
struct Cut {
    length: usize,
    end: End,
}

pub(crate) struct Connection<S> {
    stream: S,
    shared: Arc<Shared>,
    input: BytesMut,
    output: BytesMut,
    /// A reply that waits for the next one.
    held: Option<Bytes>,
    /// Bytes to be sent at their time though nobody asks.
    early: VecDeque<(Instant, Bytes)>,
    /// Dropped after the stream.
    _open: Open,
}

impl<S: Transport> Connection<S> {
    pub(crate) fn new(stream: S, shared: Arc<Shared>) -> Self {
        shared.counters.connected();
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            held: None,
            early: VecDeque::new(),
            _open: Open(Arc::clone(&shared)),
            shared,
        }
    }

    /// Serves until the end; `acts` are those for a new connection.
    pub(crate) async fn serve(mut self, acts: Vec<Act>) {
        let ended = match self.greet(&acts).await {
            Ok(()) => self.run().await,
            Err(end) => Err(end),
        };
        match ended {
            Ok(never) => match never {},
            Err(End::Gone) => {}
            Err(End::Fin) => self.finish().await,
            Err(End::Reset) => self.stream.reset_on_close(),
            Err(End::Late(at, command, acts)) => {
                let shared = Arc::clone(&self.shared);
                drop(self);
                sleep_until(at).await;
                apply(&mut shared.store(), &command, &acts, &mut BytesMut::new());
            }
        }
    }

    async fn greet(&mut self, acts: &[Act]) -> Result<(), End> {
        for act in acts {
            match act {
                Act::RefuseNew => {
                    self.output.extend_from_slice(FULL);
                    self.flush().await?;
                    return Err(End::Fin);
                }
                Act::HangNew => return Err(self.ignore().await),
                Act::Early { at: Moment::Accept, bytes } => self.output.extend_from_slice(bytes),
                _ => {}
            }
        }
        self.flush().await
    }

    async fn run(&mut self) -> Result<Infallible, End> {
        loop {
            self.answer_all().await?;
            self.flush().await?;
            self.read().await?;
        }
    }

    /// Answers every whole command that was read.
    async fn answer_all(&mut self) -> Result<(), End> {
        loop {
            let command = match parse(&mut self.input) {
                Parsed::More => return Ok(()),
                Parsed::Bad(reply) => {
                    self.shared.counters.request(None);
                    line(&mut self.output, reply);
                    continue;
                }
                Parsed::Fatal(reply) => {
                    self.shared.counters.request(None);
                    line(&mut self.output, reply);
                    self.flush().await?;
                    return Err(End::Fin);
                }
                Parsed::Command(command) => command,
            };
            self.shared.counters.request(command.name());
            if command.name() == Some(b"quit") {
                self.flush().await?;
                return Err(End::Fin);
            }
            let acts = self.shared.lies.for_command(&command);
            if !acts.is_empty() {
                self.lie(command, acts).await?;
                continue;
            }
            let before = self.output.len();
            honest(&mut self.shared.store(), &command, &mut self.output);
            if self.output.len() > before
                && let Some(held) = self.held.take()
            {
                self.output.extend_from_slice(&held);
            }
        }
    }

    async fn lie(&mut self, command: Command, acts: Vec<Act>) -> Result<(), End> {
        if let Some(late) =
            total(&acts, |act| if let Act::LateApply(late) = act { Some(*late) } else { None })
        {
            let at = Instant::now() + late;
            self.flush().await?;
            if self.wait(at).await.is_err() {
                return Err(End::Late(at, command, acts));
            }
        }
        let mut reply = BytesMut::new();
        apply(&mut self.shared.store(), &command, &acts, &mut reply);
        let reply = forge(reply.freeze(), &acts);
        if let Some(delay) = total(&acts, |act| if let Act::Delay(delay) = act { Some(*delay) } else { None })
        {
            self.flush().await?;
            self.wait(Instant::now() + delay).await?;
        }
        if acts.contains(&Act::Hang) {
            self.flush().await?;
            return Err(self.swallow().await);
        }
        if acts.contains(&Act::NoNewline) {
            self.flush().await?;
            return Err(self.babble().await);
        }
        let cut = cut(&reply, &acts);
        let sent = cut.as_ref().map_or(reply.clone(), |cut| reply.slice(..cut.length));
        let swapped = acts.contains(&Act::SwapWithNext) && self.held.is_none() && cut.is_none();
        if swapped && !sent.is_empty() {
            self.held = Some(sent);
            return Ok(());
        }
        match total(&acts, |act| if let Act::Drip(pause) = act { Some(*pause) } else { None }) {
            Some(pause) => self.drip(&sent, pause).await?,
            None => self.output.extend_from_slice(&sent),
        }
        if let Some(cut) = cut {
            self.flush().await?;
            return Err(cut.end);
        }
        if !sent.is_empty()
            && let Some(held) = self.held.take()
        {
            self.output.extend_from_slice(&held);
        }
        self.follow(acts).await
    }

    /// Sends what nobody asked for, or plans to.
    async fn follow(&mut self, acts: Vec<Act>) -> Result<(), End> {
        for act in acts {
            if let Act::Early { at: Moment::AfterReply(pause), bytes } = act {
                self.flush().await?;
                if pause.is_zero() {
                    self.output.extend_from_slice(&bytes);
                } else {
                    self.early.push_back((Instant::now() + pause, bytes));
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        let written = self.stream.write_all(&self.output).await;
        self.output.clear();
        written.map_err(|_| End::Gone)
    }

    /// Reads some; meanwhile sends what is to be sent though nobody asks.
    async fn read(&mut self) -> Result<(), End> {
        loop {
            self.input.reserve(4096);
            let early = self.early.front().map(|(at, _)| *at);
            tokio::select! {
                // The same run again does the same.
                biased;
                read = self.stream.read_buf(&mut self.input) => return some(read),
                () = sleep_until(early.unwrap_or_else(Instant::now)), if early.is_some() => {
                    if let Some((_, bytes)) = self.early.pop_front() {
                        self.output.extend_from_slice(&bytes);
                    }
                    self.flush().await?;
                }
            }
        }
    }

    /// Waits, and reads ahead to notice when the peer goes.
    async fn wait(&mut self, until: Instant) -> Result<(), End> {
        loop {
            let reads = self.input.len() < AHEAD;
            self.input.reserve(4096);
            tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                read = self.stream.read_buf(&mut self.input), if reads => some(read)?,
            }
        }
    }

    async fn drip(&mut self, reply: &[u8], pause: Duration) -> Result<(), End> {
        self.flush().await?;
        for byte in reply {
            self.output.extend_from_slice(&[*byte]);
            self.flush().await?;
            self.wait(Instant::now() + pause).await?;
        }
        Ok(())
    }

    /// Reads and counts, and does nothing else.
    async fn swallow(&mut self) -> End {
        loop {
            loop {
                match parse(&mut self.input) {
                    Parsed::More => break,
                    Parsed::Bad(_) => self.shared.counters.request(None),
                    Parsed::Command(command) => self.shared.counters.request(command.name()),
                    Parsed::Fatal(_) => self.input.advance(self.input.len()),
                }
            }
            self.input.reserve(4096);
            if let Err(end) = some(self.stream.read_buf(&mut self.input).await) {
                return end;
            }
        }
    }

    /// Reads nothing until the peer has gone.
    async fn ignore(&mut self) -> End {
        self.stream.peer_gone().await;
        End::Gone
    }

    /// Writes without a line end until the peer goes.
    async fn babble(&mut self) -> End {
        let mut sink = [0; 4096];
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        loop {
            let goes_on = tokio::select! {
                read = reader.read(&mut sink) => matches!(read, Ok(1..)),
                written = writer.write(&[b'x'; 4096]) => written.is_ok(),
            };
            if !goes_on {
                return End::Gone;
            }
        }
    }

    /// Ends with FIN: unread bytes would turn the close into a reset.
    async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
        let mut sink = [0; 4096];
        for _ in 0..256 {
            if !matches!(read_now(&mut self.stream, &mut sink), Some(Ok(1..))) {
                return;
            }
        }
    }
}

fn some(read: std::io::Result<usize>) -> Result<(), End> {
    match read {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(End::Gone),
    }
}

/// The sum over the acts that have such a time; `None`: none has.
fn total(acts: &[Act], time: impl Fn(&Act) -> Option<Duration>) -> Option<Duration> {
    acts.iter().filter_map(time).reduce(Duration::saturating_add)
}

/// Where the acts cut the reply and how they end it.
fn cut(reply: &Bytes, acts: &[Act]) -> Option<Cut> {
    let length = acts.iter().filter_map(|act| match act {
        Act::Close => Some(0),
        Act::CutAfter(length) => Some(*length),
        Act::CloseInsideValue => Some(inside_value(reply)),
        _ => None,
    });
    let length = length.min().map(|length| length.min(reply.len()));
    match acts.contains(&Act::Reset) {
        true => Some(Cut { length: length.unwrap_or(0), end: End::Reset }),
        false => length.map(|length| Cut { length, end: End::Fin }),
    }
}
