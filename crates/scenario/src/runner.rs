//! One run of one scenario: stabilization, testing, recovery - and, at every way out, nothing left behind.

mod faults;
mod hold;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use observation::clock::{self, RunClock};
use observation::journal::JournalError;
use observation::{
    EndStatus, Fault, Hello, Note, NoteCode, Phase, PhaseKind, Record, Run, RunPhases, SCHEMA_VERSION,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use toxiproxy::ClientError;
use toxiproxy::wire::{NewProxy, Proxy};

use crate::backend::Backend;
use crate::canary::Health;
use crate::claim::ClaimError;
use crate::fault::ToxicPlan;
use crate::follow::{self, Broken, Halt};
use crate::janitor::JanitorError;
use crate::kernel::{self, KernelLoss, Namespace, Refused, TableName};
use crate::ladder::{self, Applied};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::model::{Phases, Scenario};
use crate::observe::{self, NoStream, Stream};
use crate::onlooker::Onlooker;
use crate::plan::{self, PlannedFault, client_server, dialable};
use crate::recorder::{self, Journal};
use crate::stable::{UntilStable, Watching};
use crate::status::Status;
use crate::stop::{StopRule, Watch};
use crate::{canary, dose};
use hold::Hold;

/// Tries for a folder name that is not taken.
const FOLDER_TRIES: u32 = 1000;

/// Where a run takes place.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What applies the faults.
    pub backend: Backend,
    /// Does the Toxiproxy end with this process, and its faults with it?
    pub inside: bool,
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
    /// What ends a run, or a phase of it, before its time.
    pub endings: Endings,
    /// Sees the journals as they are written.
    pub onlooker: Onlooker,
    /// Where progress is told.
    pub status: watch::Sender<Status>,
    /// Version written into the journal.
    pub tool_version: String,
    /// Which breakers a fault must open.
    pub forecast: Forecast,
    /// This program: started again as [`crate::janitor`] where a fault could outlast it.
    pub program: PathBuf,
}

/// By the client's names, the servers whose breakers the faults that are on must open within 5 s: the judge's law, asked before the
/// run is over.
pub type Forecast = fn(&Ahead<'_>) -> BTreeSet<String>;

/// What a [`Forecast`] knows.
#[derive(Debug)]
pub struct Ahead<'a> {
    /// Who the client is and how it is set.
    pub hello: &'a Hello,
    /// What is on.
    pub faults: &'a [Fault],
    /// ops/s that are wanted, over all servers.
    pub offered: f64,
    /// How long the faults will be on.
    pub length: Duration,
}

