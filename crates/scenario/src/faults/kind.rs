//! What every kind of fault answers, and how its numbers are named and written.

use std::fmt;
use std::time::Duration;

use observation::FaultKind;
use observation::effect::Params;

use crate::file::written::{Keys, Wrong};

/// What every kind of fault answers.
pub(super) trait Kind: fmt::Debug {
    /// Reads it from the keys of a `[[fault]]`.
    fn read(keys: &mut Keys) -> Result<Self, Wrong>
    where
        Self: Sized;

    fn kind(&self) -> FaultKind;

    /// One plain phrase: what happens to connections, requests or replies.
    fn describe(&self) -> String;

    fn params(&self) -> Params;

    /// Is it refused to most users, because it changes the machine and not a proxy?
    fn needs_permission(&self) -> bool {
        false
    }
}

/// Parameters of these names.
pub(super) fn params<const N: usize>(pairs: [(&str, f64); N]) -> Params {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A share (0-1) as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}
