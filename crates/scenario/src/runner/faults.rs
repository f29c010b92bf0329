//! A run's faults: how they are applied, and the way down the ladder at every way out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use observation::{End, EndStatus, Fault, FaultState, LoadKind, NoteCode, Record, clock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use toxiproxy::ClientError;

use super::{Ahead, Broken, RunError, RunOutcome, Running, Step};
use crate::fault::Act;
use crate::kernel::{self, KernelLoss, Namespace};
use crate::ladder::{Applied, Undo};
use crate::lease::Lease;
use crate::owner::TRIAL;
use crate::recorder::Writing;
use crate::status::Status;

/// The lease of a fault outlasts its phase by this.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// Pause before the second and last try of a ladder that hangs.
const STUCK_PAUSE: Duration = Duration::from_secs(10);
/// Patience for canaries that are as quick as before the fault, and how often they are looked at.
const CANARY_MAX: Duration = Duration::from_secs(5);
const CANARY_PAUSE: Duration = Duration::from_millis(20);

impl Running<'_> {
    /// Applies every fault; the intent is on disk before each call.
    pub(super) async fn apply(&mut self) -> Result<(), Broken> {
        let lease = self.phases.testing + LEASE_MARGIN;
        self.health.values().for_each(|health| health.fault_begins());
        self.hold.until(lease).await.map_err(|error| Broken::Failed(error.to_string()))?;
        self.take_lease().await?;
        for fault in std::mem::take(&mut self.faults) {
            for (index, (proxy, server)) in fault.proxies.iter().zip(&fault.servers).enumerate() {
                let place = fault.place.as_ref();
                let place = place.and_then(|place| Some((&place.namespace, *place.listens.get(index)?)));
                for act in fault.given.meaning.acts() {
                    let (step, id) = self.step(act, place, lease)?;
                    let record = Fault {
                        at_us: self.clock.now_us(),
                        id: id.clone(),
                        state: FaultState::Sent,
                        target: proxy.name.clone(),
                        server: server.clone(),
                        kind: fault.meant.name().into(),
                        given: fault.given.meaning.describe(),
                        params: fault.given.meaning.params(),
                        lease_until_us: self.clock.now_us() + lease.as_micros() as u64,
                        error: None,
                    };
                    if !self.journal.sync(Record::Fault(Box::new(record.clone()))).await {
                        return Err(Broken::Failed(
                            "the journal cannot be written; no fault is applied".to_owned(),
                        ));
                    }
                    // Remembered before the call: its answer may get lost, its effect not.
                    let undo = |undo| Applied { proxy: proxy.name.clone(), toxic: id.clone(), undo };
                    let applied = match &step {
                        Step::Toxic(plan) => Some(undo(plan.into())),
                        Step::Disable => Some(undo(Undo::Enable)),
                        Step::Lose { .. } => None,
                    };
                    self.applied.push((applied, record.clone()));
                    self.faulted.insert(proxy.name.clone());
                    if let Err(why) = self.take(step, &proxy.name, &id, lease).await {
                        let failed = Fault { error: Some(why.clone()), ..record };
                        self.fault(&failed, FaultState::Failed).await;
                        return Err(Broken::Failed(format!("fault on {}: {why}", proxy.name)));
                    }
                    self.fault(&record, FaultState::Acknowledged).await;
                }
            }
        }
        self.declare();
        Ok(())
    }

    /// Shows what the faults that are on should do, at the proxies and to the client's breakers.
    fn declare(&self) {
        let metrics = &self.environment.metrics;
        let faults: Vec<Fault> = self.applied.iter().map(|(_, fault)| fault.clone()).collect();
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
        let proxies = self.environment.proxies.iter().map(|proxy| (proxy.name.clone(), Some(0.0)));
        metrics.dose_declared(&proxies.collect());
        metrics.no_trip_expected(self.hello.servers.iter().map(|server| server.name.as_str()));
    }

    /// What to do for one act, and the name under which it will be known.
    fn step(
        &mut self,
        act: Act,
        place: Option<(&Namespace, SocketAddr)>,
        lease: Duration,
    ) -> Result<(Step, String), Broken> {
        let deadline = clock::wall_ms() / 1000 + lease.as_secs();
        self.numbers = self
            .numbers
            .checked_add(1)
            .filter(|number| *number < TRIAL)
            .ok_or_else(|| Broken::Failed("more faults than have names".to_owned()))?;
        let id = self.hold.owner.name(self.numbers, deadline).to_string();
        match (act, place, &mut self.kernel) {
            (Act::Toxic(plan), ..) => Ok((Step::Toxic(plan), id)),
            (Act::Disable, ..) => Ok((Step::Disable, id)),
            (Act::Lose(share), Some((place, listen)), Some(kernel)) => {
                let name = kernel.name(listen, deadline);
                let id = name.to_string();
                Ok((Step::Lose { place: place.clone(), name, listen, share }, id))
            }
            // The plan has a place for every such fault; without one it is an error, and nothing else instead.
            (Act::Lose(_), ..) => Err(Broken::Failed("no namespace for a kernel's loss".to_owned())),
        }
    }

    async fn take(&mut self, step: Step, proxy: &str, id: &str, lease: Duration) -> Result<(), String> {
        let environment = self.environment;
        let backend = &environment.backend;
        match step {
            Step::Toxic(plan) => backend.add(proxy, id, &plan).await.map(drop).map_err(|e| e.to_string()),
            Step::Disable => backend.disable(proxy, id).await.map(drop).map_err(|e| e.to_string()),
            Step::Lose { place, name, listen, share } => {
                let Some(kernel) = &mut self.kernel else { return Ok(()) };
                kernel.apply(&place, name, listen, share, lease).await.map_err(|e| e.to_string())?;
                environment.metrics.kernel_loss_began(proxy, id, share);
                Ok(())
            }
        }
    }

    async fn fault(&self, fault: &Fault, state: FaultState) {
        let record = Fault { at_us: self.clock.now_us(), state, ..fault.clone() };
        self.journal.append(Record::Fault(Box::new(record))).await;
    }

    async fn faults(&self, state: FaultState) {
        for (_, fault) in &self.applied {
            self.fault(fault, state).await;
        }
    }

    /// First rung of the ladder. An error is not the end: the rungs below come anyway.
    pub(super) async fn lift(&mut self) {
        self.nothing_is_declared();
        if let Some(kernel) = &mut self.kernel {
            // The last look at the counters: they go with their table.
            kernel::dose::record(kernel, self.clock, &self.journal).await;
        }
        self.faults(FaultState::Removing).await;
        // A table is gone at once, and with it its effect.
        let kernel = self.remove_tables().await;
        let proxies = self.environment.backend.lift(&self.by_proxies()).await;
        let said = match (kernel, proxies) {
            (Ok(()), Ok(())) => return self.faults(FaultState::Lifted).await,
            (_, Err(error)) => {
                if error.is_timed_out() {
                    self.hangs(&error).await;
                }
                error.to_string()
            }
            (Err(error), Ok(())) => error,
        };
        tracing::error!(error = said, "the effect of a fault could not be set to zero");
        self.note(NoteCode::Cleanup, said).await;
    }

    fn by_proxies(&self) -> Vec<Applied> {
        self.applied.iter().filter_map(|(applied, _)| applied.clone()).collect()
    }

    async fn remove_tables(&mut self) -> Result<(), String> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let removed = kernel.remove().await.map_err(|error| error.to_string());
        if kernel.is_clean() {
            for (_, fault) in self.applied.iter().filter(|(applied, _)| applied.is_none()) {
                self.environment.metrics.toxic_removed(&fault.target, &fault.id);
            }
        }
        removed
    }

    /// The other rungs; what is left is tried again at the end.
    pub(super) async fn remove(&mut self) {
        let tables = self.remove_tables().await;
        let removed = match &self.stuck {
            None => self.environment.backend.remove(&self.hold.owner, &self.by_proxies()).await,
            // The first rung hangs; another call would only wait behind it.
            Some(_) => self.once_more().await,
        };
        let removed = match removed {
            Err(error) if error.is_timed_out() && self.stuck.is_none() => {
                self.hangs(&error).await;
                self.once_more().await
            }
            other => other,
        };
        match (tables, removed) {
            (Ok(()), Ok(())) => {
                self.faults(FaultState::Removed).await;
                self.applied.clear();
                self.faulted
                    .iter()
                    .filter_map(|proxy| self.health.get(proxy))
                    .for_each(|one| one.fault_is_gone());
                self.end_lease().await;
                self.hold.without_faults(self.phases.recovery).await;
            }
            (tables, removed) => {
                let why = [removed.err().map(|error| error.to_string()), tables.err()];
                let why: Vec<String> = why.into_iter().flatten().collect();
                let why = why.join("; kernel: ");
                tracing::error!("a fault is not gone: {why}");
                self.note(NoteCode::Cleanup, why).await;
            }
        }
    }

    /// A call that was to take a fault away has no answer: whatever is measured from now on, the fault may be in it.
    async fn hangs(&mut self, error: &ClientError) {
        self.environment.metrics.cleanup_stuck(true);
        tracing::error!(%error, "taking a fault away hangs; once more in {STUCK_PAUSE:?}");
        self.note(NoteCode::CleanupStuck, error.to_string()).await;
        self.stuck = Some(format!("{}: {error}", NoteCode::CleanupStuck));
    }

    /// After a pause, in which what is held may leave, the whole ladder a second and last time.
    async fn once_more(&mut self) -> Result<(), ClientError> {
        tokio::time::sleep(STUCK_PAUSE).await;
        let (backend, applied) = (&self.environment.backend, self.by_proxies());
        let lifted = backend.lift(&applied).await;
        match lifted {
            Ok(()) => backend.remove(&self.hold.owner, &applied).await,
            Err(error) => Err(error),
        }
    }

    async fn take_lease(&mut self) -> Result<(), Broken> {
        let backend = &self.environment.backend;
        if !backend.has_leases() {
            return Ok(());
        }
        let disabling = self.faults.iter().filter(|fault| fault.given.meaning.acts().contains(&Act::Disable));
        let disabled =
            disabling.flat_map(|fault| fault.proxies.iter().map(|proxy| proxy.name.clone())).collect();
        let (client, prefix) = (backend.client(), self.hold.owner.prefix());
        let lease = Lease::take(client, prefix, disabled, self.lapsed.clone()).await;
        self.lease =
            Some(lease.map_err(|error| Broken::Failed(format!("the lease of the faults: {error}")))?);
        Ok(())
    }

    async fn end_lease(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if let Err(error) = lease.end().await {
            // It lapses by itself, and there is nothing left to be taken away.
            tracing::warn!(%error, "a lease is not ended");
        }
    }

    /// The last rung: each proxy that had a fault answers as it did before.
    async fn answers_again(&self) -> Result<(), String> {
        let deadline = Instant::now() + CANARY_MAX;
        loop {
            let ails = |proxy: &String| Some(format!("{proxy}: {}", self.health.get(proxy)?.ails()?));
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
        // What hung twice is the janitor's, and a reaper's.
        if !self.applied.is_empty() && self.stuck.is_none() {
            self.lift().await;
            self.remove().await;
        }
        // Reads back even when nothing was applied: the promise is that nothing is there.
        let swept = self.environment.backend.end(&self.hold.owner, false).await;
        if let Err(error) = &swept {
            tracing::error!(%error, "cleaning up");
        }
        if swept.is_ok() {
            self.end_lease().await;
        }
        let mut clean = swept.is_ok() && self.kernel.as_ref().is_none_or(KernelLoss::is_clean);
        if self.stuck.is_some() || !clean {
            self.environment.metrics.cleanup_stuck(!clean);
        }
        if clean && let Err(why) = self.answers_again().await {
            tracing::error!("a proxy does not answer as before its fault: {why}");
            self.note(NoteCode::CanaryNotBack, why).await;
            clean = false;
        }
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
}
