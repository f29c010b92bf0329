//! `loss`: the delay that packet loss causes on a reliable stream.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, params, percent};
use crate::file::written::{Keys, Share, Wrong};

/// The delay that packet loss causes on a reliable stream, both ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Share of lost packets per direction, 0-1.
    pub share: f64,
    /// Mean run of lost packets; 1: independent.
    pub burst: u32,
}

impl Kind for Loss {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let Share(share) = keys.required("loss")?;
        Ok(Self { share, burst: keys.optional("burst")?.unwrap_or(1) })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Loss
    }

    fn describe(&self) -> String {
        if self.share >= 1.0 {
            return "loss-like delay at 100 % loss: everything is held, nothing is refused".to_owned();
        }
        let runs = if self.burst > 1 { format!(" in runs of {}", self.burst) } else { String::new() };
        format!("loss-like delay of {} of packets each way{runs}; no byte is dropped", percent(self.share))
    }

    fn params(&self) -> Params {
        params([("loss", self.share), ("burst", f64::from(self.burst))])
    }
}
