//! A few keys take a fixed share of all requests.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{KeyDistribution, Uniform};

/// A share of requests goes to the first `hot` keys, the others to all keys.
#[derive(Debug, Clone, Copy)]
pub struct HotSet {
    hot_share: f64,
    hot: Uniform,
    all: Uniform,
}

impl HotSet {
    /// `hot_share` (0-1) of requests to the keys `0..hot`, the rest uniform over `0..keys`.
    pub fn new(keys: usize, hot: usize, hot_share: f64) -> Self {
        Self { hot_share, hot: Uniform::new(hot.min(keys)), all: Uniform::new(keys) }
    }
}

impl KeyDistribution for HotSet {
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> usize {
        if rng.random_bool(self.hot_share.clamp(0.0, 1.0)) { self.hot.draw(rng) } else { self.all.draw(rng) }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn thirty_percent_of_requests_go_to_ten_keys() {
        let (keys, hot, n) = (10_000, 10, 200_000);
        let mut distribution = HotSet::new(keys, hot, 0.3);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut counts = vec![0u32; keys];
        for _ in 0..n {
            counts[distribution.draw(&mut rng)] += 1;
        }
        let hot_share = f64::from(counts[..hot].iter().sum::<u32>()) / f64::from(n);
        // 30 % and the hot keys' part of the uniform rest.
        let expected = 0.3 + 0.7 * hot as f64 / keys as f64;
        assert!((hot_share - expected).abs() < 0.005, "{hot_share} instead of {expected}");
        // The rest is uniform: chi-square over 100 bins of cold keys, 99 degrees of freedom, p = 0.001.
        let cold = &counts[hot..keys];
        let bins: Vec<f64> =
            cold.chunks(cold.len().div_ceil(100)).map(|c| f64::from(c.iter().sum::<u32>())).collect();
        let total: f64 = bins.iter().sum();
        let chi: f64 = cold
            .chunks(cold.len().div_ceil(100))
            .zip(&bins)
            .map(|(chunk, seen)| {
                let expected = total * chunk.len() as f64 / cold.len() as f64;
                (seen - expected).powi(2) / expected
            })
            .sum();
        assert!(chi < 148.2, "chi-square {chi}");
    }

    #[test]
    fn more_hot_keys_than_keys_is_all_keys() {
        let mut distribution = HotSet::new(3, 10, 1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        assert!((0..100).all(|_| distribution.draw(&mut rng) < 3));
    }
}
