//! The phase, for Prometheus.

use capacity::Phase;
use prometheus::{IntGaugeVec, Opts, Registry};

/// 1 for the phase that is, 0 for every other.
#[derive(Debug, Clone)]
pub struct PhaseGauge(IntGaugeVec);

impl PhaseGauge {
    /// Registers it, all at 0.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "1 for the phase that an overload test is in, 0 for the others.";
        let gauge = IntGaugeVec::new(Opts::new("overload_phase", help), &["phase"])?;
        registry.register(Box::new(gauge.clone()))?;
        let gauge = Self(gauge);
        gauge.set(None);
        Ok(gauge)
    }

    /// `None`: no phase.
    pub fn set(&self, now: Option<Phase>) {
        for phase in Phase::ALL {
            self.0.with_label_values(&[phase.name()]).set(i64::from(now == Some(phase)));
        }
    }

    /// Is this the phase?
    #[cfg(test)]
    pub fn is(&self, phase: Phase) -> bool {
        self.0.with_label_values(&[phase.name()]).get() == 1
    }
}