/// What ends a run, or a phase of it, before its time.
#[derive(Debug, Clone)]
pub struct Endings {
    /// The run is stopped when one of these fires, or one of the scenario's own.
    pub abort_if: Vec<StopRule>,
    /// The run is stopped when the client has not been seen for this long: what is not seen cannot be judged.
    pub blind: Duration,
    /// The first and the last phase end as soon as they have shown what they are for.
    pub until_stable: Option<UntilStable>,
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
    /// Somebody else tests there, or that cannot be told.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No watchdog, no fault.
    #[error(transparent)]
    Janitor(#[from] JanitorError),
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
    /// What it means cannot be given here, and nothing else is given for it.
    #[error("scenario {scenario}: {why}")]
    Refused {
        /// Which.
        scenario: String,
        /// Why.
        why: Refused,
    },
}

/// Runs `scenario` with `phases` (which may be shorter than its own) until its end or `stop`.
pub async fn run(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<RunOutcome, RunError> {
    let hold = Hold::take(scenario, phases, environment).await?;
    let ended = held(scenario, phases, environment, stop, &hold).await;
    let released = hold.release(environment).await;
    ended.map(|outcome| RunOutcome { clean: outcome.clean && released, ..outcome })
}

async fn held(
    scenario: &Scenario,
    phases: Phases,
    environment: &Environment,
    stop: &CancellationToken,
    hold: &Hold,
) -> Result<RunOutcome, RunError> {
    let proxies = environment.backend.prepare(&environment.proxies).await?;
    // Leftovers of a run that was killed must not be part of this one's baseline.
    let swept = environment.backend.sweep().await?;
    let mut left: Vec<String> = swept.iter().map(ToString::to_string).collect();
    left.extend(kernel::sweep_here().await);
    let foreign = foreign(&proxies);
    let clock = RunClock::start();
    let done = CancellationToken::new();
    let _ended = done.clone().drop_guard();
    let stream = observe::connect(&environment.observe, clock, environment.wait, done.clone()).await?;
    let faults = plan::plan(scenario, environment, &hold.owner, &proxies, &stream).await?;
    let refused = |why| RunError::Refused { scenario: scenario.name.clone(), why };
    for place in faults.iter().filter_map(|fault| fault.place.as_ref()) {
        left.extend(
            kernel::sweep(&place.namespace).await.map_err(|error| refused(Refused::NotPermitted(error)))?,
        );
    }
    let janitor = hold.janitor.clone().filter(|_| scenario.needs_kernel());
    let kernel = janitor.map(KernelLoss::new).transpose().map_err(refused)?;

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
        faults,
        applied: Vec::new(),
        kernel,
        hold,
        numbers: 0,
        lease: None,
        lapsed: CancellationToken::new(),
        health: environment.proxies.iter().map(|proxy| (proxy.name.clone(), Arc::default())).collect(),
        faulted: BTreeSet::new(),
        stuck: None,
        watching,
        halt: Halt::new(),
    };
    environment.metrics.run_began(&scenario.name);
    running.begin(&stream, &left, &foreign).await;
    let tasks = TaskTracker::new();
    running.witness(&proxies, stream, &tasks, &done);

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

/// One call that applies a part of a fault.
enum Step {
    Toxic(ToxicPlan),
    Disable,
    Lose { place: Namespace, name: TableName, listen: SocketAddr, share: f64 },
}

struct Running<'a> {
    /// Unix time at which `clock` began.
    wall_ms: u64,
    /// The client, as it greeted at the start.
    hello: Hello,
    scenario: &'a Scenario,
    phases: Phases,
    environment: &'a Environment,
    clock: RunClock,
    journal: Journal,
    dir: PathBuf,
    faults: Vec<PlannedFault>,
    /// What was done, where a proxy did it, and the fault; tables are known to `kernel`.
    applied: Vec<(Option<Applied>, Fault)>,
    kernel: Option<KernelLoss>,
    hold: &'a Hold,
    /// The highest number of a fault so far.
    numbers: u16,
    lease: Option<Lease>,
    /// Cancelled when the proxy has taken the faults away, because this process stood still.
    lapsed: CancellationToken,
    /// By proxy.
    health: BTreeMap<String, Arc<Health>>,
    /// Proxies that have had a fault.
    faulted: BTreeSet<String>,
    /// A call that was to take a fault away has hung: why the run says nothing.
    stuck: Option<String>,
    watching: Option<Watching>,
    halt: Halt,
}

/// Toxics of somebody else's on these proxies, each with its proxy.
fn foreign(proxies: &[Proxy]) -> Vec<(String, String)> {
    let used = proxies.iter().filter(|proxy| ladder::own_proxy(proxy).is_none());
    let named = used.flat_map(|proxy| proxy.toxics.iter().map(move |toxic| (proxy, toxic)));
    let foreign = named.filter(|(_, toxic)| ladder::own_toxic(toxic).is_none());
    foreign.map(|(proxy, toxic)| (toxic.name.clone(), proxy.name.clone())).collect()
}

/// Makes `<runs>/<time>-<name>`, with a number behind it when that is taken. Where it cannot be made, whoever writes into it will
/// say why.
pub fn folder(runs: &Path, name: &str) -> PathBuf {
    let stamp =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(clock::wall_ms()));
    let stamp: String = stamp.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let base = format!("{stamp}-{name}");
    let numbered = (1..FOLDER_TRIES).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    let mut paths = numbered.map(|name| runs.join(name));
    // Made, not looked for: another run of this moment may want the same name.
    let taken = |path: &PathBuf| {
        std::fs::create_dir(path).is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists)
    };
    paths.find(|path| !taken(path)).unwrap_or_else(|| runs.join(&base))
}

