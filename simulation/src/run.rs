//! One run: builds the hosts, goes step by step, does the faults at their times, and judges.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use memcache_client::breaker::BreakerState;
use memcache_client::{Client, Config, Dial, Error, Key, ServerAddr};
use memcached_fake::lies::Lie;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::fault::{Fault, Stage};
use crate::ledger::{Ledger, Shared, Witness};
use crate::network::{Dials, Network};
use crate::plan::{Plan, SETTLE};
use crate::server::Machine;
use crate::workload::Task;

/// Longest that a client may take to close.
const CLOSE: Duration = Duration::from_millis(1_500);

/// Real time that a run may take; most take less than a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to run a seed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep the trace.
    pub trace: bool,
    /// Lies that every server tells all the time; the ledger must find those that give wrong values.
    pub lies: Vec<Lie>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which run.
    pub seed: u64,
    /// Of the trace.
    pub hash: u64,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
    /// What was wrong; nothing in a good run.
    pub failures: Vec<String>,
    /// Ops begun.
    pub ops: u64,
    /// Ops dropped by their callers.
    pub dropped: u64,
    /// Changes of breakers' states.
    pub transitions: u64,
    /// Faults done.
    pub faults: usize,
    /// How ops ended.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Simulated time.
    pub simulated: Duration,
}

/// Ends the process when a run makes no progress: a loop within one instant of simulated time cannot be left otherwise.
fn watched<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(io::stderr(), "seed {seed}: no end after {PATIENCE:?} of real time");
            std::process::abort();
        }
    });
    let result = run();
    drop(done);
    result
}

/// Runs a plan.
pub fn run(plan: &Plan, options: &Options) -> Report {
    watched(plan.seed, || run_unwatched(plan, options))
}

fn run_unwatched(plan: &Plan, options: &Options) -> Report {
    let ledger = Shared::new(Ledger::new(plan.max_ejected(), options.trace));
    ledger.lock().note(&format!("{plan:?}"));
    let simulated = catch_unwind(AssertUnwindSafe(|| simulate(plan, options, &ledger)));
    let mut ledger = ledger.lock();
    let simulated = match simulated {
        Ok(simulated) => simulated,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            ledger.fail(&format!("a panic: {text}"));
            ledger.now
        }
    };
    let balance = ledger.close();
    Report {
        seed: plan.seed,
        hash: balance.hash,
        trace: balance.lines,
        failures: balance.failures,
        ops: ledger.ops[0],
        dropped: ledger.ops[2],
        transitions: ledger.transitions,
        faults: plan.faults.len(),
        outcomes: std::mem::take(&mut ledger.outcomes),
        simulated,
    }
}

/// The clients of a run, once they are built.
type Clients = Arc<Mutex<Vec<Client>>>;

fn simulate(plan: &Plan, options: &Options, ledger: &Shared) -> Duration {
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(plan.end() + Duration::from_secs(60))
        .min_message_latency(plan.latency.0)
        .max_message_latency(plan.latency.1)
        .tcp_capacity(4096)
        .build();
    let machines: Vec<Machine> =
        (0..plan.servers).map(|index| Machine::new(index, options.lies.clone())).collect();
    for machine in &machines {
        let host = machine.clone();
        sim.host(machine.name.as_str(), move || host.clone().serve());
    }
    let (dials, clients) = (Dials::default(), Clients::default());
    let names: Vec<String> = (0..plan.clients).map(|index| format!("client-{index}")).collect();
    for (index, name) in names.iter().enumerate() {
        let connector = Network::new(name, dials.clone());
        let dial = Dial { connector: Some(Arc::new(connector)), ..Dial::default() };
        let config = Config { dial, ..plan.config.clone() };
        let process =
            Process { plan: plan.clone(), index, ledger: ledger.clone(), clients: Arc::clone(&clients) };
        sim.client(name.as_str(), process.live(config, addresses(&machines)));
    }
    let mut begins = plan.faults.iter().peekable();
    let mut running = Vec::new();
    let mut peace = false;
    loop {
        let now = sim.elapsed();
        ledger.lock().now = now;
        let mut stage = Stage {
            sim: &mut sim,
            machines: &machines,
            clients: &names,
            dials: &dials,
            latency: plan.latency.1,
        };
        running.retain(|event: &&crate::Event| {
            let ends = event.end <= now;
            if ends {
                ledger.lock().note(&format!("end of {event:?}"));
                stage.end(event);
            }
            !ends
        });
        while let Some(event) = begins.next_if(|event| event.begin <= now) {
            ledger.lock().note(&format!("begin of {event:?}"));
            stage.begin(event);
            if matches!(event.fault, Fault::Crash { .. } | Fault::PowerLoss) {
                forget_counters(&clients, event.server, ledger);
            }
            running.push(event);
        }
        if !peace && now >= plan.recovered() {
            peace = true;
            ledger.lock().begin_peace(|server| plan.is_visited(server));
        }
        match sim.step() {
            Ok(false) => {}
            Ok(true) => return sim.elapsed(),
            Err(error) => {
                ledger.lock().fail(&error.to_string());
                return sim.elapsed();
            }
        }
    }
}

fn addresses(machines: &[Machine]) -> Vec<ServerAddr> {
    machines.iter().map(|machine| ServerAddr { name: machine.name.clone(), addr: machine.addr() }).collect()
}

/// What lived on the server is lost.
fn forget_counters(clients: &Clients, server: usize, ledger: &Shared) {
    let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.first() {
        let lives_there = |key: &str| Key::new(key).is_ok_and(|key| client.home(&key) == server);
        ledger.lock().counters.lost(lives_there);
    }
}

/// A process with a client.
struct Process {
    plan: Plan,
    index: usize,
    ledger: Shared,
    clients: Clients,
}

impl Process {
    async fn live(self, config: Config, servers: Vec<ServerAddr>) -> turmoil::Result {
        let birth = Instant::now();
        let witness = Witness { client: self.index, ledger: self.ledger.clone() };
        let client = Client::new(servers, config, Arc::new(witness))?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).push(client.clone());
        let mut tasks = JoinSet::new();
        for index in 0..self.plan.tasks {
            tasks.spawn_local(Task::new(&self.plan, &client, self.index, index, &self.ledger, birth).run());
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                self.ledger.lock().fail(&format!("a task: {error}"));
            }
        }
        sleep(self.plan.config.op_timeout + SETTLE).await;
        self.check_rest(&client);
        if timeout(CLOSE, client.close()).await.is_err() {
            self.ledger.lock().fail("the client does not close");
        }
        let refused = client.get(&Key::new("v:0")?).await;
        self.ledger
            .lock()
            .check(matches!(refused, Err(Error::Closed)), || format!("a closed client says {refused:?}"));
        Ok(())
    }

    /// Nothing runs: nothing may be held.
    fn check_rest(&self, client: &Client) {
        let mut ledger = self.ledger.lock();
        for (server, stats) in client.stats().iter().enumerate() {
            let pool = &stats.pool;
            let held = (pool.active, pool.waiting, stats.in_flight);
            let who = format!("c{} s{server}", self.index);
            ledger.check(held == (0, 0, 0), || format!("{who} holds slots, waiters, attempts: {held:?}"));
            ledger.check(pool.total <= pool.limit && pool.idle <= pool.limit, || {
                format!("{who} has more connections than it may: {pool:?}")
            });
            let state = stats.breaker.map_or(BreakerState::Closed, |breaker| breaker.state);
            ledger.check(state == BreakerState::Closed || !self.plan.is_visited(server), || {
                format!("{who} is {} in the end", state.name())
            });
        }
    }
}
