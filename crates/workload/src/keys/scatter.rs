//! Which key has which rank: hot keys must not be neighbours in the table.

/// A fixed permutation of `0..keys`: rank times a stride near `keys / φ` that has no common divisor with `keys`.
/// Multiples of the golden ratio spread more evenly than those of any other number, so the first ranks lie far
/// from each other however many of them one calls hot.
#[derive(Debug, Clone, Copy)]
pub struct Scatter {
    keys: usize,
    stride: usize,
}

/// 1 / φ.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Scatter {
    /// Over `0..keys`; at least one key.
    pub fn new(keys: usize) -> Self {
        let keys = keys.max(1);
        // Ends at `keys + 1` at the latest, a few steps on in practice.
        let mut stride = ((keys as f64 * GOLDEN) as usize).max(1);
        while common_divisor(stride, keys) != 1 {
            stride += 1;
        }
        Self { keys, stride }
    }

    /// The key of rank `rank`, counted from 0.
    pub fn key(&self, rank: usize) -> usize {
        // 128 bits: the product of two numbers below `keys` may not fit into 64.
        (rank as u128 * self.stride as u128 % self.keys as u128) as usize
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_exactly_one_rank() {
        for keys in (1..200).chain([1_000, 4_096, 9_973, 10_000, 30_030, 100_000]) {
            let scatter = Scatter::new(keys);
            let mut seen = vec![false; keys];
            for rank in 0..keys {
                let key = scatter.key(rank);
                assert!(!std::mem::replace(&mut seen[key], true), "{keys} keys: {key} twice");
            }
        }
    }

    #[test]
    fn hot_ranks_are_not_neighbours() {
        for keys in [1_000, 10_000, 65_536, 1_000_000] {
            let scatter = Scatter::new(keys);
            for hot in [2, 5, 10, 20] {
                let mut places: Vec<_> = (0..hot).map(|rank| scatter.key(rank)).collect();
                places.sort_unstable();
                let gaps = places.iter().zip(places.iter().skip(1)).map(|(a, b)| b - a);
                let nearest = gaps.min().unwrap();
                assert!(nearest * 3 * hot > keys, "{keys} keys: {hot} hot ones only {nearest} apart");
            }
        }
    }

    #[test]
    fn the_largest_table_does_not_overflow() {
        let keys = usize::MAX / 2;
        assert!(Scatter::new(keys).key(keys - 1) < keys);
    }
}
