//! Which keys a workload uses.

mod hot_set;
mod scatter;
mod sequential;
mod size;
mod uniform;
mod zipf;

pub use hot_set::HotSet;
pub use scatter::Scatter;
pub use sequential::Sequential;
pub use size::KeySize;
pub use uniform::Uniform;
pub use zipf::Zipf;

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;

use crate::shard::Shard;
use crate::target::{Key, KeyError};

/// Draws key numbers for one driver. One file a distribution.
pub trait KeyDistribution: Send + Sync + fmt::Debug {
    /// A key number in `0..keys`.
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> usize;
}

/// A distribution as it is written down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyDist {
    /// Every key equally often.
    Uniform,
    /// A few keys take a fixed share of all requests.
    Hot,
    /// The key of rank `r` is drawn in proportion to `r^-exponent`.
    Zipf(f64),
    /// All keys in turn.
    Sequential,
}

/// What a distribution is spread over, and who draws from it.
#[derive(Debug, Clone, Copy)]
pub struct KeySpace {
    /// Number of keys.
    pub keys: usize,
    /// Number of hot keys; matters to [`KeyDist::Hot`].
    pub hot_keys: usize,
    /// Share (0-1) of requests to the hot keys; matters to [`KeyDist::Hot`].
    pub hot_share: f64,
    /// Which of the drivers this is.
    pub driver: usize,
    /// How many drivers there are.
    pub drivers: usize,
}

impl KeyDist {
    /// Where one driver's keys come from.
    pub fn source(self, space: KeySpace) -> Box<dyn KeyDistribution> {
        match self {
            KeyDist::Uniform => Box::new(Uniform::new(space.keys)),
            KeyDist::Hot => Box::new(HotSet::new(space.keys, space.hot_keys, space.hot_share)),
            KeyDist::Zipf(exponent) => Box::new(Zipf::new(space.keys, exponent)),
            KeyDist::Sequential => Box::new(Sequential::new(space.keys, space.driver, space.drivers)),
        }
    }
}

impl FromStr for KeyDist {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("uniform", None) => Ok(KeyDist::Uniform),
            ("hot", None) => Ok(KeyDist::Hot),
            ("sequential", None) => Ok(KeyDist::Sequential),
            ("uniform" | "hot" | "sequential", Some(_)) => {
                Err(format!("{name} takes nothing after its name; write {name}"))
            }
            ("zipf", None) => Err("zipf needs an exponent, such as zipf:0.99".to_owned()),
            ("zipf", Some(exponent)) => match exponent.parse() {
                Ok(number @ 0.0..=f64::MAX) => Ok(KeyDist::Zipf(number)),
                _ => Err(format!(
                    "zipf: the exponent {exponent:?} is not a number of at least 0, such as 0.99"
                )),
            },
            _ => Err(format!(
                "there is no key distribution {name:?}; there are: uniform, hot, zipf:EXPONENT, sequential"
            )),
        }
    }
}

impl fmt::Display for KeyDist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyDist::Uniform => f.write_str("uniform"),
            KeyDist::Hot => f.write_str("hot"),
            KeyDist::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            KeyDist::Sequential => f.write_str("sequential"),
        }
    }
}

/// All keys of a workload, rendered once so that drawing one costs no allocation.
#[derive(Debug)]
pub struct KeyTable {
    keys: Vec<Key>,
    shard: Shard,
}

impl KeyTable {
    /// Memory of a table of this number of keys, bytes.
    pub(crate) fn memory(count: usize, size: KeySize) -> u64 {
        (count as u64).saturating_mul(size.memory() as u64)
    }

    /// `count` keys `PREFIX<number>`, at least one, and dashes up to their length. The prefix must be a valid beginning
    /// of a key; it is this crate's own.
    pub fn new(prefix: &str, count: usize, size: KeySize) -> Result<Self, KeyError> {
        Self::of_shard(prefix, count, size, Shard::WHOLE)
    }

