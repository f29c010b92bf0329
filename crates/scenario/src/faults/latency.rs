//! `latency`: replies are late.

use std::time::Duration;

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, millis, params};
use crate::file::written::{Keys, Wrong};

/// Replies are late by `latency` ± `jitter`.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Added to each reply.
    pub latency: Duration,
    /// Uniform around it.
    pub jitter: Duration,
}

impl Kind for Latency {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        Ok(Self { latency: keys.required("latency")?, jitter: keys.optional("jitter")?.unwrap_or_default() })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Latency
    }

    fn describe(&self) -> String {
        let Self { latency, jitter } = self;
        match jitter.is_zero() {
            true => format!("replies {latency:?} late"),
            false => format!("replies {latency:?} ± {jitter:?} late"),
        }
    }

    fn params(&self) -> Params {
        params([("latency_ms", millis(self.latency)), ("jitter_ms", millis(self.jitter))])
    }
}
