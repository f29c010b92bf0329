//! Which server a key lives on: rendezvous hashing. Pure.
//!
//! Every server gets a score from its *name* and the key; the highest is the key's home, the next the one that takes
//! over. Taking a server away moves only its own keys, and spreads them over all others.

use smallvec::SmallVec;

/// Server indices in the order in which a key should try them; up to 8 servers fit without an allocation.
pub type Candidates = SmallVec<[usize; 8]>;

/// Orders servers for keys.
#[derive(Debug, Clone)]
pub struct Router {
    /// Hash of each server's name.
    names: Vec<u64>,
}

impl Router {
    /// For servers of these names, in this order of indices.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().map(|name| hash(name.as_bytes())).collect() }
    }

    /// The key's home server.
    pub fn home(&self, key: &[u8]) -> usize {
        let key = hash(key);
        let scores = self.names.iter().map(|name| mix(name ^ key));
        scores.enumerate().max_by_key(|(_, score)| *score).map_or(0, |(index, _)| index)
    }

    /// All servers, the home first.
    pub fn candidates(&self, key: &[u8]) -> Candidates {
        let key = hash(key);
        let mut scored: SmallVec<[(u64, usize); 8]> =
            self.names.iter().enumerate().map(|(index, name)| (mix(name ^ key), index)).collect();
        scored.sort_unstable_by(|a, b| b.cmp(a));
        scored.into_iter().map(|(_, index)| index).collect()
    }
}

/// FNV-1a, 64 bit, finished by [`mix`]: stable over versions and platforms, which std's hasher is not.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// The finalizer of SplitMix64.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (1..=n).map(|n| format!("memcached{n}")).collect()
    }

    fn router(names: &[String]) -> Router {
        Router::new(names.iter().map(String::as_str))
    }

    #[test]
    fn homes_are_the_same_in_every_version() {
        let router = router(&names(3));
        let homes: Vec<usize> = (0..16).map(|n| router.home(format!("key{n}").as_bytes())).collect();
        assert_eq!(homes, KNOWN_HOMES);
    }

    const KNOWN_HOMES: [usize; 16] = [0, 1, 1, 1, 1, 0, 0, 0, 1, 2, 1, 1, 2, 0, 1, 2];

    #[test]
    fn load_is_even_and_taking_a_server_away_moves_only_its_keys() {
        for n in [3, 5, 10] {
            let all = names(n);
            let full = router(&all);
            for gone in 0..n {
                let mut rest = all.clone();
                rest.remove(gone);
                let reduced = router(&rest);
                let (mut moved, mut heirs) = (0, vec![0; n]);
                let keys = 20_000;
                for key in (0..keys).map(|k| format!("k:{k}")) {
                    let candidates = full.candidates(key.as_bytes());
                    assert_eq!(candidates[0], full.home(key.as_bytes()));
                    let now = &rest[reduced.home(key.as_bytes())];
                    if candidates[0] == gone {
                        moved += 1;
                        heirs[candidates[1]] += 1;
                        assert_eq!(*now, all[candidates[1]]);
                    } else {
                        assert_eq!(*now, all[candidates[0]]);
                    }
                }
                let share = f64::from(moved) / f64::from(keys);
                assert!((share - 1.0 / n as f64).abs() < 0.02, "{share} of the keys lived on 1 of {n}");
                let even = f64::from(moved) / (n - 1) as f64;
                for (_, heir) in heirs.iter().enumerate().filter(|(server, _)| *server != gone) {
                    assert!((f64::from(*heir) / even - 1.0).abs() < 0.25, "heirs {heirs:?}");
                }
            }
        }
    }
}
