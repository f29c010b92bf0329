//! Kinds of faults, one file each: its keys in a scenario file, their check, its description and its parameters.
//!
//! What a kind declares to do to a request is in `observation::effect`, because the judge asks for it too. How a kind is
//! given is the backends' answer (`crate::backends`). The compiler names every place that a new kind has to fill in.

mod bandwidth;
mod down;
mod kind;
mod latency;
mod limit_data;
mod loss;
mod loss_kernel;
mod reset;
mod slicer;
mod slow_close;
mod stall;
mod toxic;

use observation::FaultKind;
use observation::effect::Params;

pub use bandwidth::Bandwidth;
pub use down::Down;
pub use latency::Latency;
pub use limit_data::LimitData;
pub use loss::Loss;
pub use loss_kernel::{LossKernel, namespace_name};
pub use reset::Reset;
pub use slicer::Slicer;
pub use slow_close::SlowClose;
pub use stall::Stall;
pub use toxic::NamedToxic;

use crate::file::written::{Keys, Wrong, wrong};
use kind::Kind;

/// One fault as a scenario means it.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultSpec {
    /// Replies are late.
    Latency(Latency),
    /// The delay that packet loss causes on a reliable stream.
    Loss(Loss),
    /// Packets are really lost.
    LossKernel(LossKernel),
    /// A share of connections hangs.
    Stall(Stall),
    /// Connections are refused.
    Down(Down),
    /// Connections are reset.
    Reset(Reset),
    /// Replies pass at a limited rate.
    Bandwidth(Bandwidth),
    /// Replies come in small pieces.
    Slicer(Slicer),
    /// Connections end after a number of reply bytes.
    LimitData(LimitData),
    /// The end of a connection is late.
    SlowClose(SlowClose),
    /// A toxic of the proxy, by its own name.
    Toxic(NamedToxic),
}

impl FaultSpec {
    /// Reads one from the keys of a `[[fault]]`.
    pub(crate) fn read(mut keys: Keys) -> Result<Self, Wrong> {
        let spec = match FaultKind::from(keys.kind().get_ref().as_str()) {
            FaultKind::Latency => Latency::read(&mut keys).map(Self::Latency),
            FaultKind::Loss => Loss::read(&mut keys).map(Self::Loss),
            FaultKind::LossKernel => LossKernel::read(&mut keys).map(Self::LossKernel),
            FaultKind::Stall => Stall::read(&mut keys).map(Self::Stall),
            FaultKind::Down => Down::read(&mut keys).map(Self::Down),
            FaultKind::Reset => Reset::read(&mut keys).map(Self::Reset),
            FaultKind::Bandwidth => Bandwidth::read(&mut keys).map(Self::Bandwidth),
            FaultKind::Slicer => Slicer::read(&mut keys).map(Self::Slicer),
            FaultKind::LimitData => LimitData::read(&mut keys).map(Self::LimitData),
            FaultKind::SlowClose => SlowClose::read(&mut keys).map(Self::SlowClose),
            FaultKind::Toxic => NamedToxic::read(&mut keys).map(Self::Toxic),
            FaultKind::Other(name) => Err(unknown(&keys, &name)),
        }?;
        keys.end()?;
        Ok(spec)
    }

    fn fault(&self) -> &dyn Kind {
        match self {
            FaultSpec::Latency(fault) => fault,
            FaultSpec::Loss(fault) => fault,
            FaultSpec::LossKernel(fault) => fault,
            FaultSpec::Stall(fault) => fault,
            FaultSpec::Down(fault) => fault,
            FaultSpec::Reset(fault) => fault,
            FaultSpec::Bandwidth(fault) => fault,
            FaultSpec::Slicer(fault) => fault,
            FaultSpec::LimitData(fault) => fault,
            FaultSpec::SlowClose(fault) => fault,
            FaultSpec::Toxic(fault) => fault,
        }
    }

    /// Its kind, whose name is that in scenario files.
    pub fn kind(&self) -> FaultKind {
        self.fault().kind()
    }

    /// One plain phrase: what happens to connections, requests or replies.
    pub fn describe(&self) -> String {
        self.fault().describe()
    }

    /// Its numbers, as the journal and the judge know them.
    pub fn params(&self) -> Params {
        self.fault().params()
    }

    /// Is it refused to most users? Then it is asked for before a suite, and `all` leaves it out.
    pub fn needs_permission(&self) -> bool {
        self.fault().needs_permission()
    }
}

fn unknown(keys: &Keys, name: &str) -> Wrong {
    let kinds: Vec<&str> = FaultKind::KNOWN.iter().map(FaultKind::name).collect();
    let nearest = kinds.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let what = format!(
        "type: there is no fault {name:?}, did you mean {:?}? Expected one of {}",
        nearest.unwrap_or(&""),
        kinds.join(", ")
    );
    wrong(keys.kind(), what)
}
