//! What more connections cost our client: CPU an op, and memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use memcache_client::{Client, Config, PoolConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::contestants::client;
use crate::cpu;
use crate::keyspace::{Keyspace, Mix};
use crate::measure::Plan;
use crate::rounds;
use crate::table::Table;

/// Connections that are held open at once.
const HELD: usize = 10_000;
/// A storm of dials overflows memcached's backlog, and the kernel asks again after 1, 3, 7 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a child process holds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// Plain streams of tokio: the least that a connection costs.
    Raw,
    /// Our client's pool.
    Client,
}

/// Memory of many connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// Whose.
    pub holder: Holder,
    /// How many are open.
    pub connections: usize,
    /// Resident memory before the first, KiB.
    pub before_kib: u64,
    /// Resident memory with all of them open and idle, each after one get, KiB.
    pub with_all_kib: u64,
}

impl Held {
    fn each_kib(&self) -> f64 {
        self.with_all_kib.saturating_sub(self.before_kib) as f64 / self.connections as f64
    }
}

/// Measures both holders in child processes.
pub async fn measure(addr: SocketAddr) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    for holder in [Holder::Raw, Holder::Client] {
        let program = std::env::current_exe().context("this binary")?;
        let mut command = Command::new(program);
        command.args([crate::cli::HOLD, &serde_json::to_string(&(holder, addr))?]);
        let output = rounds::output(command, 2 * PATIENCE).await?;
        let held: Held = serde_json::from_slice(&output).context("the memory of many connections")?;
        rounds::progress(&format!(
            "{holder:?}: {} connections, {:.1} KiB each",
            held.connections,
            held.each_kib()
        ));
        all.push(held);
    }
    Ok(all)
}

/// As a table.
pub fn table(all: &[Held]) -> String {
    let mut table = Table::new(["holder", "connections", "RSS before, MiB", "RSS with all, MiB", "KiB each"]);
    for held in all {
        let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
        table.row([
            match held.holder {
                Holder::Raw => "tokio TcpStream".to_owned(),
                Holder::Client => "client".to_owned(),
            },
            held.connections.to_string(),
            mib(held.before_kib),
            mib(held.with_all_kib),
            format!("{:.1}", held.each_kib()),
        ]);
    }
    table.markdown()
}

/// In the child: opens all connections and says what they take.
pub async fn hold(holder: Holder, addr: SocketAddr) -> Result<Held> {
    match holder {
        Holder::Raw => raw(addr).await,
        Holder::Client => pooled(addr).await,
    }
}

async fn raw(addr: SocketAddr) -> Result<Held> {
    let before_kib = cpu::resident_kib()?;
    let mut streams = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        streams.push(TcpStream::connect(addr).await.context("connect")?);
    }
    let with_all_kib = cpu::resident_kib()?;
    Ok(Held { holder: Holder::Raw, connections: streams.len(), before_kib, with_all_kib })
}

async fn pooled(addr: SocketAddr) -> Result<Held> {
    let plan = Plan {
        addr,
        connections: HELD,
        depth: 1,
        mix: Mix::Reads,
        keys: 1,
        value_size: 100,
        warmup: Duration::ZERO,
        window: Duration::ZERO,
    };
    let keyspace = Arc::new(Keyspace::new(plan.keys, plan.value_size)?);
    let config = Config {
        op_timeout: PATIENCE,
        total_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        pool: PoolConfig { max: HELD, ..PoolConfig::default() },
        ..Config::default()
    };
    let before_kib = cpu::resident_kib()?;
    let client = client::connect(config, &plan)?;
    open_all(&client, &keyspace).await?;
    let connections = client.stats()[0].pool.total;
    ensure!(connections == HELD, "only {connections} connections are open");
    Ok(Held { holder: Holder::Client, connections, before_kib, with_all_kib: cpu::resident_kib()? })
}

/// One get for each connection, all begun within one poll, before any can end and give its connection back.
async fn open_all(client: &Client, keyspace: &Keyspace) -> Result<()> {
    let key = keyspace.key(0);
    for result in join_all((0..HELD).map(|_| client.get(&key))).await {
        result.context("get")?;
    }
    Ok(())
}
