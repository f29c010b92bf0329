//! How long values are.
//!
//! Every distribution is drawn by its inverse: one random number a value.

mod etc;
mod log_normal;

pub use log_normal::LogNormal;

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::distr::Open01;
use rand_chacha::ChaCha8Rng;

/// Longest value that is written: memcached's usual item limit less its own header.
pub const VALUE_MAX: usize = 1024 * 1024 - 512;

/// How long values are. A value is never shorter than its header (some 50 bytes, see [`crate::values`]), whatever is
/// drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueSize {
    /// All of that many bytes.
    Fixed(usize),
    /// Uniform over `min..=max` bytes.
    Uniform {
        /// Shortest.
        min: usize,
        /// Longest.
        max: usize,
    },
    /// Many of moderate length and a few that are far longer.
    LogNormal(LogNormal),
    /// As measured in a general-purpose pool (ETC) of Facebook's memcached: B. Atikoglu, Y. Xu, E. Frachtenberg,
    /// S. Jiang and M. Paleczny, "Workload Analysis of a Large-Scale Key-Value Store", SIGMETRICS 2012, section 5.
    Etc,
}

impl ValueSize {
    /// Bytes that hardly a value exceeds: of distributions without an end, one in a hundred is longer.
    pub(crate) fn usual_max(self) -> usize {
        let quantile = 0.99;
        match self {
            ValueSize::Fixed(bytes) => bytes,
            ValueSize::Uniform { min, max } => max.max(min),
            ValueSize::LogNormal(sizes) => whole_bytes(sizes.quantile(quantile)),
            ValueSize::Etc => whole_bytes(etc::quantile(quantile)),
        }
    }

    /// The next value's length in bytes, at most [`VALUE_MAX`].
    pub fn draw(self, rng: &mut ChaCha8Rng) -> usize {
        match self {
            ValueSize::Fixed(bytes) => bytes,
            ValueSize::Uniform { min, max } => rng.random_range(min.min(max)..=max.max(min)),
            ValueSize::LogNormal(sizes) => whole_bytes(sizes.quantile(rng.sample(Open01)).round()),
            ValueSize::Etc => whole_bytes(etc::quantile(rng.sample(Open01)).floor()),
        }
    }
}

/// Into `1..=VALUE_MAX`.
fn whole_bytes(bytes: f64) -> usize {
    // A float beyond the integers becomes the largest one.
    (bytes as usize).clamp(1, VALUE_MAX)
}

/// What can be written, for the errors.
const FORMS: &str = "write N, MIN-MAX, lognormal:MEDIAN,SIGMA or etc";

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "etc" {
            return Ok(ValueSize::Etc);
        }
        if let Some(arguments) = text.strip_prefix("lognormal:") {
            return log_normal(arguments).map(ValueSize::LogNormal);
        }
        match text.split_once('-') {
            None => bytes(text).map(ValueSize::Fixed),
            Some((min, max)) => match (bytes(min)?, bytes(max)?) {
                (min, max) if min <= max => Ok(ValueSize::Uniform { min, max }),
                (min, max) => Err(format!("{min} is more than {max}")),
            },
        }
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n <= VALUE_MAX => Ok(n),
        Ok(n) => Err(format!("{n} bytes are more than memcached's usual limit allows ({VALUE_MAX})")),
        Err(_) => Err(format!("{text:?} is not a number of bytes; {FORMS}")),
    }
}

fn log_normal(arguments: &str) -> Result<LogNormal, String> {
    let Some((median, sigma)) = arguments.split_once(',') else {
        return Err("lognormal: needs a median and a sigma, such as lognormal:300,1.2".to_owned());
    };
    let median = match bytes(median) {
        Ok(0) => Err("at least 1 byte".to_owned()),
        other => other,
    };
    let median = median.map_err(|error| format!("lognormal: median: {error}"))?;
    match sigma.parse() {
        Ok(number @ 0.0..=f64::MAX) => Ok(LogNormal::new(median, number)),
        _ => Err(format!("lognormal: sigma: {sigma:?} is not a number of at least 0, such as 1.2")),
    }
}

