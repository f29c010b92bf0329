//! How long keys are.

use std::fmt;
use std::str::FromStr;

use rand::distr::Open01;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::target::{KEY_MAX, Key};

/// How long keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySize {
    /// As short as their numbers allow.
    Short,
    /// As in the pool ETC of Facebook's memcached, some 36 bytes on average: B. Atikoglu, Y. Xu, E. Frachtenberg,
    /// S. Jiang and M. Paleczny, "Workload Analysis of a Large-Scale Key-Value Store", SIGMETRICS 2012, section 5, by
    /// a Generalized Extreme Value distribution.
    Etc,
}

/// Location, scale and shape of the Generalized Extreme Value distribution.
const ETC: (f64, f64, f64) = (30.798_4, 8.204_49, 0.078_688);
/// Key `n` is as long in every run: what an earlier run wrote is found again.
const SEED: u64 = 1;

impl KeySize {
    /// Bytes of memory that one key takes, on average.
    pub(super) fn memory(self) -> usize {
        // What does not fit into the key itself is a block of its own.
        size_of::<Key>() + if self == KeySize::Etc { 64 } else { 0 }
    }

    /// The lengths of the keys 0, 1, 2 and so on, in bytes; a key that needs more takes more.
    pub(super) fn lengths(self) -> impl Iterator<Item = usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        std::iter::repeat_with(move || match self {
            KeySize::Short => 0,
            KeySize::Etc => (etc_quantile(rng.sample(Open01)).round() as usize).min(KEY_MAX),
        })
    }
}

/// The length below which a share `p` (0-1, both exclusive) of all keys lies.
fn etc_quantile(p: f64) -> f64 {
    let (location, scale, shape) = ETC;
    location + scale / shape * ((-p.ln()).powf(-shape) - 1.0)
}

impl FromStr for KeySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "short" => Ok(KeySize::Short),
            "etc" => Ok(KeySize::Etc),
            _ => Err("write short or etc".to_owned()),
        }
    }
}

impl fmt::Display for KeySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeySize::Short => "short",
            KeySize::Etc => "etc",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etc_keys_have_the_quantiles_of_the_closed_form() {
        let n = 100_000;
        let lengths: Vec<_> = KeySize::Etc.lengths().take(n).collect();
        let (location, scale, shape) = ETC;
        for bytes in [15, 20, 25, 30, 35, 40, 60, 90] {
            // Lengths are rounded: at most `bytes` is below half a byte more.
            let z = (f64::from(bytes) + 0.5 - location) / scale;
            let p = (-(1.0 + shape * z).powf(-1.0 / shape)).exp();
            let seen = lengths.iter().filter(|length| **length <= bytes as usize).count() as f64;
            let sigma = (n as f64 * p * (1.0 - p)).sqrt();
            assert!((seen - n as f64 * p).abs() < 5.0 * sigma, "{bytes}: {} instead of {p}", seen / n as f64);
        }
        assert!(lengths.iter().all(|length| *length <= KEY_MAX));
    }

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        for text in ["short", "etc"] {
            assert_eq!(text.parse::<KeySize>().unwrap().to_string(), text);
        }
        assert!("long".parse::<KeySize>().is_err());
    }
}
