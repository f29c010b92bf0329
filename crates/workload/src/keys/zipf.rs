//! Few keys are popular, many are rare: Zipf's law.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{KeyDistribution, Scatter};

/// The key of rank `r` (from 1) is drawn with a probability in proportion to `r^-exponent`, for any exponent of at
/// least 0; 0 is uniform. Ranks are scattered over the table.
///
/// Rejection-inversion: exact, without a table, a draw takes as long for many keys as for few. W. Hörmann and
/// G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3),
/// 1996, pages 169-184.
#[derive(Debug, Clone, Copy)]
pub struct Zipf {
    ranks: f64,
    exponent: f64,
    /// Area below the hat up to the middle between the last rank and the one beyond.
    area_end: f64,
    /// Where the hat's area begins, such that rank 1 has exactly its probability.
    area_begin: f64,
    /// A rank that exceeds the inverted point by at most this is accepted without a look at the probability.
    shortcut: f64,
    scatter: Scatter,
}

impl Zipf {
    /// Over `0..keys`, at least one key. An exponent below 0 counts as 0.
    pub fn new(keys: usize, exponent: f64) -> Self {
        let keys = keys.max(1);
        let exponent = exponent.max(0.0);
        let hat = Hat { exponent };
        Self {
            ranks: keys as f64,
            exponent,
            area_end: hat.area(keys as f64 + 0.5),
            area_begin: hat.area(1.5) - 1.0,
            shortcut: 2.0 - hat.inverse(hat.area(2.5) - hat.height(2.0)),
            scatter: Scatter::new(keys),
        }
    }

    /// A rank from 1.
    fn rank(&self, rng: &mut ChaCha8Rng) -> f64 {
        let hat = Hat { exponent: self.exponent };
        loop {
            let area = self.area_end + rng.random::<f64>() * (self.area_begin - self.area_end);
            let point = hat.inverse(area);
            let rank = (point + 0.5).floor().clamp(1.0, self.ranks);
            if rank - point <= self.shortcut || area >= hat.area(rank + 0.5) - hat.height(rank) {
                return rank;
            }
        }
    }
}

impl KeyDistribution for Zipf {
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> usize {
        self.scatter.key(self.rank(rng) as usize - 1)
    }
}

/// The continuous curve `x^-exponent` that lies around the ranks' probabilities.
#[derive(Debug, Clone, Copy)]
struct Hat {
    exponent: f64,
}

impl Hat {
    fn height(self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Its integral from 1 to `x`: `(x^(1-e) - 1) / (1-e)`, and `ln x` for an exponent of 1; smooth in between.
    fn area(self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over((1.0 - self.exponent) * log) * log
    }

    /// The `x` up to which the area is `area`.
    fn inverse(self, area: f64) -> f64 {
        // Rounding may lead below the only possible value, where the logarithm has none.
        let scaled = (area * (1.0 - self.exponent)).max(-1.0);
        (ln_1p_over(scaled) * area).exp()
    }
}

/// `(e^x - 1) / x`.
fn exp_m1_over(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { x.exp_m1() / x }
}

/// `ln(1 + x) / x`.
fn ln_1p_over(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { x.ln_1p() / x }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// How often each rank came.
    fn counts(keys: usize, exponent: f64, draws: u32) -> Vec<f64> {
        let mut zipf = Zipf::new(keys, exponent);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut by_key = vec![0.0; keys];
        for _ in 0..draws {
            by_key[zipf.draw(&mut rng)] += 1.0;
        }
        (0..keys).map(|rank| by_key[zipf.scatter.key(rank)]).collect()
    }

    fn probabilities(keys: usize, exponent: f64) -> Vec<f64> {
        let weights: Vec<f64> = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    #[test]
    fn ranks_come_with_exactly_their_probabilities() {
        for (keys, exponent) in
            [0.0, 0.5, 0.99, 1.0, 1.5, 3.0].into_iter().flat_map(|e| [(1, e), (2, e), (3, e), (1_000, e)])
        {
            let draws = 200_000;
            let seen = counts(keys, exponent, draws);
            let n = f64::from(draws);
            // Neighbouring ranks are pooled until chi-square holds: 20 expected in a bin. What is left at the end
            // belongs to the last bin.
            let mut bins: Vec<(f64, f64)> = Vec::new();
            let mut open = (0.0, 0.0);
            for (rank, (seen, p)) in seen.iter().zip(probabilities(keys, exponent)).enumerate() {
                let sigma = (n * p * (1.0 - p)).sqrt();
                let off = seen - n * p;
                // Below 20 expected the normal bound says nothing.
                assert!(
                    n * p < 20.0 || off.abs() <= 5.0 * sigma,
                    "zipf:{exponent} of {keys}, rank {}: off by {off}, sigma {sigma}",
                    rank + 1
                );
                open = (open.0 + seen, open.1 + n * p);
                if open.1 >= 20.0 {
                    bins.push(std::mem::take(&mut open));
                }
            }
            if let Some(last) = bins.last_mut() {
                *last = (last.0 + open.0, last.1 + open.1);
            }
            let chi: f64 = bins.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
            let degrees = bins.len() as f64 - 1.0;
            // Chi-square has this mean and this variance; far in the tail it is wider than a normal one.
            let bound = degrees + 5.0 * (2.0 * degrees).sqrt() + 10.0;
            assert!(chi < bound, "zipf:{exponent} of {keys}: chi-square {chi}, at most {bound}");
        }
    }

    #[test]
    fn a_wrong_exponent_would_be_noticed() {
        let n = 200_000;
        let off = |exponent| {
            let seen = counts(1_000, 0.99, n);
            let p = probabilities(1_000, exponent);
            seen.iter()
                .zip(&p)
                .map(|(seen, p)| (seen - f64::from(n) * p).powi(2) / (f64::from(n) * p))
                .sum::<f64>()
        };
        // 999 degrees of freedom: standard deviation 45.
        assert!(off(0.99) < 1_250.0, "{}", off(0.99));
        assert!(off(0.95) > 1_800.0, "{}", off(0.95));
    }

    #[test]
    fn extreme_exponents_and_tables_end_and_stay_in_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let exponents =
            [0.0, 1e-300, 1e-9, 1.0 - 1e-13, 1.0 + 1e-13, 20.0, 700.0, 1e6, 1e300, f64::MAX, -1.0, f64::NAN];
        for exponent in exponents {
            for keys in [1, 2, 1_000, 1 << 40] {
                let mut zipf = Zipf::new(keys, exponent);
                let drawn: Vec<_> = (0..2_000).map(|_| zipf.draw(&mut rng)).collect();
                assert!(drawn.iter().all(|key| *key < keys), "zipf:{exponent} of {keys}");
                if exponent >= 20.0 {
                    let first = drawn.iter().filter(|key| **key == zipf.scatter.key(0)).count();
                    assert!(first >= 1_998, "zipf:{exponent} of {keys}: rank 1 only {first} times");
                }
            }
        }
    }

    #[test]
    fn the_hottest_keys_are_not_neighbours() {
        let zipf = Zipf::new(10_000, 0.99);
        assert!(zipf.scatter.key(0).abs_diff(zipf.scatter.key(1)) > 1_000);
    }
}
