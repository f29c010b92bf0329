//! Which ops a workload is made of.

use std::fmt;
use std::str::FromStr;

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

/// Keys of one multi-get, unless a mix says how many.
pub const MULTI_GET_KEYS: usize = 8;
/// Keys that a mix may ask for in one multi-get.
const MULTI_GET_RANGE: std::ops::RangeInclusive<usize> = 1..=1000;

/// One op of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixOp {
    /// What it does.
    pub kind: OpKind,
    /// On how many keys; 1 unless it is a multi-get.
    pub keys: usize,
}

impl From<OpKind> for MixOp {
    fn from(kind: OpKind) -> Self {
        Self { kind, keys: if kind == OpKind::MultiGet { MULTI_GET_KEYS } else { 1 } }
    }
}

impl fmt::Display for MixOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.kind == OpKind::MultiGet { write!(f, ":{}", self.keys) } else { Ok(()) }
    }
}

impl From<OpKind> for Mix {
    fn from(kind: OpKind) -> Self {
        Self { ends: vec![(1, kind.into())], total: 1 }
    }
}

/// All ops of a mix are of kinds that the client does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{mix}, and the client's driver has no {missing}")]
pub struct NothingLeft {
    mix: String,
    missing: String,
}

/// Draws ops by weight. As text: `get=80,set=15,multiget:16=5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// Upper ends of each op's share of `0..total`.
    ends: Vec<(u64, MixOp)>,
    /// Above 0.
    total: u64,
}

impl Mix {
    /// The preset of that name; none if there is none.
    pub fn preset(name: &str) -> Option<Self> {
        let preset = PRESETS.iter().find(|preset| preset.name == name)?;
        Self::weighted(preset.weights.iter().map(|&(kind, weight)| (kind.into(), weight.into())))
    }

    /// None if no op has a weight.
    fn weighted(weights: impl IntoIterator<Item = (MixOp, u64)>) -> Option<Self> {
        let mut total = 0;
        let weights = weights.into_iter().filter(|(_, weight)| *weight > 0);
        let ends = weights.map(|(op, weight)| {
            total += weight;
            (total, op)
        });
        let ends = ends.collect();
        (total > 0).then_some(Self { ends, total })
    }

    fn weights(&self) -> impl Iterator<Item = (MixOp, u64)> {
        let mut begin = 0;
        self.ends.iter().map(move |&(end, op)| (op, end - std::mem::replace(&mut begin, end)))
    }

    /// The same with ops of these kinds only; they keep their proportions.
    pub fn only(&self, kinds: &[OpKind]) -> Result<Self, NothingLeft> {
        let known = self.weights().filter(|(op, _)| kinds.contains(&op.kind));
        Self::weighted(known).ok_or_else(|| {
            let mut missing: Vec<&str> = self.weights().map(|(op, _)| op.kind.name()).collect();
            missing.dedup();
            NothingLeft { mix: self.to_string(), missing: missing.join(", ") }
        })
    }

    /// The next op.
    pub fn draw(&self, rng: &mut impl Rng) -> MixOp {
        let point = rng.random_range(0..self.total);
        // The last end is `total`, so one is always found.
        self.ends.iter().find(|(end, _)| point < *end).map_or(OpKind::Get.into(), |(_, op)| *op)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (op, weight)) in self.weights().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{op}={weight}")?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(MixOp, u64)> = Vec::new();
        for text in text.split(',').map(str::trim) {
            let (op, weight) = part(text).map_err(|error| format!("{text:?}: {error}"))?;
            if weights.iter().any(|(other, _)| *other == op) {
                return Err(format!("{text:?}: {op} is there already; give it one weight"));
            }
            weights.push((op, weight));
        }
        Self::weighted(weights).ok_or_else(|| "all weights are 0; at least one op needs more".to_owned())
    }
}

/// `OP=WEIGHT` or `multiget:KEYS=WEIGHT`.
fn part(text: &str) -> Result<(MixOp, u64), String> {
    let Some((op, weight)) = text.split_once('=') else {
        return Err("not of the form OP=WEIGHT, such as get=80".to_owned());
    };
    let (name, keys) = match op.split_once(':') {
        Some((name, keys)) => (name, Some(keys)),
        None => (op, None),
    };
    let kind = OpKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| unknown(name))?;
    let op = match keys {
        None => kind.into(),
        Some(_) if kind != OpKind::MultiGet => {
            return Err(format!("{name} is on one key; only multiget takes a number of keys"));
        }
        Some(keys) => match keys.parse() {
            Ok(keys) if MULTI_GET_RANGE.contains(&keys) => MixOp { kind, keys },
            _ => {
                let (min, max) = (MULTI_GET_RANGE.start(), MULTI_GET_RANGE.end());
                return Err(format!("a multiget reads {min} to {max} keys, not {keys:?}"));
            }
        },
    };
    match weight.parse::<u32>() {
        Ok(weight) => Ok((op, weight.into())),
        Err(_) => Err(format!("the weight {weight:?} is not a whole number from 0 to {}", u32::MAX)),
    }
}

fn unknown(name: &str) -> String {
    let names = OpKind::ALL.map(OpKind::name);
    let meant = match nearest(&name.to_lowercase(), &names) {
        Some(meant) => format!(", did you mean {meant:?}?"),
        None => ".".to_owned(),
    };
    format!("there is no op {name:?}{meant} Expected one of {}", names.join(", "))
}

