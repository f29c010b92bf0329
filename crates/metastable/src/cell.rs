//! Runs one cell in a lab of its own and writes its journal.

use std::path::Path;
use std::time::Duration;

use lab::{Lab, LabConfig, LabError, MemcachedKind, Ports};
use memcache_client::{OnOpen, Routing};
use observation::clock::RunClock;
use observation::hub::{Hub, Reader};
use observation::journal::{Entry, JournalError, Source, Writer};
use observation::metastable::CellPhase;
use observation::{Note, NoteCode, Record};
use prometheus::Registry;
use scenario::backends::BackendError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use workload::look_aside::Flushed;
use workload::{Arrivals, Load, LoadConfig};

use crate::down::Down;
use crate::memory::{self, Watched};
use crate::plan::{Cell, Trigger};
use crate::sweep;

/// Share of the load during the relief.
const RELIEF: f64 = 0.05;
/// Steps of a ramp.
const RAMP_STEPS: u32 = 50;
/// The normal load after a ramp.
const AFTER_RAMP: Duration = Duration::from_secs(10);
/// Requests in flight at most: more than any cell can have, so that the generator is not the limit.
const IN_FLIGHT_MAX: usize = 16_384;
/// At most one of so many deletes of a flush may fail.
const FLUSH_FAILED: u64 = 100;
/// A server answers a flush within this time.
const FLUSH: Duration = Duration::from_secs(2);

/// Why a cell has no journal.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The lab did not start.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The load did not start.
    #[error(transparent)]
    Load(#[from] workload::LoadError),
    /// A task of the load died.
    #[error(transparent)]
    Died(#[from] workload::Died),
    /// A change of the load was refused.
    #[error("the load: {0}")]
    Rate(#[from] workload::ControlError),
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A proxy or a server did not do what the trigger needs.
    #[error("trigger: {0}")]
    Trigger(String),
}

impl From<BackendError> for CellError {
    fn from(error: BackendError) -> Self {
        CellError::Trigger(error.to_string())
    }
}

/// How a cell came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// All phases.
    Whole,
    /// `stop` came before; the journal tells what there was.
    Stopped,
}

/// What is done with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Its phases.
    Phases,
    /// Its load up in steps, its trigger, and its load down by the same steps.
    Sweep,
}

/// How a cell is run.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// What is done.
    pub course: Course,
    /// Folder of the journal; there must be none in it.
    pub dir: &'a Path,
    /// Which memcached.
    pub memcached: MemcachedKind,
    /// Whose memory is watched, besides that of the servers and of this process.
    pub watched: &'a [Watched],
    /// Of arrivals, keys and service times.
    pub seed: u64,
}

/// Runs a cell in a lab of its own, and writes its journal.
pub async fn run(cell: &Cell, how: How<'_>, stop: &CancellationToken) -> Result<Ran, CellError> {
    let config = LabConfig {
        servers: cell.servers,
        memcached: how.memcached,
        ports: Ports::Ephemeral,
        seed: how.seed,
    };
    let lab = Lab::start(&config).await?;
    let ran = in_lab(&lab, cell, how, stop).await;
    lab.stop().await;
    ran
}

