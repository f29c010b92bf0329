//! `slow_close`: the end of a connection is late.

use std::time::Duration;

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, millis, params};
use crate::file::written::{Keys, Wrong};

/// The end of a connection is late.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowClose {
    /// By how much.
    pub delay: Duration,
}

impl Kind for SlowClose {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        Ok(Self { delay: keys.required("delay")? })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::SlowClose
    }

    fn describe(&self) -> String {
        format!("connections end {:?} late", self.delay)
    }

    fn params(&self) -> Params {
        params([("delay_ms", millis(self.delay))])
    }
}
