//! May a phase end before its time? The judge's own rules, asked while the run lasts.

use observation::journal::{Entry, Journal, Source};
use observation::{BreakerState, FaultState, PhaseKind, Record};

use crate::measure::seconds::seconds;
use crate::statistics::{Baseline, baseline, recovery};
use crate::timeline::Timeline;

/// A run as far as it has come.
#[derive(Debug)]
pub struct Steady {
    /// What the rules are about: who the client is, phases, faults, and the ticks of this phase.
    journal: Journal,
    phase: PhaseKind,
    began_us: u64,
    lifted_us: u64,
    /// End of the last tick.
    seen_us: u64,
    /// Seconds of the phase at the last answer: there is a new one only with a new second.
    answered: u64,
    /// With the ops/s that were offered. `None`: there is none, or not yet.
    baseline: Option<(Baseline, f64)>,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            journal: Journal { entries: Vec::new(), truncated: false },
            phase: PhaseKind::Idle,
            began_us: 0,
            lifted_us: 0,
            seen_us: 0,
            answered: 0,
            baseline: None,
        }
    }
}

impl Steady {
    /// One more line of the run's journal.
    pub fn entry(&mut self, entry: &Entry) {
        match (&entry.record, entry.source) {
            (Record::Tick(_), _) => {
                self.seen_us = self.seen_us.max(entry.at_us);
                // How the client does under the fault is no rule of these.
                if self.phase != PhaseKind::Testing {
                    self.journal.entries.push(entry.clone());
                }
            }
            (Record::Hello(_), _) => self.journal.entries.push(entry.clone()),
            (Record::Fault(fault), Source::Runner) if fault.state == FaultState::Lifted => {
                self.lifted_us = fault.at_us;
            }
            (Record::Phase(phase), Source::Runner) => {
                if phase.phase == PhaseKind::Testing {
                    self.baseline = self.baseline_until(phase.at_us).ok();
                }
                self.journal.entries.retain(|entry| !matches!(entry.record, Record::Tick(_)));
                (self.phase, self.began_us, self.answered) = (phase.phase, phase.at_us, 0);
            }
            _ => {}
        }
    }

    /// Why the phase that runs may end now; `None`: not yet, or there is no rule for it.
    pub fn stable(&mut self) -> Option<String> {
        let from = match self.phase {
            PhaseKind::Stabilization => self.began_us,
            // A control run has no fault that could have been lifted.
            PhaseKind::Recovery if self.lifted_us == 0 => self.began_us,
            PhaseKind::Recovery => self.lifted_us,
            PhaseKind::Idle | PhaseKind::Testing => return None,
        };
        let seconds = self.seen_us.saturating_sub(from) / 1_000_000;
        if seconds == self.answered {
            return None;
        }
        self.answered = seconds;
        match self.phase {
            PhaseKind::Stabilization => self.settled(),
            _ => self.recovered(from),
        }
    }

    fn settled(&self) -> Option<String> {
        let (baseline, _) = self.baseline_until(self.seen_us).ok()?;
        let noise = baseline.noise() * 100.0;
        Some(format!("{} s of {:.0} ok/s ± {noise:.1} % are a baseline", baseline.seconds, baseline.median))
    }

    fn baseline_until(&self, to: u64) -> Result<(Baseline, f64), baseline::Unfit> {
        let timeline = Timeline::read(&self.journal);
        let sum = timeline.sum(self.began_us, to);
        let offered = sum.offered_per_s();
        let baseline = baseline::assess(&seconds(&timeline, self.began_us, to, offered))?;
        Ok((baseline, offered))
    }

    fn recovered(&self, from: u64) -> Option<String> {
        let (baseline, offered) = self.baseline?;
        let timeline = Timeline::read(&self.journal);
        let (_, last) = timeline.ticks.last()?;
        if last.servers.iter().any(|server| server.breaker != BreakerState::Closed) {
            return None;
        }
        let seconds = seconds(&timeline, from, self.seen_us, offered);
        // What the noise asks for, whole: a phase that ends early is not to be judged over less.
        let wanted = recovery::horizon(&baseline, seconds.len())?.wanted;
        let since = recovery::held(&seconds, &baseline, wanted)?;
        Some(format!("as before the fault for {} s, since {since} s after it", seconds.len() - since))
    }
}

#[cfg(test)]
mod tests {
    use observation::{Counts, Histogram, Outcome, Phase, ServerTick, Tick};

    use super::*;

