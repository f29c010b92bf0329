//! All keys in turn, shared out over the drivers.

use rand_chacha::ChaCha8Rng;

use super::KeyDistribution;

/// One driver's keys: those whose number leaves its index as remainder by the number of drivers. In one round of
/// all drivers each key comes exactly once. With fewer keys than drivers, some drivers share a key.
#[derive(Debug, Clone, Copy)]
pub struct Sequential {
    keys: usize,
    first: usize,
    stride: usize,
    next: usize,
}

impl Sequential {
    /// The part of driver number `driver` of `drivers` in `0..keys`; at least one key and one driver.
    pub fn new(keys: usize, driver: usize, drivers: usize) -> Self {
        let (keys, stride) = (keys.max(1), drivers.max(1));
        let first = driver % stride % keys;
        Self { keys, first, stride, next: first }
    }
}

impl KeyDistribution for Sequential {
    fn draw(&mut self, _: &mut ChaCha8Rng) -> usize {
        let key = self.next;
        self.next = match key.checked_add(self.stride) {
            Some(next) if next < self.keys => next,
            _ => self.first,
        };
        key
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_round_of_all_drivers_visits_each_key_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (keys, drivers) in [(1, 1), (10, 1), (10, 3), (12, 4), (7, 7), (1_001, 4)] {
            let mut sources: Vec<_> = (0..drivers).map(|n| Sequential::new(keys, n, drivers)).collect();
            for round in 0..3 {
                let mut visits = vec![0; keys];
                for (driver, source) in sources.iter_mut().enumerate() {
                    // The numbers in 0..keys that leave `driver` as remainder.
                    for _ in 0..(keys - driver).div_ceil(drivers) {
                        visits[source.draw(&mut rng)] += 1;
                    }
                }
                assert!(visits.iter().all(|n| *n == 1), "{keys} keys, {drivers} drivers, round {round}");
            }
        }
    }

    #[test]
    fn one_driver_goes_in_order_and_begins_again() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut source = Sequential::new(8, 1, 3);
        assert_eq!((0..5).map(|_| source.draw(&mut rng)).collect::<Vec<_>>(), [1, 4, 7, 1, 4]);
    }

    #[test]
    fn drivers_beyond_the_keys_share_them() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let firsts = (0..5).map(|n| Sequential::new(2, n, 5).draw(&mut rng));
        assert_eq!(firsts.collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
    }
}
