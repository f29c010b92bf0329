//! What a connection goes over: TCP, with what only TCP can do, or any other stream.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the close a reset.
    fn reset_on_close(&self);

    /// Reads nothing, and ends when the peer has gone.
    fn peer_gone(&self) -> impl Future<Output = ()> + Send;
}

impl Transport for TcpStream {
    fn reset_on_close(&self) {
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    async fn peer_gone(&self) {
        loop {
            match self.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() => return,
                // Pretends to have read everything, so that only news wakes it.
                Ok(_) => {
                    drop(self.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into())))
                }
                Err(_) => return,
            }
        }
    }
}

/// A stream that can only be read, written and closed.
pub(crate) struct Plain<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Transport for Plain<S> {
    fn reset_on_close(&self) {}

    async fn peer_gone(&self) {
        std::future::pending().await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plain<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What can be read without waiting; `None`: nothing yet.
pub(crate) fn read_now(stream: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Option<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    // Nobody waits: the connection is about to be dropped.
    match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut into) {
        Poll::Ready(read) => Some(read.map(|()| into.filled().len())),
        Poll::Pending => None,
    }
}
