//! Every key equally often.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::KeyDistribution;

/// Uniform over `0..keys`.
#[derive(Debug, Clone, Copy)]
pub struct Uniform {
    keys: usize,
}

impl Uniform {
    /// Over `0..keys`; at least one key.
    pub fn new(keys: usize) -> Self {
        Self { keys: keys.max(1) }
    }
}

impl KeyDistribution for Uniform {
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> usize {
        rng.random_range(0..self.keys)
    }
}
