//! The fake as a server.

mod connection;
mod transport;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use descriptors::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::lies::{Counters, Lies};
use connection::{Connection, Shared};
use transport::Plain;

/// A fake memcached without a listener: it serves the streams that its owner accepts, such as those of a simulated
/// network. Clones share items, lies and counters.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Serves one connection until its end. [`Reset`](crate::lies::Act::Reset) closes it as its drop does, and
    /// [`HangNew`](crate::lies::Act::HangNew) does not notice that the peer has gone.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync) {
        let connection = Connection::new(Plain(stream), Arc::clone(&self.shared));
        connection.serve(self.shared.lies.for_connection()).await;
    }

    /// The lies it tells; none at first.
    pub fn lies(&self) -> &Lies {
        &self.shared.lies
    }

    /// What it has seen.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Forgets every item, as a restart would.
    pub fn flush(&self) {
        self.shared.store().clear();
    }

    /// What the key holds in truth.
    pub fn value(&self, key: &[u8]) -> Option<Bytes> {
        self.shared.store().get(key).map(|item| item.value.clone())
    }
}

/// A fake memcached that listens until it is dropped or shut down.
#[derive(Debug)]
pub struct FakeMemcached {
    addr: SocketAddr,
    engine: Engine,
    orders: mpsc::Sender<(Order, oneshot::Sender<()>)>,
    task: JoinSet<()>,
}

/// What the acceptor is told.
#[derive(Debug)]
enum Order {
    Stop,
    Listen(TcpListener),
    Disconnect,
}

impl FakeMemcached {
    /// Listens at `addr`; port 0 is any free one.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let engine = Engine::default();
        let (orders, received) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&engine.shared), received));
        Ok(Self { addr, engine, orders, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The lies it tells; none at first.
    pub fn lies(&self) -> &Lies {
        self.engine.lies()
    }

    /// What it has seen.
    pub fn counters(&self) -> &Counters {
        self.engine.counters()
    }

    /// Forgets every item, as a restart would.
    pub fn flush(&self) {
        self.engine.flush();
    }

    /// What the key holds in truth.
    pub fn value(&self, key: &[u8]) -> Option<Bytes> {
        self.engine.value(key)
    }

    /// Stops listening: new connections are refused by the system, open ones stay.
    pub async fn stop_listening(&self) {
        self.order(Order::Stop).await;
    }

    /// Listens again where it did; an error if it still does.
    pub async fn resume(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.addr).await?;
        self.order(Order::Listen(listener)).await;
        Ok(())
    }

    /// Drops every open connection, and what [`LateApply`](crate::lies::Act::LateApply) has not yet carried out.
    pub async fn disconnect(&self) {
        self.order(Order::Disconnect).await;
    }

    /// Closes everything.
    pub async fn shutdown(mut self) {
        self.task.shutdown().await;
    }

    async fn order(&self, order: Order) {
        let (done, carried_out) = oneshot::channel();
        // The acceptor lives as long as this.
        if self.orders.send((order, done)).await.is_ok() {
            let _ = carried_out.await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut orders: mpsc::Receiver<(Order, oneshot::Sender<()>)>,
) {
    let mut acceptor = Some(Acceptor::new(listener));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let room = shared.counters.open() < shared.lies.limit();
        tokio::select! {
            stream = next(acceptor.as_mut()), if room => {
                let _ = stream.set_nodelay(true);
                let connection = Connection::new(stream, Arc::clone(&shared));
                connections.spawn(connection.serve(shared.lies.for_connection()));
            }
            Some((order, done)) = orders.recv() => {
                match order {
                    Order::Stop => acceptor = None,
                    Order::Listen(again) => acceptor = Some(Acceptor::new(again)),
                    Order::Disconnect => connections.shutdown().await,
                }
                let _ = done.send(());
            }
            () = shared.lies.changed() => {}
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn next(acceptor: Option<&mut Acceptor>) -> TcpStream {
    match acceptor {
        Some(acceptor) => acceptor.accept().await.0,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