async fn in_lab(lab: &Lab, cell: &Cell, how: How<'_>, stop: &CancellationToken) -> Result<Ran, CellError> {
    let seed = how.seed;
    let first = match how.course {
        Course::Phases => cell.rate,
        Course::Sweep => cell.rate * sweep::SHARES[0],
    };
    let mut setup = cell.setup;
    setup.database.seed = seed;
    let load = LoadConfig {
        arrivals: Arrivals::Poisson(first),
        in_flight_max: IN_FLIGHT_MAX,
        drivers: 1,
        keys: cell.keys,
        key_dist: cell.key_dist,
        ttl: cell.ttl,
        seed,
        look_aside: Some(setup),
        ..LoadConfig::default()
    };
    let on_open = if setup.failover { OnOpen::Failover } else { OnOpen::FailFast };
    let client = memcache_client::Config {
        routing: Routing { on_open, ..Routing::default() },
        seed,
        ..memcache_client::Config::default()
    };
    // The cell is its own observer: a registry that nobody scrapes.
    let prepared = Load::prepare(&load, lab.client(client)?, &Registry::new())?;
    let mut journal = Journal::begin(prepared.hub(), Writer::create(how.dir)?);
    if cell.prefill {
        prepared.prefill(stop, |_| {}).await;
    }
    let watching = stop.child_token();
    tokio::spawn(memory::watch(memory::targets(lab, how.watched), journal.sender(), watching.clone()));
    let load = prepared.start();
    let mut scene = Scene { cell, lab, load: &load, journal: &mut journal, seed };
    let ran = tokio::select! {
        ran = scene.run(how.course) => ran.map(|()| Ran::Whole),
        () = stop.cancelled() => Ok(Ran::Stopped),
        died = load.died() => Err(died.into()),
    };
    watching.cancel();
    let ran = match ran {
        // The system was not brought down as it should: the journal says so, and nothing else.
        Err(CellError::Trigger(why)) => {
            journal.note(NoteCode::MetastableVoid, format!("trigger: {why}")).await;
            Ok(Ran::Whole)
        }
        other => other,
    };
    journal.tell(if matches!(ran, Ok(Ran::Whole)) { CellPhase::Ended } else { CellPhase::Stopped }).await;
    let summary = load.stop().await;
    journal.end().await?;
    summary.died.map_or(ran, |died| Err(died.into()))
}

/// A cell under way.
pub(crate) struct Scene<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) lab: &'a Lab,
    pub(crate) load: &'a Load,
    pub(crate) journal: &'a mut Journal,
    seed: u64,
}

impl Scene<'_> {
    async fn run(&mut self, course: Course) -> Result<(), CellError> {
        match course {
            Course::Phases => self.phases().await,
            Course::Sweep => sweep::sweep(self).await,
        }
    }

    async fn phases(&mut self) -> Result<(), CellError> {
        let Self { cell, load, .. } = *self;
        let phases = cell.phases;
        self.journal.tell(CellPhase::Warm).await;
        sleep(phases.warm).await;
        self.journal.tell(CellPhase::Baseline).await;
        sleep(phases.baseline).await;
        self.journal.tell(CellPhase::Trigger).await;
        self.trigger().await?;
        self.journal.tell(CellPhase::Hold).await;
        sleep(phases.hold).await;
        if phases.relief.is_zero() {
            return Ok(());
        }
        self.journal.tell(CellPhase::Relief).await;
        load.set_rate(cell.rate * RELIEF)?;
        if let Some(database) = load.database() {
            database.drop_queue();
        }
        sleep(phases.relief).await;
        self.journal.tell(CellPhase::Ramp).await;
        let began = Instant::now();
        for step in 1..=RAMP_STEPS {
            let done = f64::from(step) / f64::from(RAMP_STEPS);
            load.set_rate(cell.rate * (RELIEF + (1.0 - RELIEF) * done))?;
            tokio::time::sleep_until(began + phases.ramp.mul_f64(done)).await;
        }
        self.journal.tell(CellPhase::After).await;
        sleep(AFTER_RAMP).await;
        Ok(())
    }

    /// Pulls it, and waits until it is over.
    pub(crate) async fn trigger(&self) -> Result<(), CellError> {
        let Self { cell, lab, load, seed, .. } = *self;
        let capacity = |factor: f64| match load.database() {
            Some(database) => {
                database.set_capacity(factor).map_err(|error| CellError::Trigger(error.to_string()))
            }
            None => Err(CellError::Trigger("the load has no database".to_owned())),
        };
        match cell.trigger {
            Trigger::Flush(share) => {
                let Flushed { asked, failed } = load.flush(share, seed).await;
                if asked == 0 || failed > asked / FLUSH_FAILED {
                    return Err(CellError::Trigger(format!("{failed} of {asked} deletes failed")));
                }
            }
            Trigger::Capacity(factor, lasts) => {
                capacity(factor)?;
                sleep(lasts).await;
                capacity(1.0)?;
            }
            Trigger::Spike(factor, lasts) => {
                load.set_rate(cell.rate * factor)?;
                sleep(lasts).await;
                load.set_rate(cell.rate)?;
            }
            Trigger::Restart(servers, lasts) => {
                let mut down = Down::new(lab, servers).await?;
                down.apply().await?;
                sleep(lasts).await;
                for server in lab.servers().addrs().into_iter().take(servers) {
                    forget(server).await.map_err(|error| CellError::Trigger(format!("{server}: {error}")))?;
                }
                down.remove().await?;
            }
        }
        Ok(())
    }
}

