//! The real memcached as a child process on a loopback port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// Time until it must answer.
const READY: Duration = Duration::from_secs(10);
/// A free port may be taken by somebody else before memcached has it.
const TRIES: usize = 5;

/// Connections of a server at most.
const CONNECTIONS: u64 = 4096;

/// User and group `nobody` on Linux.
const NOBODY: &str = "65534";

/// What says that a server is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It answers a command.
    Answers,
    /// It accepts a connection: it speaks only to those who log in, or TLS.
    Accepts,
}

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub struct RealMemcached {
    child: Child,
    addr: SocketAddr,
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl RealMemcached {
    /// The binary on `PATH`.
    pub fn find() -> Option<PathBuf> {
        on_path("memcached")
    }

    /// Starts one at `addr` (port 0: any free one) and waits until it answers.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        Self::start_with(addr, &[], Ready::Answers).await
    }

    /// The same with further arguments, which win over the usual ones.
    pub async fn start_with(addr: SocketAddr, more: &[&str], ready: Ready) -> io::Result<Self> {
        let program = Self::find().ok_or_else(|| io::Error::other("memcached is not on PATH"))?;
        let mut last = io::Error::other("not tried");
        for _ in 0..TRIES {
            // memcached's own "any port" tells the port through a file; asking the system is simpler.
            let at = TcpListener::bind(addr).await?.local_addr()?;
            match Self::start_at(&program, at, more, ready).await {
                Ok(running) => return Ok(running),
                Err(error) => last = error,
            }
            if addr.port() != 0 {
                break;
            }
        }
        Err(last)
    }

    /// For tests of this project: any free port. Without the binary it fails where `CI` is set, and otherwise says loudly
    /// that the test is skipped.
    pub async fn for_test() -> Option<Self> {
        Self::for_test_with(&[], Ready::Answers).await
    }

    /// The same with further arguments.
    pub async fn for_test_with(more: &[&str], ready: Ready) -> Option<Self> {
        if Self::find().is_none() {
            assert!(std::env::var_os("CI").is_none(), "memcached is not on PATH, and CI needs it");
            tracing::error!("SKIPPED: memcached is not on PATH; this test needs the real one");
            return None;
        }
        let started = Self::start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), more, ready).await;
        if let Err(error) = &started {
            assert!(std::env::var_os("CI").is_none(), "memcached {more:?}: {error}");
            tracing::error!("SKIPPED: memcached {more:?}: {error}");
        }
        started.ok()
    }

    async fn start_at(program: &PathBuf, addr: SocketAddr, more: &[&str], ready: Ready) -> io::Result<Self> {
        // With setpriv it dies with its parent even when that is killed. The parent is the thread that starts it, so this
        // must not be called from a thread that ends early; tokio's workers live as long as their runtime. The user is
        // changed by setpriv, before: memcached's own change of user would take the death signal off again.
        let root = std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
        let mut command = match on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]);
                if root {
                    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
                }
                command.arg("--").arg(program);
                command
            }
            None => {
                let mut command = Command::new(program);
                command.args(["-u", "nobody"]);
                command
            }
        };
        let (host, port) = (addr.ip().to_string(), addr.port().to_string());
        // As a common user it ends at once if it may not have a file for each.
        let connections = descriptors::hard_limit().unwrap_or(CONNECTIONS).min(CONNECTIONS).to_string();
        // -U 0: no UDP, which would reflect.
        command.args(["-l", &host, "-p", &port, "-U", "0", "-c", &connections]).args(more);
        // Ctrl-C in a terminal, and `timeout`, reach a whole process group: the servers are needed until the faults are gone.
        command.process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut running = Self { child, addr };
        let deadline = Instant::now() + READY;
        while !is_ready(addr, ready).await {
            if let Some(status) = running.child.try_wait()? {
                return Err(io::Error::other(format!("memcached ended at once: {status}; is {addr} taken?")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("no answer from {addr} within {READY:?}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(running)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends it a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill: {status}"))) }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

async fn is_ready(addr: SocketAddr, ready: Ready) -> bool {
    match ready {
        Ready::Answers => answers(addr).await,
        Ready::Accepts => TcpStream::connect(addr).await.is_ok(),
    }
}

async fn answers(addr: SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(b"mn\r\n").await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        Ok::<_, io::Error>(reply == *b"MN\r\n")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), exchange).await, Ok(Ok(true)))
}

impl Drop for RealMemcached {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
