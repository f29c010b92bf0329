//! The client's way onto the simulated network.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memcache_client::{Connector, Dialling, Io};
use turmoil::net::TcpStream;

/// What becomes of a dial that the simulated network does not answer. By itself it refuses those whose first message is
/// lost, and never answers for a host that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nobody says anything.
    Hangs,
    /// The host is there, the process is not.
    Refused,
}

/// Faults of dials, by name of the client and address of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dials {
    faults: Arc<Mutex<BTreeMap<(String, String), Unanswered>>>,
}

impl Dials {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Unanswered>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, client: &str, addr: &str, fault: Option<Unanswered>) {
        let at = (client.to_owned(), addr.to_owned());
        match fault {
            Some(fault) => self.lock().insert(at, fault),
            None => self.lock().remove(&at),
        };
    }
}

/// Dials from one client's host.
pub(crate) struct Network {
    client: String,
    dials: Dials,
}

impl Network {
    pub(crate) fn new(client: &str, dials: Dials) -> Self {
        Self { client: client.to_owned(), dials }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Connector for Network {
    fn connect(&self, addr: &str) -> Dialling {
        let (dials, at) = (self.dials.clone(), (self.client.clone(), addr.to_owned()));
        Box::pin(async move {
            if dials.lock().get(&at) == Some(&Unanswered::Refused) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            match TcpStream::connect(at.1.as_str()).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Io>),
                Err(_) if dials.lock().get(&at) == Some(&Unanswered::Hangs) => pending().await,
                Err(error) => Err(error),
            }
        })
    }
}
