//! The dose: what a fault should touch, and what two witnesses say that it does, over the last second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, Opts, Registry};
use tokio::time::Instant;

/// What is older says nothing about now.
const WINDOW: Duration = Duration::from_secs(1);

/// Lab and proxy.
type Key = (u32, String);

/// When, how many were touched, and of how many; by proxy and witness.
type Windows = BTreeMap<(Key, &'static str), VecDeque<(Instant, u64, u64)>>;

/// Where the dose is shown.
#[derive(Debug, Clone)]
pub(crate) struct DoseMetrics {
    declared: GaugeVec,
    measured: GaugeVec,
    windows: Arc<Mutex<Windows>>,
}

/// The embedded proxy's counters: chunks, of both directions.
pub(crate) const PROXY: &str = "proxy";
/// The runner's own requests, each on a connection of its own.
pub(crate) const CANARY: &str = "canary";

impl DoseMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            declared: GaugeVec::new(
                Opts::new(
                    "scenario_dose_declared_ratio",
                    "Share (0-1) of requests to a proxy that the fault which is on should touch; 0 without one. Absent while \
                     there is a fault of which it cannot be said.",
                ),
                &["server"],
            )?,
            measured: GaugeVec::new(
                Opts::new(
                    "scenario_dose_measured_ratio",
                    "Share (0-1) touched within the last second: of canaries (requests of scenariod's own that failed or were \
                     slow), and of the chunks of both directions at the embedded proxy. Absent while nobody measures.",
                ),
                &["server", "witness"],
            )?,
            windows: Arc::default(),
        };
        registry.register(Box::new(metrics.declared.clone()))?;
        registry.register(Box::new(metrics.measured.clone()))?;
        Ok(metrics)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is declared for a proxy from now on; `None`: it cannot be said.
    pub(crate) fn declare(&self, proxy: &str, share: Option<f64>) {
        match share {
            Some(share) => self.declared.with_label_values(&[proxy]).set(share),
            // An error means that there is no series.
            None => drop(self.declared.remove_label_values(&[proxy])),
        }
    }

    /// So many of `all` were touched, now.
    pub(crate) fn measure(&self, lab: u32, proxy: &str, witness: &'static str, touched: u64, all: u64) {
        let mut windows = self.windows();
        let window = windows.entry(((lab, proxy.to_owned()), witness)).or_default();
        let now = Instant::now();
        window.push_back((now, touched, all));
        while window.front().is_some_and(|(at, ..)| now.duration_since(*at) >= WINDOW) {
            window.pop_front();
        }
        let add = |sum: (u64, u64), one: &(Instant, u64, u64)| {
            (sum.0.saturating_add(one.1), sum.1.saturating_add(one.2))
        };
        match window.iter().fold((0, 0), add) {
            (_, 0) => drop(self.measured.remove_label_values(&[proxy, witness])),
            (touched, all) => {
                self.measured.with_label_values(&[proxy, witness]).set(touched as f64 / all as f64);
            }
        }
    }

    /// The run of that lab is over, and nobody measures.
    pub(crate) fn over(&self, lab: u32) {
        let mut windows = self.windows();
        let mine: Vec<_> = windows.keys().filter(|((of, _), _)| *of == lab).cloned().collect();
        for key in mine {
            windows.remove(&key);
            let ((_, proxy), witness) = key;
            if !windows.keys().any(|((_, other), by)| *other == proxy && *by == witness) {
                drop(self.measured.remove_label_values(&[&proxy, witness]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_that_of_the_last_second_and_gone_when_nobody_measures() {
        let registry = Registry::new();
        let metrics = DoseMetrics::register(&registry).unwrap();
        let shown = || {
            let families = registry.gather();
            let measured = families.iter().find(|family| family.name() == "scenario_dose_measured_ratio")?;
            Some(measured.get_metric()[0].get_gauge().get_value())
        };
        metrics.measure(1, "a", CANARY, 0, 0);
        assert_eq!(shown(), None, "nothing was asked");
        metrics.measure(1, "a", CANARY, 1, 1);
        tokio::time::advance(Duration::from_millis(600)).await;
        metrics.measure(1, "a", CANARY, 0, 3);
        assert_eq!(shown(), Some(0.25));
        tokio::time::advance(Duration::from_millis(600)).await;
        metrics.measure(1, "a", CANARY, 1, 1);
        assert_eq!(shown(), Some(0.25), "the first is forgotten");
        metrics.measure(2, "a", CANARY, 1, 1);
        metrics.over(1);
        assert!(shown().is_some(), "another lab measures under the same name");
        metrics.over(2);
        assert_eq!(shown(), None);
    }
}