/// Is that a name that [`folder`] makes?
pub fn is_folder(name: &str) -> bool {
    let Some((stamp, rest)) = name.split_once('-') else { return false };
    let stamped = stamp.len() == "20260131T120000Z".len()
        && stamp.bytes().enumerate().all(|(n, byte)| match n {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // A scenario's name and a number.
    stamped && !rest.is_empty() && rest.len() <= 80 && rest.bytes().all(plain)
}

impl Running<'_> {
    async fn begin(&self, stream: &Stream, left: &[String], foreign: &[(String, String)]) {
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
            backend: match &self.kernel {
                Some(_) => format!("{}; nftables", self.environment.backend.describe()),
                None => self.environment.backend.describe(),
            },
            control: self.scenario.control,
        };
        self.journal.append(Record::Run(Box::new(run))).await;
        let uncertainty = stream.uncertainty_us;
        self.note(NoteCode::Clock, format!("the client's clock is aligned within ± {uncertainty} µs")).await;
        for substitute in self.faults.iter().filter_map(|fault| fault.given.substitute.as_ref()) {
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

    async fn note(&self, code: NoteCode, text: String) {
        let note = Note::new(self.clock.now_us(), code, text);
        self.journal.append(Record::Note(note)).await;
    }

    /// Starts everything that watches.
    fn witness(&self, proxies: &[Proxy], stream: Stream, tasks: &TaskTracker, done: &CancellationToken) {
        let ours = |proxy: &&Proxy| self.environment.proxies.iter().any(|wanted| wanted.name == proxy.name);
        for proxy in proxies.iter().filter(ours) {
            let server = client_server(proxy, &stream).map(|server| server.name.clone());
            let addr = dialable(&proxy.listen, self.environment.backend.client().url());
            let (clock, journal) = (self.clock, self.journal.clone());
            let health = self.health.get(&proxy.name).cloned().unwrap_or_default();
            let watched = (health, self.environment.metrics.clone());
            tasks.spawn(canary::run(proxy.name.clone(), server, addr, clock, journal, watched, done.clone()));
        }
        if self.environment.backend.is_embedded() {
            let targets: Vec<String> =
                self.environment.proxies.iter().map(|proxy| proxy.name.clone()).collect();
            let backend = self.environment.backend.clone();
            let (journal, metrics) = (self.journal.clone(), self.environment.metrics.clone());
            tasks.spawn(dose::keep(backend, targets, self.clock, journal, metrics, done.clone()));
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
        self.enter(PhaseKind::Stabilization, self.phases.stabilization).await;
        self.last(PhaseKind::Stabilization, self.phases.stabilization, stop).await?;

        self.enter(PhaseKind::Testing, self.phases.testing).await;
        self.apply().await?;
        self.last(PhaseKind::Testing, self.phases.testing, stop).await?;

        let began = Instant::now();
        self.lift().await;
        self.enter(PhaseKind::Recovery, self.phases.recovery).await;
        self.remove().await;
        let left = self.phases.recovery.saturating_sub(began.elapsed());
        self.last(PhaseKind::Recovery, left, stop).await
    }

    async fn enter(&self, phase: PhaseKind, length: Duration) {
        let at_us = self.clock.now_us();
        self.journal.append(Record::Phase(Phase { at_us, phase })).await;
        let unix_s = self.wall_ms as f64 / 1e3 + at_us as f64 / 1e6;
        self.environment.metrics.phase(&self.scenario.name, phase, unix_s);
        self.environment.status.send_modify(|status| {
            status.scenario.clone_from(&self.scenario.name);
            status.phase = phase;
            status.phase_ends = Instant::now() + length;
        });
    }

    /// Lets a phase last, unless something ends it.
    async fn last(
        &mut self,
        phase: PhaseKind,
        length: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        let began = Instant::now();
        let (janitor, lapsed) = (self.hold.lost(), self.lapsed.clone());
        let kernel = self.kernel.as_mut();
        let counting = async {
            match kernel {
                Some(kernel) => kernel::dose::keep(kernel, self.clock, &self.journal).await,
                None => std::future::pending().await,
            }
        };
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
            () = lapsed.cancelled() => {
                Err(Broken::Failed("the lease of the faults lapsed: this process stood still, and the proxy has ended them".to_owned()))
            }
            () = tokio::time::sleep(length) => Ok(None),
            () = counting => Ok(None),
            why = early => Ok(Some(why)),
        };
        let took = began.elapsed();
        self.environment.metrics.phase_took(&self.scenario.name, phase, took.as_secs_f64());
        if let Some(why) = ended? {
            let text = format!("{} ended after {:.1} s: {why}", phase.name(), took.as_secs_f64());
            tracing::info!("{}: {text}", self.scenario.name);
            let note = Note::until_stable(self.clock.now_us(), phase, text);
            self.journal.append(Record::Note(note)).await;
        }
        Ok(())
    }
}
