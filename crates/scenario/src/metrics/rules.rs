//! What the judge said of the last run of each scenario, rule by rule.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

/// Scenarios whose rules are shown: those judged last. A suite's report has them all.
const SCENARIOS_MAX: usize = 20;
/// Rules of one of them.
const RULES_MAX: usize = 40;

/// One rule of a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleOutcome {
    /// Its stable name.
    pub rule: String,
    /// Did it hold? `None`: that could not be said.
    pub passed: Option<bool>,
    /// What was measured and what the limit was, where each is one number, in seconds, shares (0-1) or counts.
    pub value_and_limit: Option<(f64, f64)>,
}

/// Scenarios and their rules, the one judged last at the end.
type Shown = VecDeque<(String, Vec<String>)>;

#[derive(Debug, Clone)]
pub(crate) struct RuleMetrics {
    passed: IntGaugeVec,
    value: GaugeVec,
    limit: GaugeVec,
    recovery: GaugeVec,
    shown: Arc<Mutex<Shown>>,
}

impl RuleMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rule = ["scenario", "rule"];
        let floats = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &rule);
        let metrics = Self {
            passed: IntGaugeVec::new(
                Opts::new(
                    "scenario_rule_passed",
                    "1 if the rule held in the scenario's last run, 0 if not; absent where that could not be said. Of the 20 \
                     scenarios judged last.",
                ),
                &rule,
            )?,
            value: floats(
                "scenario_rule_value",
                "What was measured for the rule: seconds, a share (0-1) or a count.",
            )?,
            limit: floats("scenario_rule_limit", "The rule's limit, in the unit of its value.")?,
            recovery: GaugeVec::new(
                Opts::new(
                    "scenario_recovery_seconds",
                    "Fault off to all breakers closed and sustained recovery of goodput, error rate and p99 in the scenario's last \
                     run; absent where there was none.",
                ),
                &["scenario"],
            )?,
            shown: Arc::default(),
        };
        registry.register(Box::new(metrics.passed.clone()))?;
        registry.register(Box::new(metrics.value.clone()))?;
        registry.register(Box::new(metrics.limit.clone()))?;
        registry.register(Box::new(metrics.recovery.clone()))?;
        Ok(metrics)
    }

    pub(super) fn judged(&self, scenario: &str, rules: &[RuleOutcome], recovery_s: Option<f64>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = shown.iter().position(|(name, _)| name == scenario)
            && let Some(gone) = shown.remove(before)
        {
            self.remove(&gone);
        }
        while shown.len() >= SCENARIOS_MAX
            && let Some(gone) = shown.pop_front()
        {
            self.remove(&gone);
        }
        let rules: Vec<&RuleOutcome> = rules.iter().take(RULES_MAX).collect();
        for outcome in &rules {
            let labels = [scenario, &outcome.rule];
            if let Some(passed) = outcome.passed {
                self.passed.with_label_values(&labels).set(passed.into());
            }
            if let Some((value, limit)) = outcome.value_and_limit {
                self.value.with_label_values(&labels).set(value);
                self.limit.with_label_values(&labels).set(limit);
            }
        }
        if let Some(seconds) = recovery_s {
            self.recovery.with_label_values(&[scenario]).set(seconds);
        }
        shown.push_back((scenario.to_owned(), rules.iter().map(|outcome| outcome.rule.clone()).collect()));
    }

    /// Errors mean that there was no such series.
    fn remove(&self, (scenario, rules): &(String, Vec<String>)) {
        for rule in rules {
            drop(self.passed.remove_label_values(&[scenario, rule]));
            drop(self.value.remove_label_values(&[scenario, rule]));
            drop(self.limit.remove_label_values(&[scenario, rule]));
        }
        drop(self.recovery.remove_label_values(&[scenario]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_shows_its_last_run_and_old_scenarios_go() {
        let registry = Registry::new();
        let metrics = RuleMetrics::register(&registry).unwrap();
        let count = |name: &str| {
            let families = registry.gather();
            families.iter().find(|family| family.name() == name).map_or(0, |family| family.get_metric().len())
        };
        let rule = |name: &str, passed, value_and_limit| RuleOutcome {
            rule: name.to_owned(),
            passed,
            value_and_limit,
        };
        let first = [rule("recovery", Some(true), Some((1.2, 5.0))), rule("probes", Some(true), None)];
        metrics.judged("s", &first, Some(1.2));
        assert_eq!((count("scenario_rule_passed"), count("scenario_recovery_seconds")), (2, 1));
        metrics.judged("s", &[rule("recovery", None, None)], None);
        let left = ["scenario_rule_passed", "scenario_rule_value", "scenario_recovery_seconds"].map(count);
        assert_eq!(left, [0, 0, 0], "nothing of the run before");
        for n in 0..100 {
            metrics.judged(&format!("s{n}"), &first, Some(1.0));
        }
        assert_eq!(count("scenario_rule_passed"), 2 * SCENARIOS_MAX);
        assert_eq!(count("scenario_recovery_seconds"), SCENARIOS_MAX);
    }
}
