//! `down`: connections are refused.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::Kind;
use crate::file::written::{Keys, Wrong};

/// The server refuses connections, and those that are open end.
#[derive(Debug, Clone, PartialEq)]
pub struct Down;

impl Kind for Down {
    fn read(_: &mut Keys) -> Result<Self, Wrong> {
        Ok(Self)
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Down
    }

    fn describe(&self) -> String {
        "refused: nobody listens".to_owned()
    }

    fn params(&self) -> Params {
        Params::new()
    }
}
