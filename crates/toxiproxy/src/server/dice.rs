//! Dice of one link: the same seed, proxy, connection and direction give the same throws; any other, independent ones.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::wire::Stream;

/// Made when they are first thrown: a link without toxics needs none.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    stream: u64,
    rng: Option<Box<ChaCha8Rng>>,
}

impl Dice {
    /// Of connection number `connection` of `proxy`.
    pub(super) fn new(seed: u64, proxy: &str, connection: u64, stream: Stream) -> Self {
        // FNV-1a.
        let name = proxy.bytes().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let seed = seed ^ name;
        Self { seed, stream: connection.wrapping_mul(2).wrapping_add(stream as u64), rng: None }
    }

    fn rng(&mut self) -> &mut ChaCha8Rng {
        self.rng.get_or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(self.stream);
            Box::new(rng)
        })
    }

    /// Does a toxic of that toxicity act?
    pub(super) fn throw(&mut self, toxicity: f64) -> bool {
        self.rng().random::<f64>() < toxicity
    }

    /// A random source for a toxic of its own.
    pub(super) fn fork(&mut self) -> ChaCha8Rng {
        ChaCha8Rng::from_rng(self.rng())
    }
}
