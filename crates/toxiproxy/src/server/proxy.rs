//! One proxy: listener, connections, and the toxics that act on all of them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dose::Dose;
use super::link::{self, CHANGES_MAX, Request};
use super::pipe::{Change, Pipe, Spec};
use crate::toxics::RESET_PEER;
use crate::wire::{self, DoseCounters, Stream};

/// Limit of a dial; the stock server has none and blocks its accept loop meanwhile.
const DIAL: Duration = Duration::from_secs(30);
/// Limit for all links to take a change. They do not block, so only a machine in distress needs it.
const CHANGE: Duration = Duration::from_secs(5);
/// Queue of connections that are not accepted yet.
const BACKLOG: i32 = 1024;

/// Why a proxy cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// The listen text is no address.
    #[error("{0}")]
    BadListen(String),
    /// The address cannot be bound.
    #[error("listen tcp {addr}: bind: {error}")]
    Bind {
        /// Which.
        addr: String,
        /// What the system said, in the stock server's words.
        error: String,
    },
}

pub(super) struct Proxy {
    pub(super) name: String,
    seed: u64,
    dose: Arc<Dose>,
    connections: AtomicU64,
    state: Mutex<ProxyState>,
}

struct ProxyState {
    listen: String,
    upstream: String,
    running: Option<Running>,
    toxics: Vec<(Stream, String, Spec)>,
    links: HashMap<u64, [mpsc::Sender<Request>; 2]>,
}

struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    pub(super) fn new(name: String, listen: String, upstream: String, seed: u64) -> Arc<Self> {
        let state = ProxyState { listen, upstream, running: None, toxics: Vec::new(), links: HashMap::new() };
        Arc::new(Self {
            name,
            seed,
            dose: Arc::default(),
            connections: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    pub(super) fn dose(&self) -> DoseCounters {
        self.dose.read_out()
    }

    pub(super) async fn show(&self) -> wire::Proxy {
        let state = self.state.lock().await;
        wire::Proxy {
            name: self.name.clone(),
            listen: state.listen.clone(),
            upstream: state.upstream.clone(),
            enabled: state.running.is_some(),
            toxics: state.shown(),
        }
    }

    /// Starts to listen; nothing happens when it does already.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), ProxyError> {
        let mut state = self.state.lock().await;
        self.start_locked(&mut state).await
    }

    async fn start_locked(self: &Arc<Self>, state: &mut ProxyState) -> Result<(), ProxyError> {
        if state.running.is_some() {
            return Ok(());
        }
        let (listener, addr) = bind(&state.listen).await?;
        state.listen = addr.to_string();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let proxy = Arc::clone(self);
        tasks.spawn(proxy.accept(listener, stop.clone(), tasks.clone()));
        state.running = Some(Running { stop, tasks });
        Ok(())
    }

    /// Stops listening, then closes all connections, and waits for them.
    pub(super) async fn stop(&self) {
        let mut state = self.state.lock().await;
        let running = state.running.take();
        state.links.clear();
        drop(state);
        if let Some(Running { stop, tasks }) = running {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
        }
    }

    /// Takes over new settings; `None` keeps a value. A change of address or upstream drops all connections.
    pub(super) async fn update(self: &Arc<Self>, update: wire::ProxyUpdate) -> Result<(), ProxyError> {
        let (listen, upstream, enabled) = {
            let state = self.state.lock().await;
            let enabled = update.enabled.unwrap_or(state.running.is_some());
            (state.listen.clone(), state.upstream.clone(), enabled)
        };
        let new_listen = update.listen.unwrap_or_else(|| listen.clone());
        let moved = new_listen != listen && resolve(&new_listen).await?.to_string() != listen;
        let new_upstream = update.upstream.unwrap_or_else(|| upstream.clone());
        if moved || new_upstream != upstream {
            self.stop().await;
            let mut state = self.state.lock().await;
            if moved {
                state.listen = new_listen;
            }
            state.upstream = new_upstream;
        }
        if enabled {
            return self.start().await;
        }
        self.stop().await;
        Ok(())
    }

    /// Would these settings change it?
    pub(super) async fn differs(&self, listen: &str, upstream: &str) -> bool {
        let resolved = resolve(listen).await.map_or_else(|_| listen.to_owned(), |addr| addr.to_string());
        let state = self.state.lock().await;
        // Compared as resolved: the stock server takes every wildcard for a change.
        (resolved != state.listen && listen != state.listen) || upstream != state.upstream
    }

    /// The toxic of that name.
    pub(super) async fn spec(&self, name: &str) -> Option<Spec> {
        let state = self.state.lock().await;
        state.toxics.iter().map(|(_, _, spec)| spec).find(|spec| spec.name == name).cloned()
    }

    pub(super) async fn toxics(&self) -> Vec<wire::Toxic> {
        self.state.lock().await.shown()
    }

    /// Adds a toxic; `false` when the name is taken. `stream_text` is shown as it was written.
    pub(super) async fn add_toxic(&self, stream: Stream, stream_text: String, spec: Spec) -> bool {
        let mut state = self.state.lock().await;
        if state.toxics.iter().any(|(_, _, other)| other.name == spec.name) {
            return false;
        }
        state.toxics.push((stream, stream_text, spec.clone()));
        self.change(&mut state, stream, Change::Add(spec)).await;
        true
    }

    /// Changes a toxic by `with`; `None` when there is none of that name.
    pub(super) async fn update_toxic(&self, name: &str, with: impl FnOnce(&mut Spec)) -> Option<wire::Toxic> {
        let mut state = self.state.lock().await;
        let index = state.toxics.iter().position(|(_, _, spec)| spec.name == name)?;
        let (stream, _, spec) = &mut state.toxics[index];
        with(spec);
        let (stream, spec) = (*stream, spec.clone());
        self.change(&mut state, stream, Change::Update(spec)).await;
        Some(state.show(index))
    }

    /// Removes a toxic; `false` when there is none of that name.
    pub(super) async fn remove_toxic(&self, name: &str) -> bool {
        let mut state = self.state.lock().await;
        let Some(index) = state.toxics.iter().position(|(_, _, spec)| spec.name == name) else {
            return false;
        };
        let (stream, _, spec) = state.toxics.remove(index);
        self.change(&mut state, stream, Change::Remove(spec.name)).await;
        true
    }

    /// Removes all toxics.
    pub(super) async fn clear_toxics(&self) {
        for toxic in self.toxics().await {
            self.remove_toxic(&toxic.name).await;
        }
    }

    /// Has every open link of `stream` take the change, in parallel, and waits until they have.
    async fn change(&self, state: &mut ProxyState, stream: Stream, change: Change) {
        let taken = state.links.values().map(|links| {
            let (change, link) = (change.clone(), links[stream as usize].clone());
            async move {
                let (done, taken) = oneshot::channel();
                // Errors mean that the link has just ended.
                if link.send((change, done)).await.is_ok() {
                    let _ = taken.await;
                }
            }
        });
        if timeout(CHANGE, join_all(taken)).await.is_err() {
            tracing::error!(proxy = self.name, "some links did not take a change within {CHANGE:?}");
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => {
                    let (proxy, stop) = (Arc::clone(&self), stop.clone());
                    tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = proxy.connection(client) => {}
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(proxy = self.name, %error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn connection(&self, client: TcpStream) {
        let upstream = self.state.lock().await.upstream.clone();
        let server = match timeout(DIAL, TcpStream::connect(&upstream)).await {
            Ok(Ok(server)) => server,
            Ok(Err(error)) => return tracing::debug!(proxy = self.name, upstream, %error, "dial"),
            Err(_) => return tracing::debug!(proxy = self.name, upstream, "dial: no answer within {DIAL:?}"),
        };
        for socket in [&client, &server] {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
        }
        let (client, server) = (Arc::new(client), Arc::new(server));
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let [up, down] = Stream::ALL.map(|_| mpsc::channel::<Request>(CHANGES_MAX));
        let (mut up_changes, mut down_changes) = (up.1, down.1);
        let (up_pipe, down_pipe) = {
            // Under the lock, so that no change falls between building a chain and being told of changes.
            let mut state = self.state.lock().await;
            if state.running.is_none() {
                return;
            }
            if state.toxics.iter().any(|(_, _, spec)| spec.kind.name == RESET_PEER) {
                for socket in [&client, &server] {
                    // From now on every close of this connection is a reset.
                    if let Err(error) = SockRef::from(&**socket).set_linger(Some(Duration::ZERO)) {
                        tracing::debug!(%error, "SO_LINGER");
                    }
                }
            }
            state.links.insert(number, [up.0, down.0]);
            let pipe =
                |stream| Pipe::new(&state.chain(stream), self.rng(number, stream), Arc::clone(&self.dose));
            (pipe(Stream::Upstream), pipe(Stream::Downstream))
        };
        // Whichever direction ends first ends the connection: there is no half-close.
        tokio::select! {
            () = link::run(Arc::clone(&client), Arc::clone(&server), up_pipe, &mut up_changes) => {}
            () = link::run(Arc::clone(&server), Arc::clone(&client), down_pipe, &mut down_changes) => {}
        }
        drop((client, server, up_changes, down_changes));
        self.state.lock().await.links.remove(&number);
    }

    /// The same seed, proxy, connection and direction: the same dice. Any other: independent ones.
    fn rng(&self, connection: u64, stream: Stream) -> ChaCha8Rng {
        let name = self.name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ name.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.set_stream(connection * 2 + stream as u64);
        rng
    }
}

impl ProxyState {
    fn chain(&self, stream: Stream) -> Vec<Spec> {
        self.toxics.iter().filter(|(of, _, _)| *of == stream).map(|(_, _, spec)| spec.clone()).collect()
    }

    fn shown(&self) -> Vec<wire::Toxic> {
        let of = |stream| (0..self.toxics.len()).filter(move |index| self.toxics[*index].0 == stream);
        of(Stream::Upstream).chain(of(Stream::Downstream)).map(|index| self.show(index)).collect()
    }

    fn show(&self, index: usize) -> wire::Toxic {
        let (_, stream, spec) = &self.toxics[index];
        wire::Toxic {
            name: spec.name.clone(),
            kind: spec.kind.name.to_owned(),
            stream: stream.clone(),
            toxicity: spec.toxicity,
            attributes: spec.attributes.clone(),
        }
    }
}

/// The address that a listen text means: IPv4 first for names, `[::]` for all interfaces.
async fn resolve(listen: &str) -> Result<SocketAddr, ProxyError> {
    let bad = |text: &str, why: &str| ProxyError::BadListen(format!("address {text}: {why}"));
    if listen.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    }
    let (host, port) = listen.rsplit_once(':').ok_or_else(|| bad(listen, "missing port in address"))?;
    let port: u16 = port.parse().map_err(|_| bad(port, "invalid port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => return Err(ProxyError::BadListen(format!("lookup {host}: {error}"))),
    };
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    let addr = *first.ok_or_else(|| bad(listen, "no such host"))?;
    Ok(if addr.ip().is_unspecified() { SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port())) } else { addr })
}

async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), ProxyError> {
    let addr =
        resolve(listen).await.map_err(|error| ProxyError::BadListen(format!("listen tcp: {error}")))?;
    let open = |addr: SocketAddr| -> io::Result<(TcpListener, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    };
    let bound = match open(addr) {
        // A machine without IPv6.
        Err(error)
            if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse =>
        {
            open(SocketAddr::from(([0, 0, 0, 0], addr.port())))
        }
        done => done,
    };
    bound.map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => "address already in use".to_owned(),
            io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        ProxyError::Bind { addr: addr.to_string(), error: text }
    })
}
