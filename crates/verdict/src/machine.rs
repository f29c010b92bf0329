//! Was the client's machine the limit? It is asked of runs that say too little, so that somebody knows what to change.

use observation::Host;
use serde::Serialize;

use crate::statistics::baseline::SECONDS_MIN;
use crate::timeline::Timeline;
use crate::{Criterion, Ruling};

/// Work waited for a processor in this share of the time, or a hypervisor took this share of the processors: then it was busy.
const WAITING: f64 = 0.25;
const STOLEN: f64 = 0.05;
/// A rate that is half as high is a clear difference; one below this is not proposed, ops/s: criteria need it.
const LOWER: f64 = 0.5;
const RATE_LEAST: f64 = 1_200.0;
/// Criteria that no machine is to blame for.
const OTHERS: [&str; 6] = ["alone", "clean", "completed", "essential", "fault-bit", "witness-agrees"];
/// Criteria that a busy machine makes invalid.
const MACHINES: [&str; 4] = ["baseline", "load", "observed", "surroundings"];

/// The client's machine while the run lasted. What it does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Machine {
    /// Share of the time in which some work waited for a processor, 0-1.
    pub waiting: Option<f64>,
    /// Processors that other programs kept busy, on average.
    pub others: Option<f64>,
    /// Processors that there are.
    pub processors: Option<u32>,
    /// Share of the processors' time that a hypervisor took, 0-1.
    pub stolen: Option<f64>,
}

impl Machine {
    pub(crate) fn of(hosts: &[&Host]) -> Self {
        let seconds: f64 = hosts.iter().map(|host| host.period_us as f64 / 1e6).sum();
        // A sum of what some records tell and others do not would be too small.
        let sum = |of: &dyn Fn(&Host) -> Option<u64>| {
            let values = hosts.iter().map(|host| of(host)).collect::<Option<Vec<u64>>>()?;
            (seconds > 0.0).then(|| values.iter().map(|us| *us as f64 / 1e6).sum::<f64>() / seconds)
        };
        let processors = hosts.iter().filter_map(|host| host.processors).max();
        Self {
            waiting: sum(&|host| Some(host.cpu?.some_us)).map(|share| share.min(1.0)),
            others: sum(&|host| Some(host.busy_us?.saturating_sub(host.own_cpu_us?))),
            processors,
            stolen: sum(&|host| host.steal_us).zip(processors).map(|(all, n)| all / f64::from(n.max(1))),
        }
    }

    fn is_busy(&self) -> bool {
        self.waiting.is_some_and(|share| share >= WAITING) || self.stolen.is_some_and(|share| share >= STOLEN)
    }

    /// What it was doing, in words; empty: it does not tell.
    fn describe(&self) -> String {
        let waiting = self
            .waiting
            .map(|share| format!("work waited for a processor for {:.0} % of the time", share * 100.0));
        let others = self
            .others
            .zip(self.processors)
            .map(|(others, n)| format!("other programs kept {others:.1} of {n} processors busy"));
        let stolen = self.stolen.filter(|share| *share >= STOLEN);
        let stolen =
            stolen.map(|share| format!("a hypervisor took {:.0} % of the processors' time", share * 100.0));
        [waiting, others, stolen].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What to do about a run that said too little, in one sentence; `None`: nothing need be done, or it is not the machine's matter.
pub(crate) fn advice(
    timeline: &Timeline<'_>,
    machine: &Machine,
    result: Ruling,
    criteria: &[Criterion],
) -> Option<String> {
    if timeline.stopped().is_some() || !matches!(result, Ruling::Inconclusive | Ruling::Invalid) {
        return None;
    }
    let doubtful =
        criteria.iter().filter(|criterion| criterion.result == result && !OTHERS.contains(&criterion.id));
    let mut doubtful =
        doubtful.filter(|criterion| result == Ruling::Inconclusive || MACHINES.contains(&criterion.id));
    doubtful.next()?;
    let least_us = SECONDS_MIN as u64 * 1_000_000;
    if timeline.baseline_window().is_some_and(|(from, to)| to - from < least_us) {
        return Some(format!(
            "The phase before the fault is too short: give it {SECONDS_MIN} s or more (--stabilization)."
        ));
    }
    if !machine.is_busy() {
        return (result == Ruling::Inconclusive).then(|| {
            "The machine was not busy: run it again, with longer phases if it stays so.".to_owned()
        });
    }
    let rate = timeline.hello.and_then(|hello| hello.settings.load.rate_ops_per_s);
    let lower = rate.map(|rate| rate * LOWER).filter(|rate| *rate >= RATE_LEAST);
    let lower = lower.map_or(String::new(), |rate| format!(", or ask for less (--rate {rate:.0})"));
    Some(format!(
        "The machine was too busy: {}. Run it with less beside it (other programs, --jobs){lower}.",
        machine.describe()
    ))
}

#[cfg(test)]
mod tests {
    use observation::Stall;

    use super::*;

    fn second(waiting_us: u64) -> Host {
        Host {
            period_us: 1_000_000,
            cpu: Some(Stall { some_us: waiting_us, full_us: 0 }),
            own_cpu_us: Some(300_000),
            busy_us: Some(1_900_000),
            processors: Some(2),
            steal_us: Some(0),
            ..Host::default()
        }
    }

    #[test]
    fn a_busy_machine_is_described_by_what_it_tells() {
        let (busy, calm) = (second(900_000), second(100_000));
        let machine = Machine::of(&[&busy, &busy]);
        assert!(machine.is_busy() && !Machine::of(&[&calm]).is_busy());
        assert_eq!(
            machine.describe(),
            "work waited for a processor for 90 % of the time, other programs kept 1.6 of 2 processors busy"
        );
        let stolen = Host { steal_us: Some(400_000), ..calm };
        let machine = Machine::of(&[&stolen]);
        assert!(
            machine.is_busy()
                && machine.describe().ends_with("a hypervisor took 20 % of the processors' time"),
            "{machine:?}"
        );
    }

    #[test]
    fn what_is_not_told_is_absent() {
        assert_eq!(Machine::of(&[]), Machine::default());
        let silent = Host { own_cpu_us: None, ..second(0) };
        assert_eq!(Machine::of(&[&second(0), &silent]).others, None);
        assert!(!Machine::default().is_busy() && Machine::default().describe().is_empty());
    }
}
