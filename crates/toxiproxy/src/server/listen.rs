//! Listen addresses, as the stock server reads and shows them.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

/// Queue of connections that are not accepted yet.
const BACKLOG: i32 = 1024;

/// Why a proxy cannot listen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// The listen text is no address.
    #[error("{0}")]
    BadText(String),
    /// The address cannot be bound.
    #[error("listen tcp {addr}: bind: {error}")]
    Bind {
        /// Which.
        addr: String,
        /// What the system said, in the stock server's words.
        error: String,
    },
}

/// The address that a listen text means: IPv4 first for names, `[::]` for all interfaces.
pub(super) async fn resolve(listen: &str) -> Result<SocketAddr, ListenError> {
    let bad = |text: &str, why: &str| ListenError::BadText(format!("address {text}: {why}"));
    if listen.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    }
    let (host, port) = listen.rsplit_once(':').ok_or_else(|| bad(listen, "missing port in address"))?;
    let port: u16 = port.parse().map_err(|_| bad(port, "invalid port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => return Err(ListenError::BadText(format!("lookup {host}: {error}"))),
    };
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    let addr = *first.ok_or_else(|| bad(listen, "no such host"))?;
    Ok(if addr.ip().is_unspecified() { SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port())) } else { addr })
}

/// Listens there; gives the address with its real port.
pub(super) async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let addr = resolve(listen).await.map_err(|error| ListenError::BadText(format!("listen tcp: {error}")))?;
    let open = |addr: SocketAddr| -> io::Result<(TcpListener, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    };
    let bound = match open(addr) {
        // A machine without IPv6.
        Err(error)
            if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse =>
        {
            open(SocketAddr::from(([0, 0, 0, 0], addr.port())))
        }
        done => done,
    };
    bound.map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => "address already in use".to_owned(),
            io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        ListenError::Bind { addr: addr.to_string(), error: text }
    })
}
