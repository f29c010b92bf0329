//! One of several load generators that share an experiment: each has its part of the rate, the concurrency and the
//! keys, so that what one oracle sees is all that happens to its keys.

use std::fmt;
use std::str::FromStr;

use crate::arrivals::Arrivals;

/// Most shards: each needs a counter of its own.
pub(crate) const SHARDS_MAX: u32 = 64;

/// Which part of an experiment this is. As text: `1/3` to `3/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: u32,
    count: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// From 1.
    pub fn number(self) -> u32 {
        self.index + 1
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The numbers below `total` that are this shard's: those with the remainder of its index.
    pub fn numbers(self, total: usize) -> impl ExactSizeIterator<Item = usize> {
        (self.index as usize..total).step_by(self.count as usize)
    }

    /// Its part of `total`, at least 1; the parts of all shards add up to it.
    pub(crate) fn part(self, total: usize) -> usize {
        self.numbers(total).len().max(1)
    }

    /// Its part of a rate.
    pub(crate) fn arrivals(self, arrivals: Arrivals) -> Arrivals {
        arrivals.share(self.count as usize)
    }

    /// The random stream of driver `driver`; no two drivers of an experiment have the same.
    pub(crate) fn stream(self, driver: usize) -> u64 {
        (u64::from(self.index) << 32) + driver as u64 + 1
    }

    /// A seed of its own out of the common one; the first shard's is the common one.
    pub fn seed(self, seed: u64) -> u64 {
        seed ^ u64::from(self.index).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not I/N with 1 <= I <= N <= {SHARDS_MAX}, such as 2/3");
        let (number, count) = text.split_once('/').ok_or_else(bad)?;
        match (number.parse::<u32>(), count.parse::<u32>()) {
            (Ok(number @ 1..), Ok(count @ 1..=SHARDS_MAX)) if number <= count => {
                Ok(Self { index: number - 1, count })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shards(count: u32) -> impl Iterator<Item = Shard> {
        (1..=count).map(move |n| format!("{n}/{count}").parse().unwrap())
    }

    #[test]
    fn shards_are_written_as_parts() {
        assert_eq!("1/1".parse(), Ok(Shard::WHOLE));
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
        for bad in ["", "1", "/", "0/1", "2/1", "1/0", "a/b", "-1/2", "1/65", "1/2/3"] {
            let told = bad.parse::<Shard>().unwrap_err();
            assert!(told.contains("such as 2/3"), "{bad}: {told}");
        }
    }

    #[test]
    fn every_number_belongs_to_one_shard() {
        for (count, total) in [(1, 10), (3, 10), (7, 100), (64, 64)] {
            let mut all: Vec<usize> = shards(count).flat_map(|shard| shard.numbers(total)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..total).collect::<Vec<_>>());
            assert_eq!(shards(count).map(|shard| shard.part(total)).sum::<usize>(), total);
        }
        let second: Shard = "2/3".parse().unwrap();
        assert!(second.numbers(100).all(|k| k % 3 == 1));
        assert_eq!(second.arrivals(Arrivals::Constant(300.0)), Arrivals::Constant(100.0));
    }

    #[test]
    fn no_two_drivers_draw_from_the_same_stream() {
        let streams: BTreeSet<u64> =
            shards(64).flat_map(|shard| (0..16).map(move |driver| shard.stream(driver))).collect();
        assert_eq!(streams.len(), 64 * 16);
        assert_eq!(Shard::WHOLE.stream(0), 1);
        let seeds: BTreeSet<u64> = shards(64).map(|shard| shard.seed(7)).collect();
        assert_eq!((seeds.len(), Shard::WHOLE.seed(7)), (64, 7));
    }
}
