//! What was typed, and what it means.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::contestants::{self, Job, Who};
use crate::decisive::{self, Decisive};
use crate::keyspace::{Keyspace, Mix};
use crate::machine::Machine;
use crate::measure::Plan;
use crate::proxy::{self, carrier, carrier::CARRY};
use crate::rounds::{self, Entry};
use crate::server::Memcached;
use crate::soak::{self, Soak};
use crate::{connections, micro, readme, syscalls, watched};

/// Subcommand of a child that is measured.
pub const CONTESTANT: &str = "contestant";
/// Subcommand of a child that holds connections.
pub const HOLD: &str = "hold";

/// Requests in flight on one connection, or keys of one batch, in `bench pipelined`.
const DEPTH: usize = 16;
/// Connections of `bench connections`.
const CONNECTIONS: [usize; 3] = [10, 100, 1000];

/// Measure our memcache client side by side with its peers, on a real memcached that is started for it.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One request in flight on each connection: every client against plain tokio
    Clients(Options),
    /// Several requests in flight on each connection, and batch reads
    Pipelined(Options),
    /// Our client's CPU an op at 10, 100 and 1000 connections, and its memory with 10 000
    Connections(Options),
    /// System calls an op, counted by strace
    Syscalls(Options),
    /// The parts of one op without a socket: router, breaker, recorder, values
    Micro(Options),
    /// Our proxy beside the stock Toxiproxy, a bare copy loop and none
    Proxy(Options),
    /// loadgen scraped, streamed and looked at, by few and by a thousand, against nobody
    Watched(Options),
    /// Load under rotating faults for long: wrong values, descriptors, memory
    Soak(Soak),
    /// First runs of scenariod beside busy loops: how many decide, and rightly
    Decisive(Decisive),
    /// All benchmarks
    All {
        #[command(flatten)]
        options: Options,
        /// Write the figures into benches/README.md
        #[arg(long)]
        write_readme: bool,
    },
    #[command(name = CONTESTANT, hide = true)]
    Contestant { job: String },
    #[command(name = CARRY, hide = true)]
    Carry { what: String },
    #[command(name = HOLD, hide = true)]
    Hold { what: String },
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Rounds; every contestant runs once in each
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Time of one contestant in one round
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "2s")]
    window: Duration,
    /// Time before it that is not measured
    #[arg(long, value_name = "DURATION", value_parser = duration::any, default_value = "300ms")]
    warmup: Duration,
    /// Connections of every contestant
    #[arg(long, value_name = "N", default_value_t = 50)]
    connections: usize,
    /// Number of keys
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    keys: usize,
    /// Length of values in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    value_size: usize,
    /// Also write everything that was measured, sample by sample, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured: for people, and for programs.
#[derive(Debug, Default)]
struct Figures {
    markdown: String,
    json: serde_json::Map<String, Value>,
}

impl Figures {
    fn add(&mut self, name: &str, title: &str, table: &str, data: Value) {
        self.markdown.push_str(&format!("### {title}\n\n{table}\n"));
        self.json.insert(name.to_owned(), data);
    }
}