/// What a server loses when it is started again: everything.
async fn forget(server: std::net::SocketAddr) -> std::io::Result<()> {
    let exchange = async {
        let mut connection = tokio::net::TcpStream::connect(server).await?;
        connection.write_all(b"flush_all\r\n").await?;
        let mut reply = [0; 4];
        connection.read_exact(&mut reply).await?;
        if reply == *b"OK\r\n" { Ok(()) } else { Err(std::io::Error::other("flush_all was refused")) }
    };
    timeout(FLUSH, exchange).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Writes what the load says, and the phases, on the load's clock.
#[derive(Debug)]
pub(crate) struct Journal {
    hub: Hub,
    notes: mpsc::Sender<Record>,
    done: CancellationToken,
    writer: JoinHandle<Result<(), JournalError>>,
}

/// Notes that wait to be written.
const NOTES_MAX: usize = 64;

impl Journal {
    fn begin(hub: &Hub, writer: Writer) -> Self {
        let (notes, received) = mpsc::channel(NOTES_MAX);
        let done = CancellationToken::new();
        let written = write(hub.subscribe(), received, writer, done.clone());
        Self { hub: hub.clone(), notes, done, writer: tokio::spawn(written) }
    }

    pub(crate) async fn tell(&mut self, phase: CellPhase) {
        self.note(NoteCode::MetastablePhase, phase.to_string()).await;
    }

    async fn note(&mut self, code: NoteCode, text: String) {
        let note = Note::new(self.hub.clock().now_us(), code, text);
        // The writer ends early only with an error, which `end` gives.
        let _ = self.notes.send(Record::Note(note)).await;
    }

    /// For others who say something, on the load's clock.
    fn sender(&self) -> (RunClock, mpsc::Sender<Record>) {
        (self.hub.clock(), self.notes.clone())
    }

    async fn end(self) -> Result<(), JournalError> {
        self.done.cancel();
        match self.writer.await {
            Ok(written) => written,
            Err(error) => {
                tracing::error!(%error, "the writer of a journal died");
                Ok(())
            }
        }
    }
}

async fn write(
    mut lines: Reader,
    mut notes: mpsc::Receiver<Record>,
    mut writer: Writer,
    done: CancellationToken,
) -> Result<(), JournalError> {
    loop {
        let entry = tokio::select! {
            biased;
            Some(record) = notes.recv() => Entry { at_us: moment(&record), source: Source::Runner, record },
            line = lines.next_line() => match line.map(|line| serde_json::from_str::<Record>(&line)) {
                Some(Ok(record)) => Entry { at_us: moment(&record), source: Source::Client, record },
                Some(Err(error)) => {
                    tracing::error!(%error, "a record of the load cannot be read");
                    continue;
                }
                None => break,
            },
            () = done.cancelled() => break,
        };
        writer.append(&entry)?;
    }
    writer.sync()
}

fn moment(record: &Record) -> u64 {
    match record {
        Record::Hello(hello) => hello.at_us,
        Record::Tick(tick) => tick.at_us,
        Record::LookAside(look_aside) => look_aside.at_us,
        Record::Event(event) => event.at_us,
        Record::Host(host) => host.at_us,
        Record::Gap(gap) => gap.to_us,
        Record::Note(note) => note.at_us,
        Record::Memory(memory) => memory.at_us,
        _ => 0,
    }
}
