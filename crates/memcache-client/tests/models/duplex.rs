//! Servers in memory, each connection a task of shuttle's.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use memcache_client::{Connector, Dialling, Io};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

/// What a key holds.
pub fn value_of(key: &str) -> String {
    format!("the value of {key}")
}

/// Drops `op` instead of polling it for the `polls`th time.
pub async fn drop_after(op: impl Future, polls: u32) {
    let (mut op, mut polled) = (pin!(op), 0);
    poll_fn(|cx| {
        polled += 1;
        if polled > polls { Poll::Ready(()) } else { op.as_mut().poll(cx).map(drop) }
    })
    .await;
}

#[derive(Clone, Default)]
pub struct Memory(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicI64,
    most: AtomicI64,
}

impl Memory {
    /// Connections that were open at the same time.
    pub fn most(&self) -> i64 {
        self.0.most.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(..)")
    }
}

impl Connector for Memory {
    fn connect(&self, _: &str) -> Dialling {
        let counts = Arc::clone(&self.0);
        Box::pin(async move {
            shuttle::future::yield_now().await;
            // Less than a reply, so that one comes in pieces.
            let (near, far) = tokio::io::duplex(24);
            drop(shuttle::future::spawn(serve(far)));
            let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most.fetch_max(open, Ordering::SeqCst);
            Ok(Box::new(Near { stream: near, counts }) as Box<dyn Io>)
        })
    }
}

/// Answers reads until the other end has gone.
async fn serve(mut stream: DuplexStream) {
    let mut input = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut input).await {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=end).collect();
            let line = String::from_utf8(line).unwrap();
            let words: Vec<&str> = line.trim_end().split(' ').collect();
            let (key, opaque) = (words[1], words.iter().find(|word| word.starts_with('O')).unwrap());
            let value = value_of(key);
            let reply = format!("VA {} k{key} {opaque}\r\n{value}\r\n", value.len());
            shuttle::future::yield_now().await;
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The client's end; counts as open while it lives.
struct Near {
    stream: DuplexStream,
    counts: Arc<Counts>,
}

impl Drop for Near {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