/// Does what was typed.
pub async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Contestant { job } => {
            let job: Job = serde_json::from_str(&job).context("job")?;
            say(&serde_json::to_string(&contestants::run(&job).await?)?)
        }
        Command::Hold { what } => {
            let (holder, addr) = serde_json::from_str(&what).context("what to hold")?;
            say(&serde_json::to_string(&connections::hold(holder, addr).await?)?)
        }
        Command::Carry { what } => {
            let (kind, addr) = serde_json::from_str(&what).context("what to carry")?;
            // It has threads of its own.
            tokio::task::spawn_blocking(move || carrier::carry(kind, addr)).await?
        }
        Command::Proxy(options) => {
            let (mut figures, memcached) = (begin()?, prefilled(&options).await?);
            proxies(&mut figures, &options, memcached.addr()).await?;
            end(&figures, &options)
        }
        Command::Micro(options) => {
            let mut figures = begin()?;
            micro(&mut figures)?;
            end(&figures, &options)
        }
        Command::Clients(options) => {
            let (mut figures, memcached) = (begin()?, prefilled(&options).await?);
            clients(&mut figures, &options, memcached.addr()).await?;
            end(&figures, &options)
        }
        Command::Pipelined(options) => {
            let (mut figures, memcached) = (begin()?, prefilled(&options).await?);
            pipelined(&mut figures, &options, memcached.addr()).await?;
            end(&figures, &options)
        }
        Command::Connections(options) => {
            let (mut figures, memcached) = (begin()?, prefilled(&options).await?);
            many_connections(&mut figures, &options, memcached.addr()).await?;
            end(&figures, &options)
        }
        Command::Syscalls(options) => {
            let (mut figures, memcached) = (begin()?, prefilled(&options).await?);
            system_calls(&mut figures, &options, memcached.addr()).await?;
            end(&figures, &options)
        }
        Command::Watched(options) => {
            ensure!(options.rounds > 0 && options.connections > 0, "0 of something");
            let (mut figures, memcached) = (begin()?, Memcached::start().await?);
            let rows =
                watched::measure(memcached.addr(), options.connections, options.window, options.rounds)
                    .await?;
            figures.add("watched", "Looked at", &watched::table(&rows), serde_json::to_value(&rows)?);
            end(&figures, &options)
        }
        // The children have the machine.
        Command::Decisive(asked) => say(&decisive::measure(&asked)?),
        Command::Soak(soak) => say(&soak::run(soak).await?),
        Command::All { options, write_readme } => all(&options, write_readme).await,
    }
}

async fn all(options: &Options, write_readme: bool) -> Result<()> {
    let (mut figures, memcached) = (begin()?, prefilled(options).await?);
    let addr = memcached.addr();
    clients(&mut figures, options, addr).await?;
    pipelined(&mut figures, options, addr).await?;
    many_connections(&mut figures, options, addr).await?;
    system_calls(&mut figures, options, addr).await?;
    micro(&mut figures)?;
    proxies(&mut figures, options, addr).await?;
    if write_readme {
        readme::write(&readme::path(), &figures.markdown)?;
    }
    end(&figures, options)
}

fn begin() -> Result<Figures> {
    let machine = Machine::describe()?;
    let mut figures = Figures::default();
    figures.add("machine", "Machine", &machine.markdown(), serde_json::to_value(&machine)?);
    Ok(figures)
}

async fn prefilled(options: &Options) -> Result<Memcached> {
    ensure!(options.rounds > 0 && options.connections > 0 && options.keys > 0, "0 of something");
    let memcached = Memcached::start().await?;
    Keyspace::new(options.keys, options.value_size)?.prefill(memcached.addr()).await?;
    Ok(memcached)
}

fn end(figures: &Figures, options: &Options) -> Result<()> {
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&figures.json)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    say(&figures.markdown)
}

/// One line or more on standard output.
pub fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

fn plan(options: &Options, addr: SocketAddr) -> Plan {
    Plan {
        addr,
        connections: options.connections,
        depth: 1,
        mix: Mix::Mixed,
        keys: options.keys,
        value_size: options.value_size,
        warmup: options.warmup,
        window: options.window,
    }
}

fn entry(name: &str, who: Who, plan: Plan, baseline: &str) -> Entry {
    Entry { name: name.to_owned(), who, plan, baseline: baseline.to_owned() }
}

fn client_entries(options: &Options, addr: SocketAddr) -> Vec<Entry> {
    let all = [
        ("raw tokio, meta", Who::RawMeta),
        ("raw tokio, text", Who::RawText),
        ("client, verified and recorded", Who::Client),
        ("client, bare", Who::ClientBare),
        ("memcache-async (sets unacknowledged)", Who::MemcacheAsync),
        ("async-memcached", Who::AsyncMemcached),
        ("memcache (threads)", Who::Memcache),
        ("memcache (threads), untested checkout", Who::MemcacheUntested),
    ];
    all.map(|(name, who)| entry(name, who, plan(options, addr), "raw tokio, meta")).into()
}

