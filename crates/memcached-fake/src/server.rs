//! The fake as a server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::command::{Parsed, parse};
use crate::store::Store;
use crate::text::line;
use crate::{meta, text};

/// A fake memcached that listens until it is dropped or shut down.
#[derive(Debug)]
pub struct FakeMemcached {
    addr: SocketAddr,
    task: JoinSet<()>,
}

impl FakeMemcached {
    /// Listens at `addr`; port 0 is any free one.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(accept(listener));
        Ok(Self { addr, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes everything.
    pub async fn shutdown(mut self) {
        self.task.shutdown().await;
    }
}

async fn accept(listener: TcpListener) {
    let store = Arc::new(Mutex::new(Store::default()));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&store)))),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, store: Arc<Mutex<Store>>) {
    let _ = stream.set_nodelay(true);
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        input.reserve(4096);
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let goes_on = answer_all(&mut input, &mut output, &store);
        if stream.write_all(&output).await.is_err() || !goes_on {
            return;
        }
        output.clear();
    }
}

/// Answers every whole command of the buffer; `false`: the connection ends.
fn answer_all(input: &mut BytesMut, output: &mut BytesMut, store: &Mutex<Store>) -> bool {
    loop {
        let command = match parse(input) {
            Parsed::More => return true,
            Parsed::Bad(reply) => {
                line(output, reply);
                continue;
            }
            Parsed::Fatal(reply) => {
                line(output, reply);
                return false;
            }
            Parsed::Command(command) => command,
        };
        if command.words.first().is_some_and(|word| &word[..] == b"quit") {
            return false;
        }
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let answered =
            meta::answer(&mut store, &command, output).or_else(|| text::answer(&mut store, &command, output));
        if answered.is_none() {
            line(output, "ERROR");
        }
    }
}

#[cfg(test)]
mod tests;
