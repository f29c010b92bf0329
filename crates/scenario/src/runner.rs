//! One run of one scenario: stabilization, testing, recovery - and, at every way out, nothing left behind.

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use observation::clock::{self, RunClock};
use observation::journal::JournalError;
use observation::{
    End, EndStatus, Fault, FaultState, Note, Phase, PhaseKind, Record, Run, RunPhases, SCHEMA_VERSION,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use toxiproxy::ClientError;
use toxiproxy::wire::{NewProxy, Proxy};

use crate::backend::{Applied, Backend, Given, OWNER, Undo};
use crate::canary;
use crate::dose;
use crate::fault::Meaning;
use crate::metrics::Metrics;
use crate::model::{Phases, Scenario};
use crate::observe::{self, NoStream, Stream};
use crate::recorder::{self, Journal, Writing};
use crate::status::{Status, Window};

/// A stream that has been silent for longer than this ends the run: what is not seen cannot be judged.
const BLIND_MAX: Duration = Duration::from_secs(10);
/// The lease of a fault outlasts its phase by this.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// Tries for a folder name that is not taken.
const FOLDER_TRIES: u32 = 1000;

/// Where a run takes place.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What applies the faults.
    pub backend: Backend,
    /// Proxies that are made if missing.
    pub proxies: Vec<NewProxy>,
    /// Base URL of the observation stream.
    pub observe: String,
    /// Folder of the run folders.
    pub runs: PathBuf,
    /// Patience for the stream's hello.
    pub wait: Duration,
    /// Where phases and toxics are exported.
    pub metrics: Metrics,
    /// Where progress is told.
    pub status: watch::Sender<Status>,
    /// Version written into the journal.
    pub tool_version: String,
}

/// What a run left on disk.
#[derive(Debug)]
pub struct RunOutcome {
    /// Run folder.
    pub dir: PathBuf,
    /// How it ended.
    pub status: EndStatus,
    /// Why, when not completed.
    pub reason: Option<String>,
    /// Are all faults gone, as read back?
    pub clean: bool,
}

