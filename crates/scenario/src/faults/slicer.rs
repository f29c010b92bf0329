//! `slicer`: replies come in small pieces.

use std::time::Duration;

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, millis, params};
use crate::file::written::{Keys, Wrong};

/// Replies come in small pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct Slicer {
    /// Bytes of a piece.
    pub average_size: u64,
    /// Spread around it, bytes.
    pub size_variation: u64,
    /// Pause after each piece.
    pub delay: Duration,
}

impl Kind for Slicer {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let average: u32 = keys.required("average_size")?;
        let variation: u32 = keys.optional("size_variation")?.unwrap_or(0);
        if average == 0 || (variation > 0 && variation >= average) {
            return Err(keys.wrong("average_size", "expected at least 1 and more than size_variation"));
        }
        let delay = keys.optional("delay")?.unwrap_or_default();
        Ok(Self { average_size: average.into(), size_variation: variation.into(), delay })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Slicer
    }

    fn describe(&self) -> String {
        format!("replies in pieces of about {} bytes", self.average_size)
    }

    fn params(&self) -> Params {
        params([("average_size_bytes", self.average_size as f64), ("delay_ms", millis(self.delay))])
    }
}