    /// The keys of [`KeyTable::new`] that belong to one shard, at least one.
    pub fn of_shard(prefix: &str, count: usize, size: KeySize, shard: Shard) -> Result<Self, KeyError> {
        let key = |(n, length): (usize, usize)| {
            let name = format!("{prefix}{n:08}");
            Key::new(format!("{name:-<length$}"))
        };
        let count = count.max(shard.number() as usize);
        let (first, step) = (shard.number() as usize - 1, shard.count() as usize);
        let all = (0..count).zip(size.lengths()).skip(first).step_by(step);
        Ok(Self { keys: all.map(key).collect::<Result<_, _>>()?, shard })
    }

    /// The number, among the keys of all shards, of key `n` of this table.
    pub fn number(&self, n: usize) -> u64 {
        (n % self.keys.len()) as u64 * u64::from(self.shard.count()) + u64::from(self.shard.number() - 1)
    }

    /// Key `n` of this table, modulo its size.
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn distributions_are_read_as_they_are_shown() {
        for text in ["uniform", "hot", "zipf:0", "zipf:0.99", "zipf:1.5", "sequential"] {
            assert_eq!(text.parse::<KeyDist>().unwrap().to_string(), text);
        }
        assert_eq!("zipf:1e1".parse(), Ok(KeyDist::Zipf(10.0)));
    }

    #[test]
    fn what_is_wrong_with_a_distribution_is_named() {
        for (text, told) in [
            ("zip", "no key distribution \"zip\"; there are: uniform, hot, zipf:EXPONENT, sequential"),
            ("", "no key distribution \"\""),
            ("zipf", "zipf needs an exponent, such as zipf:0.99"),
            ("zipf:", "exponent \"\" is not"),
            ("zipf:-1", "exponent \"-1\" is not a number of at least 0"),
            ("zipf:inf", "exponent \"inf\""),
            ("zipf:NaN", "exponent \"NaN\""),
            ("hot:3", "hot takes nothing after its name"),
        ] {
            let error = text.parse::<KeyDist>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn keys_have_their_lengths_and_differ() {
        let short = KeyTable::new("lg:k:", 3, KeySize::Short).unwrap();
        assert_eq!(short.key(5).as_bytes(), b"lg:k:00000002");
        let table = KeyTable::new("lg:k:", 1_000, KeySize::Etc).unwrap();
        let keys: std::collections::BTreeSet<_> = (0..1_000).map(|n| table.key(n).to_string()).collect();
        assert_eq!(keys.len(), 1_000);
        // A table of another size has the same keys.
        let smaller = KeyTable::new("lg:k:", 10, KeySize::Etc).unwrap();
        assert!((0..10).all(|n| smaller.key(n) == table.key(n)));
        for (n, length) in KeySize::Etc.lengths().take(1_000).enumerate() {
            assert_eq!(table.key(n).as_bytes().len(), length.max(13));
        }
    }

    #[test]
    fn shards_have_the_keys_of_the_whole_between_them() {
        let whole = KeyTable::new("lg:k:", 100, KeySize::Etc).unwrap();
        for shard in ["1/3", "2/3", "3/3"] {
            let shard: Shard = shard.parse().unwrap();
            let part = KeyTable::of_shard("lg:k:", 100, KeySize::Etc, shard).unwrap();
            assert_eq!(part.len(), shard.numbers(100).count());
            for (n, number) in shard.numbers(100).enumerate() {
                assert_eq!((part.number(n), part.key(n)), (number as u64, whole.key(number)));
            }
        }
    }

    #[test]
    fn no_distribution_leaves_the_keys() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for dist in [KeyDist::Uniform, KeyDist::Hot, KeyDist::Zipf(0.99), KeyDist::Sequential] {
            for keys in [0, 1, 2, 7, 100] {
                let space = KeySpace { keys, hot_keys: 10, hot_share: 0.3, driver: 3, drivers: 4 };
                let mut source = dist.source(space);
                assert!((0..1_000).all(|_| source.draw(&mut rng) < keys.max(1)), "{dist} over {keys} keys");
            }
        }
    }
}