/// Why there was no run, or none that left a journal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The fault proxy.
    #[error(transparent)]
    Proxy(#[from] ClientError),
    /// The observation stream.
    #[error(transparent)]
    Stream(#[from] NoStream),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The scenario does not fit these servers.
    #[error("scenario {scenario}: {why}")]
    Misfit {
        /// Which.
        scenario: String,
        /// Why.
        why: String,
    },
}

/// Runs `scenario` with `phases` (which may be shorter than its own) until its end or `stop`.
pub async fn run(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<RunOutcome, RunError> {
    let proxies = environment.backend.prepare(&environment.proxies).await?;
    // Leftovers of a run that was killed must not be part of this one's baseline.
    let left = environment.backend.sweep().await?;
    let foreign = foreign(&proxies);
    let clock = RunClock::start();
    let done = CancellationToken::new();
    let _ended = done.clone().drop_guard();
    let stream = observe::connect(&environment.observe, clock, environment.wait, done.clone()).await?;
    let faults = plan(scenario, environment, &proxies, &stream)?;

    let dir = folder(environment, &scenario.name);
    let (journal, writing) = recorder::start(&dir, clock)?;
    let mut running = Running {
        scenario,
        phases,
        environment,
        clock,
        journal,
        dir,
        faults,
        applied: Vec::new(),
        sequence: 0,
    };
    running.begin(&stream, &left, &foreign).await;
    let tasks = TaskTracker::new();
    let blind = CancellationToken::new();
    running.witness(&proxies, stream, &tasks, &done, &blind);

    // A panic must not leave a fault behind either.
    let phases_run = std::panic::AssertUnwindSafe(running.phases(stop, &blind)).catch_unwind().await;
    let (status, reason) = match phases_run {
        Ok(Ok(())) => (EndStatus::Completed, None),
        Ok(Err(Broken::Stopped)) => (EndStatus::Stopped, Some("stopped by a signal".to_owned())),
        Ok(Err(Broken::Failed(why))) => (EndStatus::Failed, Some(why)),
        Err(_) => (EndStatus::Failed, Some("a panic in the runner".to_owned())),
    };
    running.finish(status, reason, writing, tasks, done).await
}

/// Why the phases did not run to their end.
enum Broken {
    Stopped,
    Failed(String),
}

struct PlannedFault {
    proxies: Vec<Proxy>,
    meant: Meaning,
    given: Given,
    servers: Vec<Option<String>>,
}

struct Running<'a> {
    scenario: &'a Scenario,
    phases: Phases,
    environment: &'a Environment,
    clock: RunClock,
    journal: Journal,
    dir: PathBuf,
    faults: Vec<PlannedFault>,
    applied: Vec<(Applied, Fault)>,
    sequence: u32,
}

fn foreign(proxies: &[Proxy]) -> Vec<String> {
    let named = proxies.iter().flat_map(|proxy| proxy.toxics.iter().map(move |toxic| (proxy, toxic)));
    let foreign = named.filter(|(_, toxic)| !toxic.name.starts_with(OWNER));
    foreign.map(|(proxy, toxic)| format!("{} on {}", toxic.name, proxy.name)).collect()
}

fn plan(
    scenario: &Scenario,
    environment: &Environment,
    proxies: &[Proxy],
    stream: &Stream,
) -> Result<Vec<PlannedFault>, RunError> {
    let misfit = |why| RunError::Misfit { scenario: scenario.name.clone(), why };
    // The proxies of this test, in their order; others on the same Toxiproxy are somebody else's.
    let names: Vec<String> = environment.proxies.iter().map(|proxy| proxy.name.clone()).collect();
    let plan_one = |fault: &crate::model::Fault| {
        let targets = fault.target.choose(&names).map_err(misfit)?;
        let chosen: Vec<Proxy> = targets
            .iter()
            .filter_map(|name| proxies.iter().find(|proxy| proxy.name == *name))
            .cloned()
            .collect();
        let servers = chosen.iter().map(|proxy| client_server(proxy, stream)).collect();
        let given = environment.backend.give(&fault.meaning);
        Ok(PlannedFault { proxies: chosen, meant: fault.meaning.clone(), given, servers })
    };
    scenario.faults.iter().map(plan_one).collect()
}

/// The client's name of the server behind a proxy: the one that it dials at the proxy's port.
fn client_server(proxy: &Proxy, stream: &Stream) -> Option<String> {
    let port = |addr: &str| addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let listen = port(&proxy.listen)?;
    let dialled: Vec<_> =
        stream.hello.servers.iter().filter(|server| port(&server.addr) == Some(listen)).collect();
    match dialled[..] {
        [one] => Some(one.name.clone()),
        _ => None,
    }
}

/// `<runs>/<time>-<scenario>`, with a number behind it when that is taken.
fn folder(environment: &Environment, scenario: &str) -> PathBuf {
    let stamp =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(clock::wall_ms()));
    let stamp: String = stamp.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let base = format!("{stamp}-{scenario}");
    let numbered = (1..FOLDER_TRIES).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    let mut paths = numbered.map(|name| environment.runs.join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| environment.runs.join(&base))
}

