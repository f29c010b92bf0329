//! One run of one scenario: stabilization, testing, recovery - and, at every way out, nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use observation::clock::{self, RunClock};
use observation::{
    EndStatus, Fault, Hello, Note, NoteCode, Phase, PhaseKind, Record, Run, RunPhases, SCHEMA_VERSION,
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::canary::{self, Health};
use super::dose;
use super::environment::{Environment, RunError, RunOutcome};
use super::folder::folder;
use super::follow::{self, Broken, Halt};
use super::hold::Hold;
use super::observe::{self, Stream};
use super::plan::Plan;
use super::proxies::Proxies;
use super::recorder::{self, Journal};
use super::stable::{UntilStable, Watching};
use crate::backends::resource::Resource;
use crate::backends::{Leftover, Target, find_servers};
use crate::file::{Phases, Scenario};
use crate::removal::owner::Owner;
use crate::stop::{StopRule, Watch};

/// Runs `scenario` with `phases` (which may be shorter than its own) until its end or `stop`.
pub async fn run(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<RunOutcome, RunError> {
    environment.toxiproxy.vacant().await?;
    let owner = Owner::of_run(&scenario.name);
    let plan = Plan::choose(scenario, environment, &owner)?;
    let hold = Hold::take(owner, phases, plan.outlasts_us(), environment).await?;
    let ended = claimed(scenario, phases, environment, plan, stop, &hold).await;
    let released = hold.release(environment).await;
    ended.map(|outcome| RunOutcome { clean: outcome.clean && released, ..outcome })
}

/// A run that has the Toxiproxy to itself.
async fn claimed(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    plan: Plan,
    stop: &CancellationToken,
    hold: &Hold,
) -> Result<RunOutcome, RunError> {
    let mut proxies = Proxies::prepare(environment).await?;
    let ended = held(scenario, phases, environment, plan, &mut proxies, stop, hold).await;
    proxies.withdraw_dead(&environment.toxiproxy).await;
    ended
}

async fn held(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    mut plan: Plan,
    proxies: &mut Proxies,
    stop: &CancellationToken,
    hold: &Hold,
) -> Result<RunOutcome, RunError> {
    let Proxies { found, health } = proxies;
    // Leftovers of a run that was killed must not be part of this one's baseline.
    let mut left = plan.sweep(scenario).await?;
    let clock = RunClock::start();
    let done = CancellationToken::new();
    let _ended = done.clone().drop_guard();
    let stream = observe::connect(&environment.observe, clock, environment.wait, done.clone()).await?;
    find_servers(&mut found.targets, &stream.hello.servers)
        .map_err(|why| RunError::Misfit { scenario: scenario.name.clone(), why })?;
    plan.locate(scenario, &found.targets)?;
    left.extend(plan.check(scenario).await?);

    let dir = folder(&environment.runs, &scenario.name);
    let watching = environment.endings.until_stable.as_ref().map(UntilStable::begin);
    let (journal, writing) = recorder::start(&dir, clock, watching.clone(), environment.onlooker.clone())?;
    // When the run's clock began.
    let wall_ms = clock::wall_ms().saturating_sub(clock.now_us() / 1000);
    let mut running = Running {
        wall_ms,
        hello: stream.hello.clone(),
        scenario,
        phases,
        environment,
        clock,
        journal,
        dir,
        plan,
        applied: Vec::new(),
        hold,
        health: health.clone(),
        faulted: BTreeSet::new(),
        stuck: None,
        hung: BTreeSet::new(),
        watching,
        halt: Halt::new(),
    };
    environment.metrics.run_began(&scenario.name);
    running.begin(&stream, &left, &found.foreign).await;
    let tasks = TaskTracker::new();
    running.witness(&found.targets, stream, &tasks, &done);

    // A panic must not leave a fault behind either.
    let phases_run = std::panic::AssertUnwindSafe(running.phases(stop)).catch_unwind().await;
    let (status, reason) = match phases_run {
        Ok(Ok(())) => (EndStatus::Completed, None),
        Ok(Err(Broken::Stopped(why))) => (EndStatus::Stopped, Some(why)),
        Ok(Err(Broken::Failed(why))) => (EndStatus::Failed, Some(why)),
        Err(_) => (EndStatus::Failed, Some("a panic in the runner".to_owned())),
    };
    running.finish(status, reason, writing, tasks, done).await
}

/// A part of a fault whose call was sent.
pub(super) struct AppliedPart {
    /// Position of its backend.
    pub(super) backend: usize,
    pub(super) record: Fault,
    /// What a janitor was told of it.
    pub(super) resource: Option<Resource>,
}

pub(super) struct Running<'a> {
    /// Unix time at which `clock` began.
    pub(super) wall_ms: u64,
    /// The client, as it greeted at the start.
    pub(super) hello: Hello,
    pub(super) scenario: &'a Scenario,
    pub(super) phases: Phases,
    pub(super) environment: &'a Environment,
    pub(super) clock: RunClock,
    pub(super) journal: Journal,
    pub(super) dir: PathBuf,
    /// The faults that are still to be applied, and all backends.
    pub(super) plan: Plan,
    pub(super) applied: Vec<AppliedPart>,
    pub(super) hold: &'a Hold,
    /// By proxy.
    pub(super) health: BTreeMap<String, Arc<Health>>,
    /// Proxies that have had a fault.
    pub(super) faulted: BTreeSet<String>,
    /// A call that was to take a fault away has hung: why the run says nothing.
    pub(super) stuck: Option<String>,
    /// The backends that have hung.
    pub(super) hung: BTreeSet<usize>,
    pub(super) watching: Option<Watching>,
    pub(super) halt: Halt,
}

impl Running<'_> {
    async fn begin(&self, stream: &Stream, left: &[Leftover], foreign: &[(String, String)]) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let digest = Sha256::digest(self.scenario.text.as_bytes());
        let run = Run {
            v: SCHEMA_VERSION,
            run: self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            scenario: self.scenario.name.clone(),
            suite: self.scenario.suite.clone(),
            description: self.scenario.description.clone(),
            scenario_toml: self.scenario.text.clone(),
            rules_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            phases: RunPhases {
                stabilization_ms: millis(self.phases.stabilization),
                testing_ms: millis(self.phases.testing),
                recovery_ms: millis(self.phases.recovery),
            },
            wall_ms: self.wall_ms,
            tool_version: self.environment.tool_version.clone(),
            backend: self.plan.describe(),
            control: self.scenario.control,
        };
        self.journal.append(Record::Run(Box::new(run))).await;
        let uncertainty = stream.uncertainty_us;
        self.note(NoteCode::Clock, format!("the client's clock is aligned within ± {uncertainty} µs")).await;
        for substitute in self.plan.faults.iter().filter_map(|fault| fault.given.substitute.as_ref()) {
            tracing::warn!("{substitute}");
            self.note(NoteCode::Substitute, substitute.clone()).await;
        }
        for one in left {
            tracing::warn!("{one} was left by an earlier run; removed");
            self.note(NoteCode::Leftover, format!("{one} was left by an earlier run; removed")).await;
        }
        for rule in self.rules() {
            self.note(NoteCode::AbortIf, rule.to_string()).await;
        }
        for (toxic, proxy) in foreign {
            tracing::warn!("there is a toxic of somebody else's: {toxic} on {proxy}; it stays");
            let note = Note::foreign_toxic(self.clock.now_us(), toxic, proxy);
            self.journal.append(Record::Note(note)).await;
        }
    }

    fn rules(&self) -> impl Iterator<Item = &StopRule> {
        self.environment.endings.abort_if.iter().chain(&self.scenario.abort_if)
    }

    pub(super) async fn note(&self, code: NoteCode, text: String) {
        let note = Note::new(self.clock.now_us(), code, text);
        self.journal.append(Record::Note(note)).await;
    }

    /// Starts everything that watches.
    fn witness(&self, targets: &[Target], stream: Stream, tasks: &TaskTracker, done: &CancellationToken) {
        for target in targets {
            let (clock, journal) = (self.clock, self.journal.clone());
            let health = self.health.get(&target.name).cloned().unwrap_or_default();
            let watched = (health, self.environment.metrics.clone());
            let (name, server, addr) = (target.name.clone(), target.server_name(), target.dial.clone());
            tasks.spawn(canary::run(name, server, addr, clock, journal, watched, done.clone()));
        }
        for counter in self.plan.backends.iter().filter_map(|backend| backend.dose(targets)) {
            tasks.spawn(dose::keep(counter, self.clock, self.journal.clone(), done.clone()));
        }
        self.nothing_is_declared();
        let status = self.environment.status.clone();
        let limits = follow::Limits {
            blind: self.environment.endings.blind,
            watch: Watch::new(self.rules().cloned()),
            halt: self.halt.clone(),
        };
        tasks.spawn(follow::follow(stream.records, self.journal.clone(), status, limits, done.clone()));
    }

    async fn phases(&mut self, stop: &CancellationToken) -> Result<(), Broken> {
        self.enter(PhaseKind::Stabilization).await;
        self.wait_out(PhaseKind::Stabilization, self.phases.stabilization, stop).await?;

        self.enter(PhaseKind::Testing).await;
        self.apply().await?;
        self.wait_out(PhaseKind::Testing, self.phases.testing, stop).await?;

        let began = Instant::now();
        self.lift().await;
        self.enter(PhaseKind::Recovery).await;
        self.remove().await;
        let left = self.phases.recovery.saturating_sub(began.elapsed());
        self.wait_out(PhaseKind::Recovery, left, stop).await
    }

    async fn enter(&self, phase: PhaseKind) {
        let at_us = self.clock.now_us();
        self.journal.append(Record::Phase(Phase { at_us, phase })).await;
        let unix_s = self.wall_ms as f64 / 1e3 + at_us as f64 / 1e6;
        self.environment.metrics.phase(&self.scenario.name, phase, unix_s);
        self.environment.status.send_modify(|status| status.phase = phase);
    }

    /// Waits until a phase is over, or something ends it.
    async fn wait_out(
        &self,
        phase: PhaseKind,
        length: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        let began = Instant::now();
        let janitor = self.hold.lost();
        let lapsed: Vec<_> = self.plan.backends.iter().map(|backend| backend.lapsed()).collect();
        let lapsed = select_all(lapsed.iter().map(|lapsed| Box::pin(lapsed.cancelled())));
        let early = async {
            match &self.watching {
                // How long a fault lasts is the scenario's to say.
                Some(watching) if phase != PhaseKind::Testing => watching.stable().await,
                _ => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Broken::Stopped("stopped by a signal".to_owned())),
            why = self.halt.called() => Err(why),
            () = janitor.cancelled() => {
                Err(Broken::Failed("the janitor has ended; no fault stays without it".to_owned()))
            }
            _ = lapsed => {
                Err(Broken::Failed("the lease of the faults lapsed: this process stood still, and the proxy has ended them".to_owned()))
            }
            () = tokio::time::sleep(length) => Ok(None),
            why = early => Ok(Some(why)),
        };
        let took = began.elapsed();
        self.environment.metrics.phase_took(&self.scenario.name, phase, took.as_secs_f64());
        if let Some(why) = ended? {
            let text = format!("{} ended early: {why}", phase.name());
            tracing::info!("{}: {text}", self.scenario.name);
            let note = Note::until_stable(self.clock.now_us(), phase, text);
            self.journal.append(Record::Note(note)).await;
        }
        Ok(())
    }
}