    const TICK_US: u64 = 100_000;

    /// A client that is fed to it tick by tick.
    #[derive(Default)]
    struct Scene {
        steady: Steady,
        now_us: u64,
    }

    impl Scene {
        fn enter(&mut self, phase: PhaseKind) {
            let at_us = self.now_us;
            let record = Record::Phase(Phase { at_us, phase });
            self.steady.entry(&Entry { at_us, source: Source::Runner, record });
        }

        fn tick(&mut self, ok: u64, errors: u64, breaker: BreakerState) {
            self.now_us += TICK_US;
            let mut ops = Counts::default();
            ops.add(Outcome::Hit, ok);
            ops.add(Outcome::Timeout, errors);
            let latency = Histogram(vec![(500, ok)]);
            let server = ServerTick { server: "a".into(), ops, latency, breaker, ..ServerTick::default() };
            let tick = Tick {
                at_us: self.now_us,
                period_us: TICK_US,
                offered: 100,
                started: 100,
                servers: vec![server],
                ..Tick::default()
            };
            let record = Record::Tick(tick);
            self.steady.entry(&Entry { at_us: self.now_us, source: Source::Client, record });
        }

        /// Ticks until the phase may end, and why; at most a minute of them.
        fn until_stable(&mut self, ok: u64, errors: u64, breaker: BreakerState) -> Option<(u64, String)> {
            let began = self.now_us;
            (0..600).find_map(|_| {
                self.tick(ok, errors, breaker);
                let why = self.steady.stable()?;
                Some(((self.now_us - began) / TICK_US, why))
            })
        }

        fn ticks(&mut self, n: u64, ok: u64, errors: u64, breaker: BreakerState) {
            (0..n).for_each(|_| self.tick(ok, errors, breaker));
        }
    }

    fn well() -> Scene {
        let mut scene = Scene::default();
        scene.enter(PhaseKind::Stabilization);
        scene.until_stable(100, 0, BreakerState::Closed).unwrap();
        scene.enter(PhaseKind::Testing);
        scene.ticks(50, 50, 50, BreakerState::Open);
        assert_eq!(scene.steady.stable(), None, "how long a fault lasts is not its to say");
        scene.enter(PhaseKind::Recovery);
        scene
    }

    #[test]
    fn a_baseline_is_one_with_its_least_seconds_and_not_before() {
        let mut scene = Scene::default();
        scene.enter(PhaseKind::Stabilization);
        let (ticks, why) = scene.until_stable(100, 0, BreakerState::Closed).unwrap();
        assert_eq!(ticks, baseline::SECONDS_MIN as u64 * 10);
        assert_eq!(why, "8 s of 1000 ok/s ± 0.0 % are a baseline");
    }

    #[test]
    fn a_baseline_with_errors_is_waited_for_until_it_is_well() {
        let mut scene = Scene::default();
        scene.enter(PhaseKind::Stabilization);
        assert_eq!(scene.until_stable(95, 5, BreakerState::Closed), None);
        // The last 30 s count.
        let (ticks, _) = scene.until_stable(100, 0, BreakerState::Closed).unwrap();
        assert!((250..=300).contains(&ticks), "{ticks}");
    }

    #[test]
    fn recovery_must_have_held_for_its_whole_horizon() {
        let mut scene = well();
        scene.ticks(30, 60, 40, BreakerState::Closed);
        let (ticks, why) = scene.until_stable(100, 0, BreakerState::Closed).unwrap();
        assert_eq!((ticks, why.as_str()), (100, "as before the fault for 10 s, since 3 s after it"));
    }

    #[test]
    fn an_open_breaker_or_errors_are_no_recovery() {
        assert_eq!(well().until_stable(100, 0, BreakerState::HalfOpen), None);
        assert_eq!(well().until_stable(98, 2, BreakerState::Closed), None);
    }

    #[test]
    fn without_a_baseline_nothing_has_recovered() {
        let mut scene = Scene::default();
        scene.enter(PhaseKind::Stabilization);
        scene.ticks(20, 100, 0, BreakerState::Closed);
        scene.enter(PhaseKind::Testing);
        scene.enter(PhaseKind::Recovery);
        assert_eq!(scene.until_stable(100, 0, BreakerState::Closed), None);
    }

    #[test]
    fn ticks_of_other_phases_are_not_kept() {
        let mut scene = well();
        scene.tick(100, 0, BreakerState::Closed);
        assert_eq!(scene.steady.journal.entries.len(), 1);
    }
}
