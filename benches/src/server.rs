//! The memcached that everybody is measured on: one worker thread, a child of ours, gone when we are.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Files that it and a contestant may have open: twice the connections that are ever made, and its `-c`.
const FILES: u64 = 20_000;
/// Memory for items, MiB: far above what the keys need, so that nothing is evicted.
const MEMORY_MIB: &str = "256";
/// Time until it must answer.
const READY: Duration = Duration::from_secs(10);
/// A free port may be taken by somebody else before memcached has it.
const TRIES: usize = 5;
/// User and group `nobody` on Linux.
const NOBODY: &str = "65534";

/// What is started, for the report.
pub const ARGUMENTS: [&str; 10] = ["-t", "1", "-m", MEMORY_MIB, "-c", "20000", "-b", "4096", "-U", "0"];

/// A running memcached; killed when dropped.
#[derive(Debug)]
pub struct Memcached {
    // Held for its kill_on_drop.
    _child: Child,
    addr: SocketAddr,
}

impl Memcached {
    /// Starts one on a free loopback port and waits until it answers.
    pub async fn start() -> Result<Self> {
        raise_file_limit()?;
        let mut last = None;
        for _ in 0..TRIES {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let addr = TcpListener::bind(any).await.and_then(|l| l.local_addr()).context("a free port")?;
            match start_at(addr).await {
                Ok(running) => return Ok(running),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("not tried"), Err)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn start_at(addr: SocketAddr) -> Result<Memcached> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    let on_path = |name: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|f| f.join(name).is_file()))
    };
    // With setpriv it also dies when we are killed. The user is changed by setpriv, before: memcached's own change of
    // user would take the death signal off again.
    let mut command = if on_path("setpriv") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if root {
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        }
        command.args(["--", "memcached"]);
        command
    } else {
        let mut command = Command::new("memcached");
        command.args(["-u", "nobody"]);
        command
    };
    command.args(ARGUMENTS).args(["-l", &addr.ip().to_string(), "-p", &addr.port().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().context("memcached, is it on PATH?")?;
    let deadline = Instant::now() + READY;
    while !answers(addr).await {
        if let Some(status) = child.try_wait()? {
            bail!("memcached ended at once: {status}; is {addr} taken?");
        }
        if Instant::now() > deadline {
            bail!("no answer from {addr} within {READY:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Memcached { _child: child, addr })
}

async fn answers(addr: SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(b"mn\r\n").await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        std::io::Result::Ok(reply == *b"MN\r\n")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), exchange).await, Ok(Ok(true)))
}

/// Lets this process, and so its children, open a file for each connection.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|now| now >= FILES) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(FILES));
    let raised = Rlimit { current: Some(FILES), maximum };
    setrlimit(Resource::Nofile, raised).with_context(|| format!("{FILES} open files"))
}
