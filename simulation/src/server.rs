//! A host that runs the fake. A restart begins with an empty store.

use std::sync::{Arc, Mutex, PoisonError};

use memcached_fake::Engine;
use memcached_fake::lies::Lie;
use turmoil::net::TcpListener;

/// Where all servers listen.
pub(crate) const PORT: u16 = 11211;

/// One server over all its restarts.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: String,
    /// Told from the start of each run.
    pub(crate) born_with: Vec<Lie>,
    engine: Arc<Mutex<Engine>>,
}

impl Machine {
    pub(crate) fn new(index: usize, born_with: Vec<Lie>) -> Self {
        Self { name: format!("server-{index}"), born_with, engine: Arc::default() }
    }

    /// As clients know it.
    pub(crate) fn addr(&self) -> String {
        format!("{}:{PORT}", self.name)
    }

    /// What runs there now, or ran last.
    pub(crate) fn engine(&self) -> Engine {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves from an empty store.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let engine = Engine::default();
        engine.lies().set(self.born_with.iter().cloned());
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = engine.clone();
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let engine = engine.clone();
            // A crash drops these in a fixed order, which a runtime's own tasks do not have.
            tokio::task::spawn_local(async move { engine.serve(stream).await });
        }
    }
}