/// Typing errors that are still taken for a known name.
const TYPOS_MAX: usize = 2;

/// The name that was probably meant: one that begins as the text does (`inc`, `gets`), or one within a few typing
/// errors of it.
fn nearest(text: &str, names: &[&'static str]) -> Option<&'static str> {
    let begins = |name: &&&str| !text.is_empty() && (name.starts_with(text) || text.starts_with(**name));
    names.iter().find(begins).copied().or_else(|| {
        let near = names.iter().map(|name| (typos(text, name), *name)).min()?;
        (near.0 <= TYPOS_MAX).then_some(near.1)
    })
}

/// Least number of letters to insert, remove or replace to make `a` of `b`.
fn typos(a: &str, b: &str) -> usize {
    // `row[n]`: from what was read of `a` so far to the first `n` letters of `b`.
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (read, of_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], read + 1);
        for (n, of_b) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(of_a != of_b);
            diagonal = row[n + 1];
            row[n + 1] = replaced.min(diagonal + 1).min(row[n] + 1);
        }
    }
    row[b.chars().count()]
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
                *drawn.entry(mix.draw(&mut rng).kind).or_insert(0) += 1;
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
    #[test]
    fn a_mix_is_read_as_it_is_shown() {
        for text in ["get=1", "get=80,set=15,incr=3,multiget:16=2", "multiget:4=1,multiget:1000=4294967295"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        let shown = |text: &str| text.parse::<Mix>().unwrap().to_string();
        assert_eq!(shown("set=2, multiget=1 ,get=0"), "set=2,multiget:8=1");
        for preset in PRESETS {
            let mix = Mix::preset(preset.name).unwrap();
            assert_eq!(mix.to_string().parse(), Ok(mix), "{}", preset.name);
        }
    }

    #[test]
    fn a_written_mix_draws_its_ops_with_their_keys() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mix: Mix = "set=3,multiget:16=1,multiget:2=0".parse().unwrap();
        let n = 40_000;
        let drawn: Vec<_> = (0..n).map(|_| mix.draw(&mut rng)).collect();
        let many = drawn.iter().filter(|op| **op == MixOp { kind: OpKind::MultiGet, keys: 16 }).count();
        let ones = drawn.iter().filter(|op| **op == MixOp { kind: OpKind::Set, keys: 1 }).count();
        assert_eq!(many + ones, n);
        let sigma = (n as f64 * 0.25 * 0.75).sqrt();
        assert!((many as f64 - n as f64 / 4.0).abs() < 5.0 * sigma, "{many}");
    }

    #[test]
    fn without_a_kind_the_others_keep_their_proportions() {
        let without = |text: &str, missing: OpKind| {
            let kinds: Vec<_> = OpKind::ALL.into_iter().filter(|kind| *kind != missing).collect();
            text.parse::<Mix>().unwrap().only(&kinds).map(|mix| mix.to_string())
        };
        let mix = "touch=5,get=2,multiget:3=1";
        assert_eq!(without(mix, OpKind::Touch).unwrap(), "get=2,multiget:3=1");
        assert_eq!(without(mix, OpKind::Add).unwrap(), mix);
        let told = without("touch=5", OpKind::Touch).unwrap_err().to_string();
        assert_eq!(told, "touch=5, and the client's driver has no touch");
    }

    #[test]
    fn what_is_wrong_with_a_mix_is_named() {
        for (text, told) in [
            ("", "\"\": not of the form OP=WEIGHT, such as get=80"),
            ("get=1,", "\"\": not of the form OP=WEIGHT"),
            ("mixed", "\"mixed\": not of the form OP=WEIGHT"),
            (
                "set=1,gte=2",
                "\"gte=2\": there is no op \"gte\", did you mean \"get\"? Expected one of get, set,",
            ),
            ("inc=2", "did you mean \"incr\"?"),
            ("del=2", "did you mean \"delete\"?"),
            ("GET=2", "did you mean \"get\"?"),
            ("multi-get:4=2", "did you mean \"multiget\"?"),
            ("flush_all=1", "there is no op \"flush_all\". Expected one of get,"),
            ("=1", "there is no op \"\". Expected one of get,"),
            ("get=1,set=x", "\"set=x\": the weight \"x\" is not a whole number from 0 to"),
            ("get=-1", "the weight \"-1\""),
            ("get=0.5", "the weight \"0.5\""),
            ("get=4294967296", "the weight \"4294967296\""),
            ("get=1,set=2,get=3", "\"get=3\": get is there already"),
            ("multiget=1,multiget:8=1", "\"multiget:8=1\": multiget:8 is there already"),
            ("get=0,set=0", "all weights are 0"),
            ("multiget:0=1", "\"multiget:0=1\": a multiget reads 1 to 1000 keys, not \"0\""),
            ("multiget:1001=1", "reads 1 to 1000 keys, not \"1001\""),
            ("multiget:=1", "reads 1 to 1000 keys, not \"\""),
            ("get:2=1", "\"get:2=1\": get is on one key"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn typing_errors_are_counted() {
        for (a, b, n) in
            [("", "", 0), ("", "get", 3), ("get", "", 3), ("kitten", "sitting", 3), ("gte", "get", 2)]
        {
            assert_eq!(typos(a, b), n, "{a} {b}");
        }
    }
}
