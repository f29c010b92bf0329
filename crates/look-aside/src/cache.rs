//! What a look-aside cache must do, and one in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock;

/// What the cache says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It has it.
    Hit,
    /// It does not have it.
    Miss,
    /// It does not say.
    Failed,
}

/// A cache of numbered keys.
pub trait Cache: std::fmt::Debug + Send + Sync + 'static {
    /// Reads a key.
    fn get(&self, key: usize) -> impl Future<Output = Lookup> + Send;
    /// Writes a key.
    fn fill(&self, key: usize) -> impl Future<Output = ()> + Send;
}

/// A cache in memory of nodes that may be down; it answers at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory {
    nodes: Arc<Mutex<Vec<Node>>>,
    ttl: Duration,
    failover: bool,
}

#[derive(Debug)]
struct Node {
    up: bool,
    /// By key: until when it is there.
    until: Vec<Option<Instant>>,
}

impl Memory {
    /// An empty cache of `nodes` nodes; key `k` lives on node `k % nodes`. With `failover` the next node stands in
    /// for one that is down.
    pub fn new(nodes: usize, keys: usize, ttl: Duration, failover: bool) -> Self {
        let nodes = (0..nodes.max(1)).map(|_| Node { up: true, until: vec![None; keys] }).collect();
        Self { nodes: Arc::new(Mutex::new(nodes)), ttl, failover }
    }

    /// Puts a key there for so long.
    pub fn put(&self, key: usize, ttl: Duration) {
        let mut nodes = lock(&self.nodes);
        if let Some(node) = self.home(&nodes, key) {
            nodes[node].until[key] = Some(Instant::now() + ttl);
        }
    }

    /// Removes the keys that `which` says.
    pub fn flush(&self, mut which: impl FnMut(usize) -> bool) {
        for node in lock(&self.nodes).iter_mut() {
            for (key, until) in node.until.iter_mut().enumerate() {
                if until.is_some() && which(key) {
                    *until = None;
                }
            }
        }
    }

    /// Takes a node away, with all that it has, or brings it back empty.
    pub fn set_up(&self, node: usize, up: bool) {
        if let Some(node) = lock(&self.nodes).get_mut(node) {
            node.up = up;
            node.until.fill(None);
        }
    }

    /// The node that answers for a key.
    fn home(&self, nodes: &[Node], key: usize) -> Option<usize> {
        let n = nodes.len();
        let tried = if self.failover { n } else { 1 };
        (0..tried).map(|step| (key + step) % n).find(|node| nodes[*node].up)
    }
}

impl Cache for Memory {
    async fn get(&self, key: usize) -> Lookup {
        let nodes = lock(&self.nodes);
        match self.home(&nodes, key) {
            None => Lookup::Failed,
            Some(node) => match nodes[node].until[key] {
                Some(until) if Instant::now() < until => Lookup::Hit,
                _ => Lookup::Miss,
            },
        }
    }

    async fn fill(&self, key: usize) {
        self.put(key, self.ttl);
    }
}