impl fmt::Display for ValueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSize::Fixed(bytes) => write!(f, "{bytes}"),
            ValueSize::Uniform { min, max } => write!(f, "{min}-{max}"),
            ValueSize::LogNormal(sizes) => write!(f, "lognormal:{},{}", sizes.median(), sizes.sigma()),
            ValueSize::Etc => f.write_str("etc"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn drawn(text: &str, n: usize) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let size: ValueSize = text.parse().unwrap();
        (0..n).map(|_| size.draw(&mut rng)).collect()
    }

    /// The share of sizes up to `bytes` must be `p`, within 5 standard deviations.
    fn assert_share(sizes: &[usize], bytes: usize, p: f64, what: &str) {
        let n = sizes.len() as f64;
        let seen = sizes.iter().filter(|size| **size <= bytes).count() as f64;
        let sigma = (n * p * (1.0 - p)).sqrt();
        assert!(
            (seen - n * p).abs() <= 5.0 * sigma,
            "{what}: {} of all up to {bytes}, expected {p}",
            seen / n
        );
    }

    #[test]
    fn sizes_stay_in_their_range() {
        let range: std::collections::BTreeSet<_> = drawn("10-12", 200).into_iter().collect();
        assert_eq!(range.into_iter().collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(drawn("5", 3), [5, 5, 5]);
        for text in ["lognormal:1,50", "lognormal:1048064,50", "lognormal:300,1e308", "etc"] {
            assert!(drawn(text, 20_000).iter().all(|size| (1..=VALUE_MAX).contains(size)), "{text}");
        }
    }

    #[test]
    fn log_normal_sizes_have_the_quantiles_of_the_normal_distribution() {
        // Φ at -2, -1, 0, 1, 2 and 3. Sizes are rounded; the bounds lie half a byte above.
        let normal = [
            (-2.0, 0.022_750_131_948_179_2),
            (-1.0, 0.158_655_253_931_457_05),
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (2.0, 0.977_249_868_051_820_8),
            (3.0, 0.998_650_101_968_369_9),
        ];
        let sizes = drawn("lognormal:20000,0.7", 100_000);
        for (z, p) in normal {
            let bytes = 20_000.0 * (0.7f64 * z).exp();
            // The share between `bytes` and the whole bound is far below a standard deviation.
            assert_share(&sizes, bytes as usize, p, "lognormal");
        }
        assert!(drawn("lognormal:300,0", 100).iter().all(|size| *size == 300));
    }

    #[test]
    fn etc_sizes_have_the_published_head_and_tail() {
        let sizes = drawn("etc", 200_000);
        // Sizes up to the head's, from the paper's table; 0 is written as 1.
        for (bytes, p) in [(1, 0.005_83), (2, 0.184_03), (3, 0.276_42), (11, 0.417_57), (14, 0.441_55)] {
            assert_share(&sizes, bytes, p, "head of etc");
        }
        for bytes in [15, 50, 100, 500, 1_000, 5_000, 50_000] {
            // Floors: a size of at most `bytes` is a real one below `bytes + 1`.
            let beyond = f64::from(bytes + 1 - 15);
            let tail = (1.0 + 0.348_238 * beyond / 214.476).powf(-1.0 / 0.348_238);
            assert_share(&sizes, bytes as usize, 1.0 - (1.0 - 0.441_55) * tail, "tail of etc");
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        for text in ["64", "64-512", "lognormal:300,1.2", "lognormal:1,0", "etc"] {
            assert_eq!(text.parse::<ValueSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_size_is_named() {
        for (text, told) in [
            ("", "\"\" is not a number of bytes; write N, MIN-MAX, lognormal:MEDIAN,SIGMA or etc"),
            ("normal:3", "\"normal:3\" is not a number of bytes"),
            ("9-3", "9 is more than 3"),
            ("1048065", "more than memcached's usual limit"),
            ("lognormal:300", "needs a median and a sigma, such as"),
            ("lognormal:0,1", "median: at least 1 byte"),
            ("lognormal:x,1", "median: \"x\" is not a number"),
            ("lognormal:9999999,1", "median: 9999999 bytes are more"),
            ("lognormal:300,-1", "sigma: \"-1\" is not"),
            ("lognormal:300,inf", "sigma: \"inf\" is not"),
            ("lognormal:300,1,2", "sigma: \"1,2\" is not"),
        ] {
            let error = text.parse::<ValueSize>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
