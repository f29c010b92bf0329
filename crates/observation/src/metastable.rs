//! The phases of an experiment on metastable failure, as its runner names them in notes.

use std::fmt;

/// A phase of a cell, or of a sweep. Its name is the text of a note with the code
/// [`MetastablePhase`](crate::NoteCode::MetastablePhase).
#[derive(Debug, Clone, PartialEq)]
pub enum CellPhase {
    /// The cache fills.
    Warm,
    /// What the end is compared with.
    Baseline,
    /// The system is brought down.
    Trigger,
    /// Nothing is done; the end of it is judged.
    Hold,
    /// Less load, so that a system that is down may come back.
    Relief,
    /// The load rises again.
    Ramp,
    /// The load is that of the baseline again.
    After,
    /// A step of a sweep on the way up, at this rate in requests a second.
    Up(f64),
    /// A step of a sweep on the way down, at this rate in requests a second.
    Down(f64),
    /// The last phase ended.
    Ended,
    /// A phase ended before its time.
    Stopped,
    /// A name that this version does not know.
    Other(String),
}

/// Begin the names of steps; the rate follows.
const UP: &str = "up:";
const DOWN: &str = "down:";

impl fmt::Display for CellPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            CellPhase::Warm => "warm",
            CellPhase::Baseline => "baseline",
            CellPhase::Trigger => "trigger",
            CellPhase::Hold => "hold",
            CellPhase::Relief => "relief",
            CellPhase::Ramp => "ramp",
            CellPhase::After => "after",
            CellPhase::Up(rate) => return write!(f, "{UP}{rate}"),
            CellPhase::Down(rate) => return write!(f, "{DOWN}{rate}"),
            CellPhase::Ended => "ended",
            CellPhase::Stopped => "stopped",
            CellPhase::Other(name) => name,
        };
        f.write_str(name)
    }
}

impl From<&str> for CellPhase {
    fn from(name: &str) -> Self {
        let rate = |text: &str| text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
        let step = || {
            let up = name.strip_prefix(UP).and_then(rate).map(CellPhase::Up);
            up.or_else(|| name.strip_prefix(DOWN).and_then(rate).map(CellPhase::Down))
        };
        match name {
            "warm" => CellPhase::Warm,
            "baseline" => CellPhase::Baseline,
            "trigger" => CellPhase::Trigger,
            "hold" => CellPhase::Hold,
            "relief" => CellPhase::Relief,
            "ramp" => CellPhase::Ramp,
            "after" => CellPhase::After,
            "ended" => CellPhase::Ended,
            "stopped" => CellPhase::Stopped,
            other => step().unwrap_or_else(|| CellPhase::Other(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_back_from_its_name_and_a_step_has_a_rate_that_can_be() {
        use CellPhase::*;
        for phase in [
            Warm,
            Baseline,
            Trigger,
            Hold,
            Relief,
            Ramp,
            After,
            Up(100.0),
            Down(0.5),
            Ended,
            Stopped,
            Other("of_tomorrow".to_owned()),
        ] {
            assert_eq!(CellPhase::from(phase.to_string().as_str()), phase);
        }
        for name in ["up:", "up:x", "down:-1", "down:0", "up:inf", "up:NaN"] {
            assert_eq!(CellPhase::from(name), Other(name.to_owned()));
        }
    }
}
