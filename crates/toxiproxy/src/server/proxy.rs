//! One proxy: listener, connections, and the toxics that act on all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use descriptors::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Change, Connection};
use super::dose::Dose;
use super::lanes::{Lane, Lanes};
use super::listen::{self, ListenError};
use super::pipe::Spec;
use super::upstream;
use crate::toxics::RESET_PEER;
use crate::wire::{self, LinkDose, ProxyDose, Stream};

/// As Go's default.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What all proxies of a server have in common.
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) lanes: Lanes,
}

pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) dose: Arc<Dose>,
    shared: Arc<Shared>,
    connections: AtomicU64,
    /// Held while it is started, stopped or updated: one at a time.
    running: tokio::sync::Mutex<Life>,
    state: Mutex<ProxyState>,
}

struct ProxyState {
    listen: String,
    upstream: String,
    enabled: bool,
    toxics: Vec<Toxic>,
    open: HashMap<u64, Arc<Connection>>,
}

struct Toxic {
    stream: Stream,
    /// As it was written.
    stream_text: String,
    spec: Arc<Spec>,
}

#[derive(Default)]
struct Life {
    running: Option<Running>,
    /// Deleted or replaced: whoever still holds it must not start it again.
    retired: bool,
}

struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    pub(super) fn new(name: String, listen: String, upstream: String, shared: Arc<Shared>) -> Arc<Self> {
        let state = ProxyState { listen, upstream, enabled: false, toxics: Vec::new(), open: HashMap::new() };
        Arc::new(Self {
            name,
            dose: Arc::default(),
            shared,
            connections: AtomicU64::new(0),
            running: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// Never held across an await.
    fn state(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self) -> wire::Proxy {
        let state = self.state();
        wire::Proxy {
            name: self.name.clone(),
            listen: state.listen.clone(),
            upstream: state.upstream.clone(),
            enabled: state.enabled,
            toxics: state.shown(),
        }
    }

    /// What toxics have touched, in all and by direction.
    pub(super) fn dose(&self) -> ProxyDose {
        let streams = self.dose.by_stream();
        let named = Stream::ALL.map(|stream| (stream.name().to_owned(), streams[stream as usize]));
        ProxyDose { total: self.dose.read_out(), streams: named.into() }
    }

    /// What toxics have touched on each open link, by connection.
    pub(super) fn links(&self) -> Vec<LinkDose> {
        let mut open: Vec<_> = self.state().open.iter().map(|(n, one)| (*n, Arc::clone(one))).collect();
        open.sort_unstable_by_key(|(number, _)| *number);
        let of = |(connection, open): &(u64, Arc<Connection>)| {
            let (connection, counters) = (*connection, open.counters());
            Stream::ALL.map(|stream| LinkDose {
                connection,
                stream: stream.name().to_owned(),
                counters: counters[stream as usize],
            })
        };
        open.iter().flat_map(of).collect()
    }

    /// Starts to listen; nothing happens when it does already.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), ListenError> {
        self.start_locked(&mut *self.running.lock().await).await
    }

    async fn start_locked(self: &Arc<Self>, life: &mut Life) -> Result<(), ListenError> {
        if life.running.is_some() || life.retired {
            return Ok(());
        }
        let text = self.state().listen.clone();
        let (listener, addr) = listen::bind(&text).await?;
        {
            let mut state = self.state();
            state.listen = addr.to_string();
            state.enabled = true;
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(Arc::clone(self).accept(listener, stop.clone(), tasks.clone()));
        life.running = Some(Running { stop, tasks });
        Ok(())
    }

    /// Stops listening, then closes all connections, and waits for them.
    pub(super) async fn stop(&self) {
        self.stop_locked(&mut *self.running.lock().await).await;
    }

    /// Stops for good.
    pub(super) async fn retire(&self) {
        let mut life = self.running.lock().await;
        life.retired = true;
        self.stop_locked(&mut life).await;
    }

    async fn stop_locked(&self, life: &mut Life) {
        let Some(Running { stop, tasks }) = life.running.take() else { return };
        stop.cancel();
        tasks.close();
        let open = {
            let mut state = self.state();
            state.enabled = false;
            std::mem::take(&mut state.open)
        };
        open.values().for_each(|connection| connection.close());
        tasks.wait().await;
    }

    /// Takes over new settings; `None` keeps a value. A change of address or upstream drops all connections.
    pub(super) async fn update(self: &Arc<Self>, update: wire::ProxyUpdate) -> Result<(), ListenError> {
        let mut running = self.running.lock().await;
        let (listen, upstream, enabled) = {
            let state = self.state();
            (state.listen.clone(), state.upstream.clone(), update.enabled.unwrap_or(state.enabled))
        };
        let new_listen = update.listen.unwrap_or_else(|| listen.clone());
        // Resolved even when it stays: a text that is no address is refused before anything changes.
        let moved = listen::resolve(&new_listen).await?.to_string() != listen;
        let new_upstream = update.upstream.unwrap_or_else(|| upstream.clone());
        if moved || new_upstream != upstream {
            self.stop_locked(&mut running).await;
            let mut state = self.state();
            if moved {
                state.listen = new_listen;
            }
            state.upstream = new_upstream;
        }
        if enabled {
            return self.start_locked(&mut running).await;
        }
        self.stop_locked(&mut running).await;
        Ok(())
    }

    /// Would these settings change it? Compared as resolved: the stock server takes every wildcard for a change.
    pub(super) async fn differs(&self, listen: &str, upstream: &str) -> Result<bool, ListenError> {
        let resolved = listen::resolve(listen).await?.to_string();
        let state = self.state();
        Ok(resolved != state.listen || upstream != state.upstream)
    }

    pub(super) fn toxics(&self) -> Vec<wire::Toxic> {
        self.state().shown()
    }

    /// The toxic of that name.
    pub(super) fn spec(&self, name: &str) -> Option<Arc<Spec>> {
        let state = self.state();
        state.position(name).map(|index| Arc::clone(&state.toxics[index].spec))
    }

    /// Adds a toxic; `None` when the name is taken. `stream_text` is shown as it was written.
    pub(super) fn add_toxic(&self, stream: Stream, stream_text: String, spec: Spec) -> Option<wire::Toxic> {
        let mut state = self.state();
        if state.position(&spec.name).is_some() {
            return None;
        }
        let spec = Arc::new(spec);
        state.change(&Change::Add(stream, Arc::clone(&spec)));
        state.toxics.push(Toxic { stream, stream_text, spec });
        Some(state.show(state.toxics.len() - 1))
    }

    /// Changes a toxic by `with`; `None` when there is none of that name.
    pub(super) fn update_toxic(&self, name: &str, with: impl FnOnce(&mut Spec)) -> Option<wire::Toxic> {
        let mut state = self.state();
        let index = state.position(name)?;
        let mut spec = (*state.toxics[index].spec).clone();
        with(&mut spec);
        state.toxics[index].spec = Arc::new(spec);
        let change = Change::Update(Arc::clone(&state.toxics[index].spec));
        state.change(&change);
        Some(state.show(index))
    }

    /// Removes a toxic; `false` when there is none of that name.
    pub(super) fn remove_toxic(&self, name: &str) -> bool {
        let mut state = self.state();
        let Some(index) = state.position(name) else { return false };
        state.toxics.remove(index);
        state.change(&Change::Remove(name.to_owned()));
        true
    }

    /// Removes the toxics whose names begin with `prefix`; gives how many.
    pub(super) fn remove_toxics_of(&self, prefix: &str) -> usize {
        let of = self.toxics().into_iter().filter(|toxic| toxic.name.starts_with(prefix));
        of.filter(|toxic| self.remove_toxic(&toxic.name)).count()
    }

    /// Removes all toxics.
    pub(super) fn clear_toxics(&self) {
        for toxic in self.toxics() {
            self.remove_toxic(&toxic.name);
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
        let mut acceptor = Acceptor::new(listener);
        loop {
            let (client, _) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = acceptor.accept() => accepted,
            };
            // In the order of accepting, so that the same seed means the same dice.
            let number = self.connections.fetch_add(1, Ordering::Relaxed);
            let lane = Arc::clone(self.shared.lanes.of(number));
            let runtime = lane.runtime().clone();
            tasks.spawn_on(Arc::clone(&self).connection(number, client, lane, stop.clone()), &runtime);
        }
    }

    async fn connection(
        self: Arc<Self>,
        number: u64,
        client: TcpStream,
        lane: Arc<Lane>,
        stop: CancellationToken,
    ) {
        let client = match Lane::adopt(client) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(proxy = self.name, %error, "a connection is dropped");
                return;
            }
        };
        // Boxed: it is large, and gone when bytes flow.
        let dialled = Box::pin(async {
            tokio::select! {
                () = stop.cancelled() => None,
                dialled = self.dial() => dialled,
            }
        });
        let Some(server) = dialled.await else { return };
        drop(stop);
        for socket in [&client, &server] {
            let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
            let set = socket.set_nodelay(true).and(SockRef::from(socket).set_tcp_keepalive(&keep_alive));
            if let Err(error) = set {
                tracing::debug!(%error, "socket options");
            }
        }
        let Some(connection) = self.open(number, &client, &server) else { return };
        let _entered = Entered { proxy: &self, number };
        connection.run(client, server, &lane.timer).await;
    }

    async fn dial(&self) -> Option<TcpStream> {
        let upstream = self.state().upstream.clone();
        let dialled = upstream::dial(&upstream).await;
        // At error level, as the stock server: whoever watches the log must see that a server is not there.
        dialled.inspect_err(|error| tracing::error!(proxy = self.name, upstream, %error, "dial")).ok()
    }

    /// Enters a connection in the list; `None` when the proxy has stopped meanwhile.
    fn open(&self, number: u64, client: &TcpStream, server: &TcpStream) -> Option<Arc<Connection>> {
        // Under the lock, so that no change falls between building its chains and being told of changes.
        let mut state = self.state();
        if !state.enabled {
            return None;
        }
        if state.toxics.iter().any(|toxic| toxic.spec.kind.name == RESET_PEER) {
            for socket in [client, server] {
                // From now on every close of this connection is a reset.
                if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
                    tracing::debug!(%error, "SO_LINGER");
                }
            }
        }
        let toxics = state.toxics.iter().map(|toxic| (toxic.stream, Arc::clone(&toxic.spec)));
        let toxics: Vec<_> = toxics.collect();
        let connection = Connection::new(self.shared.seed, &self.name, number, &toxics, &self.dose);
        let connection = Arc::new(connection);
        state.open.insert(number, Arc::clone(&connection));
        Some(connection)
    }
}

