//! What scenariod exports of its runs.

mod api;
mod dose;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use observation::PhaseKind;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use toxiproxy::wire::Toxic;

use api::ApiMetrics;
pub use api::watch as watch_api;
use dose::DoseMetrics;
pub(crate) use dose::{CANARY, PROXY};
use rules::RuleMetrics;
pub use rules::RuleOutcome;

/// Scenarios with series of their own, in the order in which they came; all later ones share those of [`OTHER`]. A process
/// that is given thousands of scenario files keeps below 5 000 series all the same.
const SCENARIOS_MAX: usize = 150;
/// Label of the scenarios beyond [`SCENARIOS_MAX`].
const OTHER: &str = "other";
/// Servers of a client that have a series of their own; a client names them itself.
const SERVERS_MAX: usize = 200;

/// Lab, proxy and name of a toxic.
type Key = (u32, String, String);

/// Handles; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    phase: IntGaugeVec,
    phase_duration: GaugeVec,
    phase_start: GaugeVec,
    trip_expected: IntGaugeVec,
    dose: DoseMetrics,
    api: ApiMetrics,
    rules: RuleMetrics,
    runs: IntCounterVec,
    active: IntGauge,
    /// Scenarios that run, each as often as it does.
    running: Arc<Mutex<HashMap<String, u32>>>,
    /// Which of several labs: their proxies have the same names.
    lab: u32,
    cleanup_stuck: IntGauge,
    toxic_active: IntGaugeVec,
    toxic_value: GaugeVec,
    /// Scenarios that have series.
    scenarios: Arc<Mutex<HashSet<String>>>,
    /// What is there: series must go when their toxic goes.
    toxics: Arc<Mutex<HashMap<Key, Toxic>>>,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let ints = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let floats = |name: &str, help: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            phase: ints(
                "scenario_phase",
                "Phase of the scenario: 0 idle, 1 stabilization, 2 testing, 3 recovery.",
                &["scenario"],
            )?,
            phase_duration: floats(
                "scenario_phase_duration_seconds",
                "How long the phase took when it was last run.",
                &["scenario", "phase"],
            )?,
            phase_start: floats(
                "scenario_phase_start_time_seconds",
                "When the phase began when it was last run, Unix time.",
                &["scenario", "phase"],
            )?,
            trip_expected: ints(
                "scenario_trip_expected",
                "1 while a fault is on that must open the breaker of that server of the client within 5 s, as computed from the \
                 client's settings, the fault and the load.",
                &["server"],
            )?,
            dose: DoseMetrics::register(registry)?,
            api: ApiMetrics::register(registry)?,
            rules: RuleMetrics::register(registry)?,
            runs: IntCounterVec::new(
                Opts::new(
                    "scenario_runs_total",
                    "Runs by verdict: pass, fail, inconclusive, invalid, stopped, or error when there was none.",
                ),
                &["scenario", "status"],
            )?,
            active: IntGauge::new("scenario_active", "1 while a scenario runs.")?,
            cleanup_stuck: IntGauge::new(
                "scenario_cleanup_stuck",
                "1 while a call that takes a fault away hangs, or its fault is still there.",
            )?,
            toxic_active: ints(
                "toxiproxy_toxic_active",
                "1 while a toxic of scenariod's is on that proxy, as the proxy's API has confirmed.",
                &["server", "type"],
            )?,
            toxic_value: floats(
                "toxiproxy_toxic_value",
                "Attribute of an active toxic in the API's unit: latency, jitter, timeout, rto_ms and slow_close's delay in \
                 ms, slicer's delay in µs, rate in KB/s, sizes and bytes in bytes, loss_ppm in parts per million; toxicity \
                 is a share.",
                &["server", "type", "param"],
            )?,
            running: Arc::default(),
            lab: 0,
            scenarios: Arc::default(),
            toxics: Arc::default(),
        };
        registry.register(Box::new(metrics.phase.clone()))?;
        registry.register(Box::new(metrics.phase_duration.clone()))?;
        registry.register(Box::new(metrics.phase_start.clone()))?;
        registry.register(Box::new(metrics.trip_expected.clone()))?;
        registry.register(Box::new(metrics.runs.clone()))?;
        registry.register(Box::new(metrics.active.clone()))?;
        registry.register(Box::new(metrics.cleanup_stuck.clone()))?;
        registry.register(Box::new(metrics.toxic_active.clone()))?;
        registry.register(Box::new(metrics.toxic_value.clone()))?;
        Ok(metrics)
    }

    /// The same metrics for one of several labs.
    pub fn for_lab(&self, lab: u32) -> Self {
        Self { lab, ..self.clone() }
    }

    fn label<'a>(&self, scenario: &'a str) -> &'a str {
        let mut known = self.scenarios.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(scenario) || known.len() < SCENARIOS_MAX && known.insert(scenario.to_owned()) {
            scenario
        } else {
            OTHER
        }
    }

    /// Exports a scenario as idle, before it first runs.
    pub fn announce(&self, scenario: &str) {
        let scenario = self.label(scenario);
        self.phase.with_label_values(&[scenario]).set(PhaseKind::Idle.gauge());
        for status in ["pass", "fail", "inconclusive", "invalid", "stopped", "error"] {
            self.runs.with_label_values(&[scenario, status]);
        }
    }

    /// A run of this scenario begins.
    pub fn run_began(&self, scenario: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running.entry(scenario.to_owned()).or_default() += 1;
        self.active.set(1);
    }

    /// A phase of a run began, at that Unix time. Where several runs of a scenario are side by side, the last word is shown.
    pub fn phase(&self, scenario: &str, phase: PhaseKind, unix_s: f64) {
        let scenario = self.label(scenario);
        self.phase.with_label_values(&[scenario]).set(phase.gauge());
        self.phase_start.with_label_values(&[scenario, phase.name()]).set(unix_s);
    }

    /// A run of this scenario has nothing more to do.
    pub fn run_idle(&self, scenario: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let left = running.get(scenario).map_or(0, |runs| runs.saturating_sub(1));
        match left {
            0 => {
                running.remove(scenario);
                self.phase.with_label_values(&[self.label(scenario)]).set(PhaseKind::Idle.gauge());
            }
            left => drop(running.insert(scenario.to_owned(), left)),
        }
        self.active.set(i64::from(!running.is_empty()));
    }

    /// Nobody measures the dose of this run any more.
    pub(crate) fn dose_over(&self) {
        self.dose.over(self.lab);
    }

    /// The client under test has these servers, and no fault is on that must open a breaker of theirs.
    pub(crate) fn no_trip_expected<'a>(&self, servers: impl Iterator<Item = &'a str>) {
        servers.take(SERVERS_MAX).for_each(|server| self.trip_expected.with_label_values(&[server]).set(0));
    }

    /// A fault is on that must open these breakers.
    pub(crate) fn trip_expected<'a>(&self, servers: impl Iterator<Item = &'a str>) {
        servers.take(SERVERS_MAX).for_each(|server| self.trip_expected.with_label_values(&[server]).set(1));
    }

    /// The share (0-1) of requests to each proxy that the faults which are on should touch; `None`: it cannot be said.
    pub(crate) fn dose_declared(&self, shares: &BTreeMap<String, Option<f64>>) {
        shares.iter().for_each(|(proxy, share)| self.dose.declare(proxy, *share));
    }

    /// So many of `all` were touched at a proxy, as that witness tells.
    pub(crate) fn dose_measured(&self, proxy: &str, witness: &'static str, touched: u64, all: u64) {
        self.dose.measure(self.lab, proxy, witness, touched, all);
    }

    /// A run was judged: each rule, and how long the recovery took, s.
    pub fn judged(&self, scenario: &str, rules: &[RuleOutcome], recovery_s: Option<f64>) {
        self.rules.judged(self.label(scenario), rules, recovery_s);
    }

    /// Counts a client's calls of the API.
    pub(crate) fn observe_calls(&self, client: toxiproxy::Client) -> toxiproxy::Client {
        client.observed(Arc::new(self.api.clone()))
    }

    /// A phase ended.
    pub fn phase_took(&self, scenario: &str, phase: PhaseKind, seconds: f64) {
        self.phase_duration.with_label_values(&[self.label(scenario), phase.name()]).set(seconds);
    }

    /// A run ended with that verdict.
    pub fn run_ended(&self, scenario: &str, status: &str) {
        self.runs.with_label_values(&[self.label(scenario), status]).inc();
    }

    /// Taking a fault away hangs, or does no more.
    pub(crate) fn cleanup_stuck(&self, stuck: bool) {
        self.cleanup_stuck.set(stuck.into());
    }

    /// The API has confirmed a toxic.
    pub(crate) fn toxic_added(&self, proxy: &str, toxic: &Toxic) {
        self.toxic_active.with_label_values(&[proxy, &toxic.kind]).set(1);
        for (param, value) in params(toxic) {
            self.toxic_value.with_label_values(&[proxy, &toxic.kind, &param]).set(value);
        }
        self.toxics().insert((self.lab, proxy.to_owned(), toxic.name.clone()), toxic.clone());
    }

    /// The kernel loses that share (0-1) of a proxy's packets: shown as if it were a toxic of it.
    pub(crate) fn kernel_loss_began(&self, proxy: &str, id: &str, share: f64) {
        let ppm = (share * 1e6).round() as i64;
        let toxic = Toxic {
            name: id.to_owned(),
            kind: "loss_kernel".to_owned(),
            stream: String::new(),
            toxicity: 1.0,
            attributes: [("loss_ppm".to_owned(), ppm.into())].into(),
        };
        self.toxic_added(proxy, &toxic);
    }

    /// The API has confirmed that it is gone.
    pub(crate) fn toxic_removed(&self, proxy: &str, name: &str) {
        let Some(toxic) = self.toxics().remove(&(self.lab, proxy.to_owned(), name.to_owned())) else {
            return;
        };
        // Another of the same kind, in the other direction or another lab, may still be there.
        if self.toxics().iter().any(|((_, of, _), other)| of == proxy && other.kind == toxic.kind) {
            return;
        }
        self.toxic_active.with_label_values(&[proxy, &toxic.kind]).set(0);
        for (param, _) in params(&toxic) {
            // An error means that the series is gone already.
            let _ = self.toxic_value.remove_label_values(&[proxy, &toxic.kind, &param]);
        }
    }

    fn toxics(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Toxic>> {
        self.toxics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn params(toxic: &Toxic) -> Vec<(String, f64)> {
    let numbers =
        toxic.attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.number()? as f64)));
    numbers.chain([("toxicity".to_owned(), toxic.toxicity)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(registry: &Registry) -> usize {
        registry.gather().iter().map(|family| family.get_metric().len()).sum()
    }

    #[test]
    fn a_thousand_scenarios_and_a_hundred_servers_stay_below_five_thousand_series_and_half_a_megabyte() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let run = |scenario: &str, proxy: &str| {
            metrics.announce(scenario);
            let toxic = Toxic {
                name: format!("scenariod-{scenario}"),
                kind: "latency".to_owned(),
                stream: "downstream".to_owned(),
                toxicity: 1.0,
                attributes: [("latency".to_owned(), 5.into())].into(),
            };
            metrics.toxic_added(proxy, &toxic);
            metrics.run_began(scenario);
            for phase in [PhaseKind::Stabilization, PhaseKind::Testing, PhaseKind::Recovery] {
                metrics.phase(scenario, phase, 1.5e9);
                metrics.phase_took(scenario, phase, 1.0);
            }
            metrics.no_trip_expected(["a", proxy].into_iter());
            metrics.trip_expected([proxy].into_iter());
            metrics.dose_declared(&[(proxy.to_owned(), Some(0.5))].into());
            metrics.dose_measured(proxy, CANARY, 1, 2);
            metrics.dose_measured(proxy, PROXY, 1, 2);
            metrics.toxic_removed(proxy, &toxic.name);
            metrics.run_idle(scenario);
            metrics.run_ended(scenario, "pass");
            let rules = (0..60).map(|n| RuleOutcome {
                rule: format!("rule-{n}"),
                passed: Some(true),
                value_and_limit: Some((1.5, 2.5)),
            });
            metrics.judged(scenario, &rules.collect::<Vec<_>>(), Some(1.0));
        };
        (0..1_000).for_each(|n| run(&format!("s{n}"), &format!("memcached{}", n % 100)));
        let after_a_thousand = series(&registry);
        assert!(after_a_thousand < 5_000, "{after_a_thousand}");
        let bytes = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap().len();
        assert!(bytes < 500_000, "{bytes}");
        (1_000..3_000).for_each(|n| run(&format!("s{n}"), &format!("memcached{}", n % 100)));
        assert_eq!(series(&registry), after_a_thousand);
        assert_eq!(metrics.runs.with_label_values(&["s7", "pass"]).get(), 1);
        assert_eq!(metrics.runs.with_label_values(&[OTHER, "pass"]).get(), 3_000 - SCENARIOS_MAX as u64);
    }

    #[test]
    fn labs_side_by_side_do_not_take_each_others_series_away() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let labs = [metrics.for_lab(1), metrics.for_lab(2)];
        let toxic = Toxic {
            name: "scenariod.1".to_owned(),
            kind: "latency".to_owned(),
            stream: "downstream".to_owned(),
            toxicity: 1.0,
            attributes: [].into(),
        };
        let active = || metrics.toxic_active.with_label_values(&["memcached1", "latency"]).get();
        labs.iter().for_each(|lab| lab.toxic_added("memcached1", &toxic));
        labs[0].toxic_removed("memcached1", &toxic.name);
        assert_eq!(active(), 1);
        labs[1].toxic_removed("memcached1", &toxic.name);
        assert_eq!(active(), 0);

        let phase = || metrics.phase.with_label_values(&["a"]).get();
        labs.iter().for_each(|lab| lab.run_began("a"));
        labs[0].phase("a", PhaseKind::Testing, 0.0);
        labs[0].run_idle("a");
        assert_eq!((metrics.active.get(), phase()), (1, 2));
        labs[1].run_idle("a");
        assert_eq!((metrics.active.get(), phase()), (0, 0));
    }
}
