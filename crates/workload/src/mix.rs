//! Which ops a workload is made of.

use rand::{Rng, RngExt};

/// What one op does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// Read one key.
    Get,
    /// Write one key.
    Set,
    /// Write one key unless it exists.
    Add,
    /// Remove one key.
    Delete,
    /// Count one counter up.
    Incr,
    /// Renew one key's time to live.
    Touch,
    /// Read several keys at once. Counted as one op a key: each has a home and an outcome of its own.
    MultiGet,
}

impl OpKind {
    /// Every kind, in the order of [`OpKind::index`].
    pub const ALL: [OpKind; 7] = [
        OpKind::Get,
        OpKind::Set,
        OpKind::Add,
        OpKind::Delete,
        OpKind::Incr,
        OpKind::Touch,
        OpKind::MultiGet,
    ];

    /// Position in [`OpKind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Name in labels and summaries.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Get => "get",
            OpKind::Set => "set",
            OpKind::Add => "add",
            OpKind::Delete => "delete",
            OpKind::Incr => "incr",
            OpKind::Touch => "touch",
            OpKind::MultiGet => "multiget",
        }
    }
}

/// A named mix.
#[derive(Debug)]
pub struct Preset {
    /// Value of `--workload`.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    weights: &'static [(OpKind, u32)],
}

/// All presets; the first is the default.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "mixed",
        about: "70 % get, 20 % set, and some of every other op",
        weights: &[
            (OpKind::Get, 700),
            (OpKind::Set, 200),
            (OpKind::MultiGet, 5),
            (OpKind::Incr, 10),
            (OpKind::Touch, 30),
            (OpKind::Add, 35),
            (OpKind::Delete, 20),
        ],
    },
    Preset { name: "get-heavy", about: "95 % get, 5 % set", weights: &[(OpKind::Get, 95), (OpKind::Set, 5)] },
    Preset {
        name: "set-heavy",
        about: "80 % set, 20 % get",
        weights: &[(OpKind::Set, 80), (OpKind::Get, 20)],
    },
];

/// Keys of one multi-get.
pub const MULTI_GET_KEYS: usize = 8;

/// Draws op kinds by weight.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Upper ends of each kind's share of `0..total`.
    ends: Vec<(u32, OpKind)>,
    total: u32,
}

impl Mix {
    /// The preset of that name; none if there is none.
    pub fn preset(name: &str) -> Option<Self> {
        PRESETS.iter().find(|preset| preset.name == name).map(|preset| Self::weighted(preset.weights))
    }

    fn weighted(weights: &[(OpKind, u32)]) -> Self {
        let mut total = 0;
        let ends = weights.iter().map(|&(kind, weight)| {
            total += weight;
            (total, kind)
        });
        let ends = ends.collect();
        Self { ends, total }
    }

    /// The same without one kind; the others keep their proportions.
    pub fn without(&self, kind: OpKind) -> Self {
        let mut begin = 0;
        let mut weights = Vec::new();
        for &(end, k) in &self.ends {
            if k != kind {
                weights.push((k, end - begin));
            }
            begin = end;
        }
        Self::weighted(&weights)
    }

    /// The next op's kind.
    pub fn draw(&self, rng: &mut impl Rng) -> OpKind {
        let point = rng.random_range(0..self.total);
        // The last end is `total`, so one is always found.
        self.ends.iter().find(|(end, _)| point < *end).map_or(OpKind::Get, |(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn shares_are_those_of_the_weights() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for preset in PRESETS {
            let mix = Mix::preset(preset.name).unwrap();
            let mut drawn = BTreeMap::new();
            let n = 100_000;
            for _ in 0..n {
                *drawn.entry(mix.draw(&mut rng)).or_insert(0) += 1;
            }
            let total: u32 = preset.weights.iter().map(|(_, w)| w).sum();
            for (kind, weight) in preset.weights {
                let p = f64::from(*weight) / f64::from(total);
                let sigma = (f64::from(n) * p * (1.0 - p)).sqrt();
                let off = f64::from(drawn[kind]) - f64::from(n) * p;
                assert!(off.abs() < 5.0 * sigma, "{} {kind:?}: off by {off}", preset.name);
            }
        }
    }

    #[test]
    fn kinds_know_their_place() {
        for (index, kind) in OpKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
        assert!(Mix::preset("nothing").is_none());
    }
}
