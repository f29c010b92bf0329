//! `loss_kernel`: packets are really lost, by the kernel's packet filter.

use observation::FaultKind;
use observation::effect::Params;

use super::kind::{Kind, params, percent};
use crate::file::written::{Keys, Share, Wrong};

/// Maximum length of the name of a network namespace.
const NAME_MAX: usize = 64;

/// Packets are really lost, both ways, by the kernel's packet filter.
#[derive(Debug, Clone, PartialEq)]
pub struct LossKernel {
    /// Share of lost packets per direction, 0-1.
    pub share: f64,
    /// Network namespace in which client and proxy are; `None`: this process's.
    pub netns: Option<String>,
}

impl Kind for LossKernel {
    fn read(keys: &mut Keys) -> Result<Self, Wrong> {
        let Share(share) = keys.required("loss")?;
        if (share * 1e6).round() < 1.0 {
            return Err(keys.wrong("loss", "expected at least 0.0001%, one packet of a million"));
        }
        let netns = keys.optional::<String>("netns")?.map(|name| namespace_name(&name));
        Ok(Self { share, netns: netns.transpose().map_err(|why| keys.wrong("netns", why))? })
    }

    fn kind(&self) -> FaultKind {
        FaultKind::LossKernel
    }

    fn describe(&self) -> String {
        let place = self.netns.as_ref().map(|netns| format!(", in the network namespace {netns}"));
        let place = place.unwrap_or_default();
        format!("real loss of {} of packets each way, by nftables{place}", percent(self.share))
    }

    fn params(&self) -> Params {
        params([("loss", self.share)])
    }

    fn needs_permission(&self) -> bool {
        true
    }
}

/// A name that `ip netns` takes and that no program reads as something else.
pub fn namespace_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let well = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-');
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {NAME_MAX} letters, digits, dashes and underscores, not {text:?}"))
    }
}
