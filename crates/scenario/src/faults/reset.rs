//! `reset`: connections are reset at their first request.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::Kind;
use crate::file::written::{Keys, Wrong};

/// Connections are reset at their first request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reset;

impl Kind for Reset {
    fn read(_: &mut Keys) -> Result<Self, Wrong> {
        Ok(Self)
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Reset
    }

    fn describe(&self) -> String {
        "new connections are reset at their first request".to_owned()
    }

    fn params(&self) -> Params {
        Params::new()
    }
}
