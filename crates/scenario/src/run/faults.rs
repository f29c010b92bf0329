//! A run's faults: how they are applied, and the way down the ladder at every way out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use observation::{End, EndStatus, Fault, FaultState, LoadKind, NoteCode, Record, clock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::environment::{Ahead, RunError, RunOutcome};
use super::follow::Broken;
use super::recorder::Writing;
use super::rungs::{self, Rung, Trouble};
use super::runner::{AppliedPart, Running};
use super::status::Status;
use crate::backends::BackendError;
use crate::backends::resource::Resource;

/// The lease of a fault outlasts its phase by this.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// Pause before the second and last try of a ladder that hangs.
const STUCK_PAUSE: Duration = Duration::from_secs(10);
/// Patience for canaries that are as quick as before the fault, and how often they are looked at.
const CANARY_MAX: Duration = Duration::from_secs(5);
const CANARY_PAUSE: Duration = Duration::from_millis(20);

/// A part of a fault that has a name, and was not applied yet.
struct PlannedPart {
    backend: usize,
    /// Without moments and state.
    record: Fault,
    resource: Option<Resource>,
}

impl Running<'_> {
    /// Applies every fault; the intent is on disk before each call.
    pub(super) async fn apply(&mut self) -> Result<(), Broken> {
        let lease = self.phases.testing + LEASE_MARGIN;
        self.health.values().for_each(|health| health.fault_begins());
        self.hold.until(lease).await.map_err(|error| Broken::Failed(error.to_string()))?;
        let parts = self.parts(lease).map_err(|error| Broken::Failed(error.to_string()))?;
        for backend in &mut self.plan.backends {
            backend.begin().await.map_err(|error| Broken::Failed(error.to_string()))?;
        }
        for part in parts {
            self.apply_part(part, lease).await?;
        }
        self.declare();
        Ok(())
    }

    /// Names every part of every fault.
    fn parts(&mut self, lease: Duration) -> Result<Vec<PlannedPart>, BackendError> {
        let deadline = clock::wall_ms() / 1000 + lease.as_secs();
        let mut parts = Vec::new();
        for fault in std::mem::take(&mut self.plan.faults) {
            let backend = &mut self.plan.backends[fault.backend];
            for target in &fault.targets {
                for id in backend.plan(&fault.given.spec, target, deadline)? {
                    let resource = backend.resource(&id);
                    let record = Fault {
                        at_us: 0,
                        id,
                        state: FaultState::Sent,
                        target: target.name.clone(),
                        server: target.server_name(),
                        kind: fault.meant.kind(),
                        given: fault.given.spec.describe(),
                        params: fault.given.spec.params(),
                        lease_until_us: 0,
                        error: None,
                    };
                    parts.push(PlannedPart { backend: fault.backend, record, resource });
                }
            }
        }
        Ok(parts)
    }

    async fn apply_part(&mut self, part: PlannedPart, lease: Duration) -> Result<(), Broken> {
        let PlannedPart { backend, record, resource } = part;
        let at_us = self.clock.now_us();
        let record = Fault { at_us, lease_until_us: at_us + lease.as_micros() as u64, ..record };
        if !self.journal.sync(Record::Fault(Box::new(record.clone()))).await {
            return Err(Broken::Failed("the journal cannot be written; no fault is applied".to_owned()));
        }
        // Remembered before the call: its answer may get lost, its effect not.
        self.applied.push(AppliedPart { backend, record: record.clone(), resource: resource.clone() });
        self.faulted.insert(record.target.clone());
        let applied = async {
            if let Some(resource) = &resource {
                self.hold.own(resource, lease).await.map_err(|error| error.to_string())?;
            }
            self.plan.backends[backend].apply(&record.id).await.map_err(|error| error.to_string())
        };
        if let Err(why) = applied.await {
            let failed = Fault { error: Some(why.clone()), ..record };
            self.record(&failed, FaultState::Failed).await;
            return Err(Broken::Failed(format!("fault on {}: {why}", failed.target)));
        }
        self.record(&record, FaultState::Acknowledged).await;
        Ok(())
    }

    /// Shows what the faults that are on should do, at the proxies and to the client's breakers.
    fn declare(&self) {
        let metrics = &self.environment.metrics;
        let faults: Vec<Fault> = self.applied.iter().map(|part| part.record.clone()).collect();
        let mut shares = BTreeMap::new();
        for fault in &faults {
            let share = fault.effect().declared_share();
            // The parts of one fault all declare the whole of it.
            let most = shares.entry(fault.target.clone()).or_insert(share);
            *most = most.zip(share).map(|(most, share)| f64::max(most, share));
            if let Some(health) = self.health.get(&fault.target) {
                health.fault_delays(Duration::from_micros(fault.effect().slow_us()));
            }
        }
        metrics.dose_declared(&shares);
        let load = &self.hello.settings.load;
        let open = load.rate_ops_per_s.filter(|_| load.kind == LoadKind::Open);
        // A closed loop offers what it did before the fault.
        let Some(offered) = open.or(self.environment.status.borrow().goodput) else { return };
        let ahead = Ahead { hello: &self.hello, faults: &faults, offered, length: self.phases.testing };
        let expected = (self.environment.forecast)(&ahead);
        metrics.trip_expected(expected.iter().map(String::as_str));
    }

    /// No fault is on, or is to be on any more.
    pub(super) fn nothing_is_declared(&self) {
        let metrics = &self.environment.metrics;
        let proxies = self.environment.proxies.wanted.iter().map(|proxy| (proxy.name.clone(), Some(0.0)));
        metrics.dose_declared(&proxies.collect());
        metrics.no_trip_expected(self.hello.servers.iter().map(|server| server.name.as_str()));
    }

    async fn record(&self, fault: &Fault, state: FaultState) {
        let record = Fault { at_us: self.clock.now_us(), state, ..fault.clone() };
        self.journal.append(Record::Fault(Box::new(record))).await;
    }

    async fn record_all(&self, state: FaultState) {
        for part in &self.applied {
            self.record(&part.record, state).await;
        }
    }

    /// First rung of the ladder. An error is not the end: the rungs below come anyway.
    pub(super) async fn lift(&mut self) {
        self.nothing_is_declared();
        for backend in &mut self.plan.backends {
            backend.look().await;
        }
        self.record_all(FaultState::Removing).await;
        let trouble = rungs::take(Rung::Lift, &mut self.plan.backends, |_| true).await;
        if trouble.is_none() {
            return self.record_all(FaultState::Lifted).await;
        }
        self.hang(&trouble).await;
        let why = trouble.text();
        tracing::error!("the effect of a fault could not be set to zero: {why}");
        self.note(NoteCode::Cleanup, why).await;
    }

    /// The other rungs; what is left is tried again at the end.
    pub(super) async fn remove(&mut self) {
        // Where the first rung hangs, another call would only wait behind it.
        let hung = self.hung.clone();
        let mut trouble = rungs::take(Rung::Remove, &mut self.plan.backends, |n| !hung.contains(&n)).await;
        self.hang(&trouble).await;
        if !self.hung.is_empty() {
            trouble = self.once_more(&trouble).await;
        }
        self.forget_applied(&trouble).await;
        if !trouble.is_none() {
            let why = trouble.text();
            tracing::error!("a fault is not gone: {why}");
            return self.note(NoteCode::Cleanup, why).await;
        }
        let faulted = self.faulted.iter().filter_map(|proxy| self.health.get(proxy));
        faulted.for_each(|health| health.fault_is_gone());
        self.hold.without_faults(self.phases.recovery).await;
    }

    /// The parts of all other backends are gone, and a janitor need not undo them.
    async fn forget_applied(&mut self, trouble: &Trouble) {
        let is_gone = |part: &mut AppliedPart| !trouble.failed.contains(&part.backend);
        let gone: Vec<AppliedPart> = self.applied.extract_if(.., is_gone).collect();
        for part in gone {
            self.record(&part.record, FaultState::Removed).await;
            if let Some(resource) = &part.resource {
                self.hold.disown(resource).await;
            }
        }
    }

    /// A call that was to take a fault away may have no answer: whatever is measured from now on, the fault may be in it.
    async fn hang(&mut self, trouble: &Trouble) {
        if trouble.hung.is_empty() {
            return;
        }
        self.hung.extend(&trouble.hung);
        let why = trouble.text();
        self.environment.metrics.cleanup_stuck(true);
        tracing::error!("taking a fault away hangs; once more in {STUCK_PAUSE:?}: {why}");
        self.note(NoteCode::CleanupStuck, why.clone()).await;
        self.stuck = Some(format!("{}: {why}", NoteCode::CleanupStuck));
    }

    /// After a pause, in which what is held may leave, the whole ladder a second and last time where it hung or failed.
    async fn once_more(&mut self, trouble: &Trouble) -> Trouble {
        tokio::time::sleep(STUCK_PAUSE).await;
        let again: BTreeSet<usize> = self.hung.union(&trouble.failed).copied().collect();
        let lifted = rungs::take(Rung::Lift, &mut self.plan.backends, |n| again.contains(&n)).await;
        // One that hangs again is not called any more.
        let removable = |n: usize| again.contains(&n) && !lifted.hung.contains(&n);
        let removed = rungs::take(Rung::Remove, &mut self.plan.backends, removable).await;
        removed.and(lifted)
    }

    /// The last rung: each proxy that had a fault answers as it did before.
    async fn answers_again(&self) -> Result<(), String> {
        let deadline = Instant::now() + CANARY_MAX;
        loop {
            let ails = |proxy: &String| Some(format!("{proxy}: {}", self.health.get(proxy)?.complaint()?));
            match self.faulted.iter().find_map(ails) {
                None => return Ok(()),
                Some(why) if Instant::now() >= deadline => return Err(why),
                Some(_) => tokio::time::sleep(CANARY_PAUSE).await,
            }
        }
    }

    /// Takes away what is left, reads back, writes the last line.
    pub(super) async fn finish(
        mut self,
        status: EndStatus,
        reason: Option<String>,
        writing: Writing,
        tasks: TaskTracker,
        done: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        let clean = self.leave_nothing().await;
        let (status, reason) = match self.stuck.take() {
            Some(stuck) if status == EndStatus::Completed => (EndStatus::Failed, Some(stuck)),
            _ => (status, reason),
        };
        self.environment.metrics.run_idle(&self.scenario.name);
        done.cancel();
        tasks.close();
        tasks.wait().await;
        self.environment.metrics.dose_over();
        let end = End { at_us: self.clock.now_us(), status, reason: reason.clone(), clean };
        self.journal.append(Record::End(end)).await;
        let Self { journal, dir, environment, .. } = self;
        drop(journal);
        environment.status.send_modify(|status| *status = Status::idle());
        match writing.await {
            Ok(written) => drop(written?),
            Err(error) => tracing::error!(%error, "the journal's writer died"),
        }
        Ok(RunOutcome { dir, status, reason, clean })
    }

    /// Takes away what is left and reads back; says whether everything is as it was before the run.
    async fn leave_nothing(&mut self) -> bool {
        // What hung twice is the janitor's, and a reaper's.
        if !self.applied.is_empty() && self.stuck.is_none() {
            self.lift().await;
            self.remove().await;
        }
        // Reads back even when nothing was applied: the promise is that nothing is there.
        let trouble = rungs::take(Rung::ReadBack, &mut self.plan.backends, |_| true).await;
        self.forget_applied(&trouble).await;
        let clean = trouble.is_none();
        if !clean {
            tracing::error!("cleaning up: {}", trouble.text());
        }
        if self.stuck.is_some() || !clean {
            self.environment.metrics.cleanup_stuck(!clean);
        }
        if clean && let Err(why) = self.answers_again().await {
            tracing::error!("a proxy does not answer as before its fault: {why}");
            self.note(NoteCode::CanaryNotBack, why).await;
            return false;
        }
        clean
    }
}