/// A connection that is in the list; dropped however its task ends.
struct Entered<'a> {
    proxy: &'a Proxy,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.proxy.state().open.remove(&self.number);
    }
}

impl ProxyState {
    fn position(&self, name: &str) -> Option<usize> {
        self.toxics.iter().position(|toxic| toxic.spec.name == name)
    }

    /// Has every open connection take the change.
    fn change(&self, change: &Change) {
        self.open.values().for_each(|connection| connection.change(change));
    }

    fn shown(&self) -> Vec<wire::Toxic> {
        let of = |stream| (0..self.toxics.len()).filter(move |index| self.toxics[*index].stream == stream);
        of(Stream::Upstream).chain(of(Stream::Downstream)).map(|index| self.show(index)).collect()
    }

    fn show(&self, index: usize) -> wire::Toxic {
        let Toxic { stream_text, spec, .. } = &self.toxics[index];
        wire::Toxic {
            name: spec.name.clone(),
            kind: spec.kind.name.to_owned(),
            stream: stream_text.clone(),
            toxicity: spec.toxicity,
            attributes: spec.attributes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_deleted_cannot_be_started_by_whoever_still_holds_it() {
        let shared = Arc::new(Shared { seed: 1, lanes: Lanes::current() });
        let (listen, upstream) = ("127.0.0.1:0".to_owned(), "127.0.0.1:1".to_owned());
        let proxy = Proxy::new("p".to_owned(), listen, upstream, shared);
        proxy.start().await.unwrap();
        assert!(proxy.show().enabled);
        proxy.retire().await;
        proxy.start().await.unwrap();
        proxy.update(wire::ProxyUpdate { enabled: Some(true), ..Default::default() }).await.unwrap();
        assert!(!proxy.show().enabled);
        assert!(TcpStream::connect(&proxy.show().listen).await.is_err());
    }
}
