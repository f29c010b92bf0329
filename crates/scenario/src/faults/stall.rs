//! `stall`: a share of connections hangs, the others work.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, params, percent};
use crate::file::written::{Keys, Share, Wrong};

/// A share of connections hangs, the others work.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    /// Share of connections, 0-1.
    pub share: f64,
}

impl Kind for Stall {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let Share(share) = keys.required("share")?;
        Ok(Self { share })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Stall
    }

    fn describe(&self) -> String {
        format!("connection stall, share {}: these connections hang", percent(self.share))
    }

    fn params(&self) -> Params {
        params([("share", self.share)])
    }
}