impl Running<'_> {
    async fn begin(&self, stream: &Stream, left: &[Applied], foreign: &[String]) {
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
            wall_ms: clock::wall_ms().saturating_sub(self.clock.now_us() / 1000),
            tool_version: self.environment.tool_version.clone(),
            backend: self.environment.backend.describe(),
        };
        self.journal.append(Record::Run(Box::new(run))).await;
        let uncertainty = stream.uncertainty_us;
        self.note("clock", format!("the client's clock is aligned within ± {uncertainty} µs")).await;
        for substitute in self.faults.iter().filter_map(|fault| fault.given.substitute.as_ref()) {
            tracing::warn!("{substitute}");
            self.note("substitute", substitute.clone()).await;
        }
        for one in left {
            self.note(
                "leftover",
                format!("{} on {} was left by an earlier run; removed", one.toxic, one.proxy),
            )
            .await;
        }
        for toxic in foreign {
            tracing::warn!("there is a toxic of somebody else's: {toxic}; it stays");
            self.note("foreign-toxic", toxic.clone()).await;
        }
    }

    async fn note(&self, code: &str, text: String) {
        let note = Note { at_us: self.clock.now_us(), code: code.to_owned(), text };
        self.journal.append(Record::Note(note)).await;
    }

    /// Starts everything that watches.
    fn witness(
        &self,
        proxies: &[Proxy],
        stream: Stream,
        tasks: &TaskTracker,
        done: &CancellationToken,
        blind: &CancellationToken,
    ) {
        let ours = |proxy: &&Proxy| self.environment.proxies.iter().any(|wanted| wanted.name == proxy.name);
        for proxy in proxies.iter().filter(ours) {
            let server = client_server(proxy, &stream);
            let addr = dialable(&proxy.listen);
            let (clock, journal) = (self.clock, self.journal.clone());
            tasks.spawn(canary::run(proxy.name.clone(), server, addr, clock, journal, done.clone()));
        }
        if self.environment.backend.is_embedded() {
            let targets: Vec<String> =
                self.environment.proxies.iter().map(|proxy| proxy.name.clone()).collect();
            let backend = self.environment.backend.clone();
            tasks.spawn(dose::keep(backend, targets, self.clock, self.journal.clone(), done.clone()));
        }
        let status = self.environment.status.clone();
        tasks.spawn(follow(stream, self.journal.clone(), status, done.clone(), blind.clone()));
    }

    async fn phases(&mut self, stop: &CancellationToken, blind: &CancellationToken) -> Result<(), Broken> {
        self.enter(PhaseKind::Stabilization, self.phases.stabilization).await;
        self.last(PhaseKind::Stabilization, self.phases.stabilization, stop, blind).await?;

        self.enter(PhaseKind::Testing, self.phases.testing).await;
        self.apply().await?;
        self.last(PhaseKind::Testing, self.phases.testing, stop, blind).await?;

        let began = Instant::now();
        self.lift().await;
        self.enter(PhaseKind::Recovery, self.phases.recovery).await;
        self.remove().await;
        let left = self.phases.recovery.saturating_sub(began.elapsed());
        self.last(PhaseKind::Recovery, left, stop, blind).await
    }

    async fn enter(&self, phase: PhaseKind, length: Duration) {
        self.journal.append(Record::Phase(Phase { at_us: self.clock.now_us(), phase })).await;
        self.environment.metrics.phase(&self.scenario.name, phase);
        self.environment.status.send_modify(|status| {
            status.scenario.clone_from(&self.scenario.name);
            status.phase = phase;
            status.phase_ends = Instant::now() + length;
        });
    }

    /// Lets a phase last, unless something ends it.
    async fn last(
        &self,
        phase: PhaseKind,
        length: Duration,
        stop: &CancellationToken,
        blind: &CancellationToken,
    ) -> Result<(), Broken> {
        let began = Instant::now();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Broken::Stopped),
            () = blind.cancelled() => {
                Err(Broken::Failed(format!("no observations for {BLIND_MAX:?}: is the client under test still there?")))
            }
            () = tokio::time::sleep(length) => Ok(()),
        };
        self.environment.metrics.phase_took(&self.scenario.name, phase, began.elapsed().as_secs_f64());
        ended
    }

    /// Applies every fault; the intent is on disk before each call.
    async fn apply(&mut self) -> Result<(), Broken> {
        let lease = self.phases.testing + LEASE_MARGIN;
        let lease_until_us = self.clock.now_us() + lease.as_micros() as u64;
        let deadline_unix = clock::wall_ms() / 1000 + lease.as_secs();
        for fault in std::mem::take(&mut self.faults) {
            for (proxy, server) in fault.proxies.iter().zip(&fault.servers) {
                let plans = fault.given.meaning.toxics();
                let plans = if plans.is_empty() { vec![None] } else { plans.into_iter().map(Some).collect() };
                for plan in plans {
                    self.sequence += 1;
                    let id = format!("{OWNER}{}.{}.{deadline_unix}", std::process::id(), self.sequence);
                    let record = Fault {
                        at_us: self.clock.now_us(),
                        id: id.clone(),
                        state: FaultState::Sent,
                        target: proxy.name.clone(),
                        server: server.clone(),
                        meaning: fault.meant.name().to_owned(),
                        given: fault.given.meaning.describe(),
                        params: fault.given.meaning.params(),
                        lease_until_us,
                        error: None,
                    };
                    if !self.journal.sync(Record::Fault(Box::new(record.clone()))).await {
                        return Err(Broken::Failed(
                            "the journal cannot be written; no fault is applied".to_owned(),
                        ));
                    }
                    // Remembered before the call: its answer may get lost, its effect not.
                    let undo = plan.as_ref().map_or(Undo::Enable, Undo::from);
                    let applied = Applied { proxy: proxy.name.clone(), toxic: id.clone(), undo };
                    self.applied.push((applied, record.clone()));
                    let backend = &self.environment.backend;
                    let added = match &plan {
                        Some(plan) => backend.add(&proxy.name, &id, plan).await,
                        None => backend.disable(&proxy.name, &id).await,
                    };
                    if let Err(error) = added {
                        let failed = Fault { error: Some(error.to_string()), ..record };
                        self.fault(&failed, FaultState::Failed).await;
                        return Err(Broken::Failed(format!("fault on {}: {error}", proxy.name)));
                    }
                    self.fault(&record, FaultState::Acknowledged).await;
                }
            }
        }
        Ok(())
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
    async fn lift(&self) {
        self.faults(FaultState::Removing).await;
        let applied: Vec<Applied> = self.applied.iter().map(|(applied, _)| applied.clone()).collect();
        match self.environment.backend.lift(&applied).await {
            Ok(()) => self.faults(FaultState::Lifted).await,
            Err(error) => {
                tracing::error!(%error, "the effect of a fault could not be set to zero");
                self.note("cleanup", error.to_string()).await;
            }
        }
    }

    /// The other rungs; what is left is tried again at the end.
    async fn remove(&mut self) {
        let applied: Vec<Applied> = self.applied.iter().map(|(applied, _)| applied.clone()).collect();
        let removed = self.environment.backend.remove(&applied).await;
        let left = self.environment.backend.ours().await;
        match (removed, left) {
            (Ok(()), Ok(left)) if left.is_empty() => {
                self.faults(FaultState::Removed).await;
                self.applied.clear();
            }
            (removed, left) => {
                let why = format!("removing: {removed:?}, left: {left:?}");
                tracing::error!("{why}");
                self.note("cleanup", why).await;
            }
        }
    }

    /// Takes away what is left, reads back, writes the last line.
    async fn finish(
        mut self,
        status: EndStatus,
        reason: Option<String>,
        writing: Writing,
        tasks: TaskTracker,
        done: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        if !self.applied.is_empty() {
            self.lift().await;
            self.remove().await;
        }
        // Reads back even when nothing was applied: the promise is that nothing is there.
        let swept = self.environment.backend.sweep().await;
        if let Err(error) = &swept {
            tracing::error!(%error, "cleaning up");
        }
        let clean = swept.is_ok();
        self.environment.metrics.phase(&self.scenario.name, PhaseKind::Idle);
        done.cancel();
        tasks.close();
        tasks.wait().await;
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

/// An address under which this machine reaches a listener: a wildcard is not one.
fn dialable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("[::]" | "0.0.0.0" | "", port)) => format!("127.0.0.1:{port}"),
        _ => listen.to_owned(),
    }
}

/// Writes the client's records down and keeps the status up to date. Says `blind` when they stay away.
async fn follow(
    mut stream: Stream,
    journal: Journal,
    status: watch::Sender<Status>,
    done: CancellationToken,
    blind: CancellationToken,
) {
    let mut window = Window::default();
    loop {
        let observed = tokio::select! {
            () = done.cancelled() => return,
            observed = tokio::time::timeout(BLIND_MAX, stream.records.recv()) => observed,
        };
        let Ok(Some(observed)) = observed else {
            status.send_modify(|status| status.goodput = None);
            return blind.cancel();
        };
        if let Record::Tick(tick) = &observed.record {
            let (goodput, error_rate) = window.add(tick);
            status.send_modify(|status| {
                (status.goodput, status.error_rate) = (Some(goodput), error_rate);
                status.breakers = tick.servers.iter().map(|s| (s.server.clone(), s.breaker)).collect();
            });
        }
        journal.append_client(observed.at_us, observed.record).await;
    }
}
