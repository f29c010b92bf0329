//! Dials: address forms, the login of memcached's ASCII authentication.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use address::{DialError, UNIX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::error::Error;
use crate::stream::{Connector, Stream};
use crate::sync::timeout_at;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// What a connection needs before it may carry ops.
#[derive(Clone, Default)]
pub struct Dial {
    /// Name and password of memcached's ASCII authentication (`memcached -Y`).
    pub login: Option<Login>,
    /// TLS over TCP; Unix sockets stay plain.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Another way to open connections; TLS does not apply to it.
    pub connector: Option<Arc<dyn Connector>>,
}

/// A name and a password; neither is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    text: String,
}

impl Login {
    /// Neither may be empty or contain a space or a control character: memcached reads them as two words.
    pub fn new(name: &str, password: &str) -> Option<Self> {
        let fits = |word: &str| !word.is_empty() && word.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        (fits(name) && fits(password)).then(|| Self { text: format!("{name} {password}") })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Dial");
        shown.field("login", &self.login).field("connector", &self.connector);
        #[cfg(feature = "tls")]
        shown.field("tls", &self.tls.is_some());
        shown.finish()
    }
}

impl PartialEq for Dial {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(feature = "tls")]
        let tls = match (&self.tls, &other.tls) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.config, &b.config) && a.name == b.name,
            (a, b) => a.is_none() && b.is_none(),
        };
        #[cfg(not(feature = "tls"))]
        let tls = true;
        let connector = match (&self.connector, &other.connector) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        tls && connector && self.login == other.login
    }
}

/// Opens a connection to `addr` within `limit`: `host:port` (the name is resolved at every call, so that a server that has moved
/// is found) or `unix:/path`. TLS and a login take part in the limit.
pub(crate) async fn connect(dial: &Dial, limit: Duration, addr: &str) -> Result<Stream, Error> {
    let deadline = Instant::now() + limit;
    if dial.connector.is_some() || addr.starts_with(UNIX) {
        return within(deadline, limit, addr, local(dial, addr)).await;
    }
    let stream = address::connect(addr, limit).await.map_err(|error| no_connection(error, limit))?;
    within(deadline, limit, addr, greeted(dial, addr, stream)).await
}

/// What is ready before `deadline`.
async fn within(
    deadline: Instant,
    limit: Duration,
    who: &str,
    dialling: impl Future<Output = Result<Stream, Error>>,
) -> Result<Stream, Error> {
    let late = || Error::ConnectTimeout { who: who.into(), limit };
    timeout_at(deadline, dialling).await.unwrap_or_else(|_| Err(late()))
}

/// Another way than TCP.
async fn local(dial: &Dial, addr: &str) -> Result<Stream, Error> {
    let stream = match (&dial.connector, addr.strip_prefix(UNIX)) {
        (Some(connector), _) => connector.connect(addr).await.map(Stream::Other),
        (None, path) => UnixStream::connect(path.unwrap_or(addr)).await.map(Stream::Unix),
    };
    logged_in(dial, stream.map_err(broken)?).await
}

/// A TCP connection after TLS and login.
async fn greeted(dial: &Dial, addr: &str, stream: TcpStream) -> Result<Stream, Error> {
    // Small requests must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(broken)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &dial.tls {
        let stream = tls.begin(stream, addr).await.map_err(broken)?;
        return logged_in(dial, Stream::Tls(Box::new(stream))).await;
    }
    #[cfg(not(feature = "tls"))]
    let _ = addr;
    logged_in(dial, Stream::Tcp(stream)).await
}

async fn logged_in(dial: &Dial, mut stream: Stream) -> Result<Stream, Error> {
    if let Some(login) = &dial.login {
        log_in(&mut stream, login).await?;
    }
    Ok(stream)
}

fn no_connection(error: DialError, limit: Duration) -> Error {
    match error.is_timeout() {
        true => Error::ConnectTimeout { who: error.silent().into(), limit },
        false => broken(error.into()),
    }
}

fn broken(error: io::Error) -> Error {
    Error::Connect(Arc::new(error))
}

/// memcached takes the first `set` of a connection as the login.
async fn log_in(stream: &mut Stream, login: &Login) -> Result<(), Error> {
    let text = format!("set auth 0 0 {}\r\n{}\r\n", login.text.len(), login.text);
    stream.write_all(text.as_bytes()).await.map_err(broken)?;
    let mut reply = Vec::new();
    while !reply.ends_with(b"\n") && reply.len() < 256 {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map_err(broken)?;
        reply.push(byte[0]);
    }
    if reply == b"STORED\r\n" {
        return Ok(());
    }
    let said = format!("login refused: {}", reply.trim_ascii().escape_ascii());
    Err(broken(io::Error::new(io::ErrorKind::PermissionDenied, said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_cannot_carry_a_command_and_is_never_shown() {
        for (name, password) in [("", "p"), ("n", ""), ("a b", "p"), ("n", "p\r\nflush_all"), ("n", "\0")] {
            assert_eq!(Login::new(name, password), None);
        }
        let login = Login::new("somebody", "hunter2").unwrap();
        assert!(!format!("{login:?}").contains("hunter2") && !format!("{login:?}").contains("somebody"));
    }
}
