//! `limit_data`: connections end after a number of reply bytes.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, params};
use crate::file::written::{Keys, Wrong};

/// Connections end after a number of reply bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitData {
    /// Reply bytes of each connection.
    pub bytes: u64,
}

impl Kind for LimitData {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        Ok(Self { bytes: keys.required::<u32>("bytes")?.into() })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::LimitData
    }

    fn describe(&self) -> String {
        format!("connections end after {} reply bytes", self.bytes)
    }

    fn params(&self) -> Params {
        params([("bytes", self.bytes as f64)])
    }
}
