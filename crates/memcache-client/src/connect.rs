//! Dials: address forms, the login of memcached's ASCII authentication.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::error::Error;
use crate::stream::{Connector, Stream};
use crate::sync::timeout;
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

/// Prefix of addresses that are paths.
const UNIX: &str = "unix:";

/// Opens a connection to `addr` within `limit`: `host:port` (the name is resolved anew, so that a moved
/// server is found) or `unix:/path`. A login takes part in the limit.
pub(crate) async fn connect(dial: &Dial, limit: Duration, addr: &str) -> Result<Stream, Error> {
    let dialling = async {
        let mut stream = open(dial, addr).await.map_err(|error| Error::Connect(Arc::new(error)))?;
        if let Some(login) = &dial.login {
            log_in(&mut stream, login).await?;
        }
        Ok(stream)
    };
    timeout(limit, dialling).await.unwrap_or(Err(Error::ConnectTimeout(limit)))
}

async fn open(dial: &Dial, addr: &str) -> io::Result<Stream> {
    if let Some(connector) = &dial.connector {
        return connector.connect(addr).await.map(Stream::Other);
    }
    if let Some(path) = addr.strip_prefix(UNIX) {
        return UnixStream::connect(path).await.map(Stream::Unix);
    }
    let stream = TcpStream::connect(addr).await?;
    // Small requests must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &dial.tls {
        return tls.begin(stream, addr).await.map(|stream| Stream::Tls(Box::new(stream)));
    }
    Ok(Stream::Tcp(stream))
}

/// memcached takes the first `set` of a connection as the login.
async fn log_in(stream: &mut Stream, login: &Login) -> Result<(), Error> {
    let broken = |error: io::Error| Error::Connect(Arc::new(error));
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
