//! `bandwidth`: replies pass at a limited rate.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, params};
use crate::file::written::{KbPerS, Keys, Wrong};

/// Replies pass at a limited rate, per connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Bandwidth {
    /// KB/s, 1 KB = 1000 bytes.
    pub kb_per_s: u64,
}

impl Kind for Bandwidth {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let KbPerS(kb_per_s) = keys.required("rate")?;
        Ok(Self { kb_per_s })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Bandwidth
    }

    fn describe(&self) -> String {
        format!("replies at {} KB/s per connection", self.kb_per_s)
    }

    fn params(&self) -> Params {
        params([("rate_kb_per_s", self.kb_per_s as f64)])
    }
}
