//! Connections to names of several addresses: one silent address does not use up the time of the others.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// How long an address may be silent before the next one is tried beside it: RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses that were tried, and what came of each; `None`: silence.
type Tried = Vec<(SocketAddr, Option<io::Error>)>;

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address.
    Lookup {
        /// The name with its port.
        name: String,
        /// What the resolver said; `None`: nothing within the limit.
        error: Option<io::Error>,
    },
    /// No address of it answered.
    NoAnswer {
        /// Addresses that were tried, and what came of each; `None`: silence.
        tried: Vec<(SocketAddr, Option<io::Error>)>,
        /// Time limit for all of them together.
        limit: Duration,
    },
}

impl DialError {
    /// Did the time run out?
    pub fn is_timeout(&self) -> bool {
        match self {
            DialError::Lookup { error, .. } => error.is_none(),
            DialError::NoAnswer { tried, .. } => tried.iter().any(|(_, error)| error.is_none()),
        }
    }

    /// Who did not answer in time; the name if the resolver did not.
    pub fn silent(&self) -> String {
        match self {
            DialError::Lookup { name, .. } => name.clone(),
            DialError::NoAnswer { tried, .. } => {
                let silent = tried.iter().filter(|(_, error)| error.is_none());
                silent.map(|(addr, _)| addr.to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// The kind of failure; that of the last address where they differ.
    fn kind(&self) -> io::ErrorKind {
        if self.is_timeout() {
            return io::ErrorKind::TimedOut;
        }
        let last = match self {
            DialError::Lookup { error, .. } => error.as_ref(),
            DialError::NoAnswer { tried, .. } => tried.last().and_then(|(_, error)| error.as_ref()),
        };
        last.map_or(io::ErrorKind::NotFound, io::Error::kind)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Lookup { name, error: Some(error) } => write!(f, "{name}: {error}"),
            DialError::Lookup { name, error: None } => {
                write!(f, "{name}: the resolver did not answer in time")
            }
            DialError::NoAnswer { tried, .. } if tried.is_empty() => f.write_str("no address"),
            DialError::NoAnswer { tried, limit } => {
                for (n, (addr, error)) in tried.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    match error {
                        Some(error) => write!(f, "{comma}{addr}: {error}")?,
                        None => write!(f, "{comma}{addr}: no answer within {limit:?}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for DialError {}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

/// Connects to `host:port` within `limit`. The name is resolved at every call, so that a server that has moved is found.
///
/// # Errors
///
/// The name has no address, or none of its addresses answers.
pub async fn connect(name: &str, limit: Duration) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + limit;
    let failed = |error| DialError::Lookup { name: name.to_owned(), error };
    let found = timeout_at(deadline, lookup_host(name)).await.map_err(|_| failed(None))?;
    let addrs: Vec<SocketAddr> = found.map_err(|error| failed(Some(error)))?.collect();
    race(&addrs, deadline).await.map_err(|tried| DialError::NoAnswer { tried, limit })
}

/// Connects to whichever of `addrs` answers first, within `limit` for all of them. An address is tried when the one before it has
/// failed, or has been silent for 250 ms, or for its share of a short limit.
///
/// # Errors
///
/// None of them answers.
pub async fn connect_any(addrs: &[SocketAddr], limit: Duration) -> Result<TcpStream, DialError> {
    race(addrs, Instant::now() + limit).await.map_err(|tried| DialError::NoAnswer { tried, limit })
}

/// The first connection; otherwise what came of each address.
async fn race(addrs: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Tried> {
    let left = deadline.saturating_duration_since(Instant::now());
    let head_start = HEAD_START.min(left / u32::try_from(addrs.len()).unwrap_or(u32::MAX).max(1));
    let mut untried = interleaved(addrs).into_iter();
    let mut tried = Tried::new();
    let mut dialling = FuturesUnordered::new();
    loop {
        if let Some(addr) = untried.next() {
            let place = tried.len();
            tried.push((addr, None));
            dialling.push(async move { (place, TcpStream::connect(addr).await) });
        }
        let next_at = if untried.len() > 0 { deadline.min(Instant::now() + head_start) } else { deadline };
        match timeout_at(next_at, dialling.next()).await {
            Ok(Some((_, Ok(stream)))) => return Ok(stream),
            Ok(Some((place, Err(error)))) => tried[place].1 = Some(error),
            // The next one begins.
            Err(_) if Instant::now() < deadline => {}
            Ok(None) | Err(_) => return Err(tried),
        }
    }
}

/// The families take turns, in the resolver's order: RFC 8305, section 4. A machine without one of them loses one turn, not all.
fn interleaved(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addrs.iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    first.reverse();
    second.reverse();
    let turns = std::iter::from_fn(|| match (first.pop(), second.pop()) {
        (None, None) => None,
        (a, b) => Some([a, b]),
    });
    turns.flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener whose queue is full: what dials it hears nothing.
    struct Silent {
        addr: SocketAddr,
        _held: (Socket, Vec<Socket>),
    }

    fn silent() -> Silent {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let dial = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // In progress, or silently left waiting: both fill the queue.
            drop(socket.connect(&addr.into()));
            socket
        };
        Silent { addr, _held: (listener, (0..4).map(dial).collect()) }
    }

    fn living() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    fn refusing() -> SocketAddr {
        living().0
    }

    #[tokio::test]
    async fn a_silent_address_does_not_use_up_the_time_of_the_next() {
        let (silent, (alive, _listener)) = (silent(), living());
        for limit in [Duration::from_secs(30), Duration::from_millis(400)] {
            let stream = connect_any(&[silent.addr, alive], limit).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), alive);
        }
        let all = [silent.addr, silent.addr, silent.addr, refusing(), silent.addr, alive];
        let stream = connect_any(&all, Duration::from_secs(2)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn a_refusal_is_followed_by_the_next_address_at_once_and_the_message_names_each() {
        let (a, b, (alive, _listener)) = (refusing(), refusing(), living());
        let stream = connect_any(&[a, b, alive], Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);

        let error = connect_any(&[a, b], Duration::from_secs(5)).await.unwrap_err();
        assert!(!error.is_timeout());
        let said = error.to_string();
        assert!(
            said.contains(&format!("{a}: Connection refused")) && said.contains(&b.to_string()),
            "{said}"
        );
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn silence_is_a_timeout_that_names_who_was_silent() {
        let silent = silent();
        let limit = Duration::from_millis(50);
        let error = connect_any(&[refusing(), silent.addr], limit).await.unwrap_err();
        assert!(error.is_timeout());
        assert!(error.to_string().ends_with(&format!("{}: no answer within 50ms", silent.addr)), "{error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let error = connect("no-such-host.invalid:1", Duration::from_secs(20)).await.unwrap_err();
        assert!(error.to_string().starts_with("no-such-host.invalid:1: "), "{error}");
        let error = connect_any(&[], Duration::from_secs(1)).await.unwrap_err();
        assert!(!error.is_timeout());
    }

    #[test]
    fn the_families_take_turns() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"].map(addr);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"].map(addr);
        assert_eq!(interleaved(&given), turns);
    }
}
