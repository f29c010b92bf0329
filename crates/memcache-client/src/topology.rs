//! Which servers there are, and in which order a key tries them. Replaced as a whole when the list changes: an op
//! keeps the one that it began with.

use std::sync::Arc;

use crate::router::{Candidates, Router};
use crate::server::Server;

pub(crate) struct Topology {
    /// Everybody that was ever a server, by index; an index is never given to another name.
    pub(crate) servers: Vec<Arc<Server>>,
    homes: Group,
    /// Stand-ins; without them, the other homes stand in.
    gutter: Option<Group>,
}

/// Servers that share keys.
struct Group {
    router: Router,
    /// Index of each server of the router.
    indices: Vec<usize>,
}

impl Group {
    fn new(servers: &[Arc<Server>], indices: Vec<usize>) -> Self {
        Self {
            router: Router::new(indices.iter().map(|&index| servers[index].addr().name.as_str())),
            indices,
        }
    }

    fn candidates(&self, key: &[u8]) -> Candidates {
        let mut candidates = self.router.candidates(key);
        candidates.iter_mut().for_each(|place| *place = self.indices[*place]);
        candidates
    }
}

impl Topology {
    /// `active`: indices of the servers that are on the list now; `gutter`: names of those that only stand in.
    pub(crate) fn new(servers: Vec<Arc<Server>>, active: &[usize], gutter: &[String]) -> Self {
        let stands_in = |index: &usize| gutter.contains(&servers[*index].addr().name);
        let (gutter, homes): (Vec<usize>, Vec<usize>) = active.iter().partition(|index| stands_in(index));
        Self {
            homes: Group::new(&servers, homes),
            gutter: (!gutter.is_empty()).then(|| Group::new(&servers, gutter)),
            servers,
        }
    }

    /// Indices of servers in the order in which a key tries them, the home first.
    pub(crate) fn candidates(&self, key: &[u8]) -> Candidates {
        match &self.gutter {
            None => self.homes.candidates(key),
            Some(gutter) => {
                let mut candidates = Candidates::from_slice(&[self.home(key)]);
                candidates.extend(gutter.candidates(key));
                candidates
            }
        }
    }

    /// Servers that a key has to try at most.
    pub(crate) fn tries(&self) -> usize {
        self.gutter.as_ref().map_or(self.homes.indices.len(), |gutter| 1 + gutter.indices.len())
    }

    /// Index of the key's home.
    pub(crate) fn home(&self, key: &[u8]) -> usize {
        self.homes.indices[self.homes.router.home(key)]
    }
}
