//! What stands between load and memcached: nothing, a bare copy loop, the stock Toxiproxy, ours. Each is a process of its
//! own, so that its CPU time and memory are its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use toxiproxy::server::{Server, ServerConfig};
use toxiproxy::wire::{NewProxy, Toxic};

use crate::cpu;

/// Subcommand of a child that carries.
pub const CARRY: &str = "carry";
/// Its threads, as many as this class of machine has cores; the stock server takes as many by itself.
const WORKERS: usize = 2;
/// Time until a carrier must answer.
const READY: Duration = Duration::from_secs(10);
/// Name of the one proxy.
pub const PROXY: &str = "bench";

/// Who carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Nobody: load goes straight to memcached.
    Direct,
    /// `copy_bidirectional` of tokio, one task a connection.
    Copy,
    /// `toxiproxy-server` on PATH.
    Stock,
    /// The server of this workspace.
    Ours,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Direct, Kind::Copy, Kind::Stock, Kind::Ours];
    /// Those that know toxics.
    pub const TOXIC: [Kind; 2] = [Kind::Stock, Kind::Ours];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Copy => "bare copy loop on tokio",
            Kind::Stock => "Toxiproxy 2.12.0",
            Kind::Ours => "ours",
        }
    }
}

/// A running carrier; gone when dropped.
#[derive(Debug)]
pub struct Carrier {
    /// Who it is.
    pub kind: Kind,
    /// Where load goes.
    pub addr: SocketAddr,
    /// Where memcached is.
    upstream: SocketAddr,
    process: Option<Process>,
    client: Option<toxiproxy::Client>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    // Our children end when it closes.
    _stdin: Option<ChildStdin>,
}

impl Carrier {
    /// Starts one before memcached at `upstream`.
    pub async fn start(kind: Kind, upstream: SocketAddr) -> Result<Self> {
        let mut carrier = Self { kind, addr: upstream, upstream, process: None, client: None };
        match kind {
            Kind::Direct => {}
            Kind::Copy => carrier.addr = carrier.start_child().await?,
            Kind::Ours => {
                let api = carrier.start_child().await?;
                carrier.make_proxy(api).await?;
            }
            Kind::Stock => {
                let api = free_port().await?;
                let mut command = Command::new("toxiproxy-server");
                command.args(["-host", "127.0.0.1", "-port", &api.port().to_string()]);
                command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
                let child = command.spawn().context("toxiproxy-server, is it on PATH?")?;
                carrier.process = Some(Process { child, _stdin: None });
                carrier.make_proxy(api).await?;
            }
        }
        Ok(carrier)
    }

    async fn start_child(&mut self) -> Result<SocketAddr> {
        let program = std::env::current_exe().context("this binary")?;
        let mut command = Command::new(program);
        command.args([CARRY, &serde_json::to_string(&(self.kind, self.upstream))?]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("a carrier")?;
        let stdout = child.stdout.take().context("its output")?;
        let mut line = String::new();
        tokio::time::timeout(READY, BufReader::new(stdout).read_line(&mut line))
            .await
            .context("a carrier")??;
        let stdin = child.stdin.take();
        self.process = Some(Process { child, _stdin: stdin });
        line.trim().parse().context("a carrier's address")
    }

    async fn make_proxy(&mut self, api: SocketAddr) -> Result<()> {
        let client = toxiproxy::Client::new(&format!("http://{api}"))?;
        let deadline = Instant::now() + READY;
        while let Err(error) = client.version().await {
            if Instant::now() > deadline {
                bail!("{}: {error}", self.kind.name());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let new = NewProxy {
            name: PROXY.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: self.upstream.to_string(),
            enabled: true,
        };
        self.addr = client.create_proxy(&new).await?.listen.parse().context("listen")?;
        self.client = Some(client);
        Ok(())
    }

    /// Adds a downstream latency of so many ms; says how long the call took.
    pub async fn add_latency(&self, ms: i64) -> Result<Duration> {
        let toxic = Toxic {
            name: "delay".to_owned(),
            kind: "latency".to_owned(),
            stream: "downstream".to_owned(),
            toxicity: 1.0,
            attributes: [("latency".to_owned(), ms.into())].into(),
        };
        let began = Instant::now();
        self.api()?.add_toxic(PROXY, &toxic).await?;
        Ok(began.elapsed())
    }

    /// Removes it.
    pub async fn remove_latency(&self) -> Result<()> {
        Ok(self.api()?.remove_toxic(PROXY, "delay").await?)
    }

    fn api(&self) -> Result<&toxiproxy::Client> {
        self.client.as_ref().context("no API")
    }

    /// CPU time since its beginning, µs; 0 for nobody.
    pub fn cpu_us(&self) -> Result<f64> {
        self.pid().map_or(Ok(0.0), cpu::used_by)
    }

    /// Resident memory, KiB; 0 for nobody.
    pub fn resident_kib(&self) -> Result<u64> {
        self.pid().map_or(Ok(0), cpu::resident_kib_of)
    }

    /// Open descriptors; 0 for nobody.
    pub fn descriptors(&self) -> Result<usize> {
        self.pid().map_or(Ok(0), |pid| {
            std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).context("/proc/PID/fd")
        })
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref()?.child.id()
    }
}

async fn free_port() -> Result<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any).await.and_then(|listener| listener.local_addr()).context("a free port")
}

/// In the child: carries until standard input closes.
pub fn carry(kind: Kind, upstream: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let mut stdin = tokio::io::stdin();
        let mut nothing = [0];
        let closed = async move { stdin.read(&mut nothing).await.map(drop) };
        match kind {
            Kind::Copy => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                crate::cli::say(&listener.local_addr()?.to_string())?;
                tokio::select! {
                    ended = copy(listener, upstream) => ended,
                    _ = closed => Ok(()),
                }
            }
            Kind::Ours => {
                let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let server =
                    Server::bind(ServerConfig { addr, threads: WORKERS, ..ServerConfig::default() }).await?;
                crate::cli::say(&server.addr().to_string())?;
                server.run(async { drop(closed.await) }).await;
                Ok(())
            }
            Kind::Direct | Kind::Stock => bail!("{} is no child of ours", kind.name()),
        }
    })
}

/// The least that a proxy on tokio costs.
async fn copy(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut server = TcpStream::connect(upstream).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
