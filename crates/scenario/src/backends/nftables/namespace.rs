//! The system's own programs for packet filters, in one network namespace: `nft`, and `ip` to get into another namespace.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Longest call of a program. A call takes some 5 ms; with a large foreign rule set more.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Longest answer of a program, bytes; what is longer is cut, and then no JSON.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;
/// Where `ip netns add` puts them.
const NAMED: &str = "/run/netns";
/// Folders of system programs that are on no ordinary user's `PATH`.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why there can be no real loss here.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A program is missing: its name and its package's.
    #[error(
        "real packet loss needs the program `{0}`, which is not here: install {1}, or use `loss`, the proxy's own delay"
    )]
    NoProgram(&'static str, &'static str),
    /// A scenario names one that is not here.
    #[error("there is no network namespace {0:?} here (`ip netns list`) for real packet loss")]
    NoNamespace(String),
    /// The kernel does not let us.
    #[error(
        "real packet loss is not permitted here ({0}): run as root or with CAP_NET_ADMIN, or use `loss`, the proxy's own delay"
    )]
    NotPermitted(CallError),
    /// Packets to there do not arrive here.
    #[error(
        "real packet loss at {0}: {1} is no address of this host or network namespace, and only what arrives here can be lost here: run scenariod where the proxies and the client are, or use `loss`, the proxy's own delay"
    )]
    Elsewhere(String, String),
    /// The owner's name cannot be made, or an address not be found.
    #[error("real packet loss: {0}")]
    Unknown(String),
}

/// A call of `nft` or `ip` that did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {what}")]
pub struct CallError {
    /// Which call, for example `nft delete table`.
    pub call: String,
    /// What the program said, in one line.
    pub what: String,
}

/// A network namespace and the programs that act in it.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Option<String>,
    nft: PathBuf,
    ip: Option<PathBuf>,
}

impl Namespace {
    /// The one of that name (`ip netns list`), or the one that this process is in. Finds programs, calls none.
    pub fn find(name: Option<&str>) -> Result<Self, Refused> {
        let nft = program("nft").ok_or(Refused::NoProgram("nft", "nftables"))?;
        let ip = match name {
            None => None,
            Some(name) if !Path::new(NAMED).join(name).exists() => {
                return Err(Refused::NoNamespace(name.to_owned()));
            }
            Some(_) => Some(program("ip").ok_or(Refused::NoProgram("ip", "iproute2"))?),
        };
        Ok(Self { name: name.map(str::to_owned), nft, ip })
    }

    /// Its name; `None`: the one that this process is in.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// `nft` with `arguments`, fed with `input`; gives what it printed.
    pub async fn nft(&self, arguments: &[&str], input: &str) -> Result<String, CallError> {
        self.call(&self.nft, arguments, input).await
    }

    /// Is this an address of the namespace's own?
    pub async fn owns(&self, addr: IpAddr) -> Result<bool, CallError> {
        match &self.ip {
            _ if addr.is_loopback() => Ok(true),
            // Only an address of this host can be bound.
            None => Ok(UdpSocket::bind((addr, 0)).is_ok()),
            Some(ip) => {
                let shown = self.call(ip, &["-o", "addr", "show", "to", &addr.to_string()], "").await?;
                Ok(!shown.trim().is_empty())
            }
        }
    }

    async fn call(&self, program: &PathBuf, arguments: &[&str], input: &str) -> Result<String, CallError> {
        let mut command = match (&self.ip, &self.name) {
            (Some(ip), Some(name)) => {
                let mut command = Command::new(ip);
                command.args(["netns", "exec", name]).arg(program);
                command
            }
            _ => Command::new(program),
        };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let failed = |what: String| CallError { call: format!("{name} {}", arguments.join(" ")), what };
        command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            let write = async {
                if let Some(mut stdin) = stdin.take() {
                    // A program that has failed reads nothing; what it says counts.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let ((), out, err) = tokio::join!(write, answer(stdout), answer(stderr));
            (out, err, child.wait().await)
        };
        match timeout(CALL_MAX, talk).await {
            Ok((out, _, Ok(status))) if status.success() => Ok(out),
            Ok((_, err, Ok(status))) => Err(failed(reason(&err).unwrap_or_else(|| status.to_string()))),
            Ok((_, _, Err(error))) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no end after {CALL_MAX:?}"))),
        }
    }
}

async fn answer(from: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What cannot be read is missing, and the caller sees that.
        let _ = from.take(ANSWER_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The line of a program's complaint that says most: the one that names the system's error.
fn reason(complaint: &str) -> Option<String> {
    let lines = || complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().find(|line| line.contains("rror: ") || line.contains("not permitted"));
    telling.or_else(|| lines().next()).map(str::to_owned)
}

/// A program on `PATH`, or where the system keeps its own.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_in_its_telling_line() {
        let told =
            reason("netlink: Error: cache initialization failed: Operation not permitted\nx\n").unwrap();
        assert_eq!(told, "netlink: Error: cache initialization failed: Operation not permitted");
        let told = reason("/dev/stdin:1:1-9: Error: syntax error\ncreate tble\n^^^^\n").unwrap();
        assert_eq!(told, "/dev/stdin:1:1-9: Error: syntax error");
        assert_eq!((reason("odd\nmore").unwrap(), reason(" \n")), ("odd".to_owned(), None));
    }
}
