//! Which keys a workload uses.

mod hot_set;
mod uniform;

pub use hot_set::HotSet;
pub use uniform::Uniform;

use memcache_client::Key;
use rand_chacha::ChaCha8Rng;

/// Draws key numbers. One file a distribution.
pub trait KeyDistribution: Send + Sync + std::fmt::Debug {
    /// A key number in `0..keys`.
    fn draw(&self, rng: &mut ChaCha8Rng) -> usize;
}

/// All keys of a workload, rendered once so that drawing one costs no allocation.
#[derive(Debug)]
pub struct KeyTable {
    keys: Vec<Key>,
}

impl KeyTable {
    /// `count` keys `PREFIX<number>`, at least one. The prefix must be a valid beginning of a key; it is this crate's own.
    pub fn new(prefix: &str, count: usize) -> Result<Self, memcache_client::KeyError> {
        let keys =
            (0..count.max(1)).map(|n| Key::new(format!("{prefix}{n:08}"))).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Key number `n`, modulo the size of the table.
    pub fn key(&self, n: usize) -> Key {
        self.keys[n % self.keys.len()].clone()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a table has at least one key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