async fn clients(figures: &mut Figures, options: &Options, addr: SocketAddr) -> Result<()> {
    let rows = rounds::measure(client_entries(options, addr), options.rounds).await?;
    let title = format!("Clients: {} connections, one request in flight on each, 90/10", options.connections);
    figures.add("clients", &title, &rounds::table(&rows), serde_json::to_value(&rows)?);
    Ok(())
}

async fn pipelined(figures: &mut Figures, options: &Options, addr: SocketAddr) -> Result<()> {
    let mixed = Plan { depth: DEPTH, ..plan(options, addr) };
    let reads = Plan { mix: Mix::Reads, ..mixed.clone() };
    let entries = [
        ("raw tokio, meta, 16 deep", Who::RawMeta, &mixed, "raw tokio, meta, 16 deep"),
        (
            "client, batches of 16, verified and recorded",
            Who::ClientBatches,
            &mixed,
            "raw tokio, meta, 16 deep",
        ),
        ("client, 16 deep, verified and recorded", Who::ClientPipelined, &mixed, "raw tokio, meta, 16 deep"),
        ("reads: raw tokio, meta, 16 deep", Who::RawMeta, &reads, "reads: raw tokio, meta, 16 deep"),
        (
            "reads: client, multi-get, verified",
            Who::ClientMultiGet,
            &reads,
            "reads: raw tokio, meta, 16 deep",
        ),
        ("reads: memcache, gets", Who::Memcache, &reads, "reads: raw tokio, meta, 16 deep"),
        ("reads: memcache-async, get_multi", Who::MemcacheAsync, &reads, "reads: raw tokio, meta, 16 deep"),
        ("reads: async-memcached, get_multi", Who::AsyncMemcached, &reads, "reads: raw tokio, meta, 16 deep"),
    ];
    let entries = entries.map(|(name, who, plan, baseline)| entry(name, who, plan.clone(), baseline));
    let rows = rounds::measure(entries.into(), options.rounds).await?;
    let title =
        format!("Pipelined and batches: {} connections, {DEPTH} keys at once on each", options.connections);
    figures.add("pipelined", &title, &rounds::table(&rows), serde_json::to_value(&rows)?);
    Ok(())
}

async fn many_connections(figures: &mut Figures, options: &Options, addr: SocketAddr) -> Result<()> {
    let mut entries = Vec::new();
    for connections in CONNECTIONS {
        let plan = Plan { connections, ..plan(options, addr) };
        let baseline = format!("raw tokio, {connections}");
        entries.push(entry(&baseline, Who::RawMeta, plan.clone(), &baseline));
        entries.push(entry(&format!("client, {connections}"), Who::Client, plan, &baseline));
    }
    let rows = rounds::measure(entries, options.rounds).await?;
    figures.add("connections", "Connections", &rounds::table(&rows), serde_json::to_value(&rows)?);
    let held = connections::measure(addr).await?;
    figures.add(
        "memory",
        "Memory of idle connections",
        &connections::table(&held),
        serde_json::to_value(&held)?,
    );
    Ok(())
}

async fn proxies(figures: &mut Figures, options: &Options, addr: SocketAddr) -> Result<()> {
    for (name, title, table, data) in proxy::measure(&plan(options, addr), options.rounds).await? {
        figures.add(name, &title, &table, data);
    }
    Ok(())
}

async fn system_calls(figures: &mut Figures, options: &Options, addr: SocketAddr) -> Result<()> {
    let mut entries = client_entries(options, addr);
    // The whole run counts, so there is nothing to warm up for.
    entries.iter_mut().for_each(|entry| entry.plan.warmup = Duration::ZERO);
    let Some(calls) = syscalls::measure(&entries).await? else { return Ok(()) };
    figures.add("syscalls", "System calls", &syscalls::table(&calls), json!(calls));
    Ok(())
}

fn micro(figures: &mut Figures) -> Result<()> {
    let parts = micro::measure()?;
    figures.add("micro", "Parts of one op", &micro::table(&parts), json!(parts));
    Ok(())
}
