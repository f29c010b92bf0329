//! Listen texts: what they mean, how they are bound, and the stock server's words for what is wrong with them.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

/// Queue of connections that are not accepted yet.
const BACKLOG: i32 = 1024;
/// Names of ports.
const SERVICES: &str = "/etc/services";

/// Why nothing listens there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The text is no address.
    #[error("{0}")]
    BadText(String),
    /// The address cannot be bound.
    #[error("listen tcp {addr}: bind: {error}")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// What the system said, in the stock server's words.
        error: String,
    },
}

fn bad(text: &str, why: &str) -> ListenError {
    ListenError::BadText(format!("address {text}: {why}"))
}

/// Host and port of `host:port`, where brackets protect the colons of a host.
pub(super) fn split(text: &str) -> Result<(&str, &str), ListenError> {
    let colon = text.rfind(':').ok_or_else(|| bad(text, "missing port in address"))?;
    let (host, before, after) = if let Some(inner) = text.strip_prefix('[') {
        let end = 1 + inner.find(']').ok_or_else(|| bad(text, "missing ']' in address"))?;
        if end + 1 != colon {
            let more = text[end + 1..].starts_with(':');
            return Err(bad(
                text,
                if more { "too many colons in address" } else { "missing port in address" },
            ));
        }
        (&text[1..end], inner, &text[end + 1..])
    } else {
        let host = &text[..colon];
        if host.contains(':') {
            return Err(bad(text, "too many colons in address"));
        }
        (host, text, text)
    };
    if before.contains('[') {
        return Err(bad(text, "unexpected '[' in address"));
    }
    if after.contains(']') {
        return Err(bad(text, "unexpected ']' in address"));
    }
    Ok((host, &text[colon + 1..]))
}

/// A number, none (0), or the name of a service.
pub(super) async fn port(text: &str) -> Result<u16, ListenError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.is_empty() {
            return Ok(0);
        }
        return match digits.parse::<u16>() {
            Ok(port) if port == 0 || !text.starts_with('-') => Ok(port),
            _ => Err(bad(text, "invalid port")),
        };
    }
    let services = tokio::fs::read_to_string(SERVICES).await.unwrap_or_default();
    let unknown = || ListenError::BadText(format!("lookup tcp/{text}: unknown port"));
    named_port(&services, text).ok_or_else(unknown)
}

fn named_port(services: &str, wanted: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (name, number) = (words.next()?, words.next()?);
        let number = number.strip_suffix("/tcp")?;
        let known = std::iter::once(name).chain(words).any(|name| name.eq_ignore_ascii_case(wanted));
        known.then(|| number.parse().ok()).flatten()
    })
}

/// The address that a listen text means: IPv4 first for names, `[::]` for all interfaces.
///
/// # Errors
///
/// Texts that are no address, names that cannot be resolved.
pub async fn resolve(listen: &str) -> Result<SocketAddr, ListenError> {
    if listen.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    }
    let (host, port_text) = split(listen)?;
    let port = port(port_text).await?;
    let ip = if host.is_empty() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { lookup(host, port).await? };
    let ip = ip.to_canonical();
    Ok(SocketAddr::from((if ip.is_unspecified() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { ip }, port)))
}

async fn lookup(host: &str, port: u16) -> Result<IpAddr, ListenError> {
    let unknown = || ListenError::BadText(format!("lookup {host}: no such host"));
    let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::debug!(host, %error, "lookup");
            return Err(unknown());
        }
    };
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.map(SocketAddr::ip).ok_or_else(unknown)
}

/// What a listen text means, in the words of listening.
async fn to_listen(listen: &str) -> Result<SocketAddr, ListenError> {
    resolve(listen).await.map_err(|error| ListenError::BadText(format!("listen tcp: {error}")))
}

/// A listen text without names, that is bound without asking anybody.
///
/// # Errors
///
/// As [`bind`], but for those of the address itself.
pub(super) async fn numeric(listen: &str) -> Result<String, ListenError> {
    to_listen(listen).await.map(|addr| addr.to_string())
}

/// Binds what a listen text means, and gives the address that it got.
///
/// # Errors
///
/// As [`resolve`], in the words of listening; addresses that are taken, not ours or not permitted.
pub(super) async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let addr = to_listen(listen).await?;
    bind_addr(addr).map_err(|error| {
        let error = match error.kind() {
            io::ErrorKind::AddrInUse => "address already in use".to_owned(),
            io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        ListenError::Bind { addr, error }
    })
}

/// Binds an address, `[::]` for both families, and gives the one that it got.
pub(super) fn bind_addr(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    match open(addr) {
        // A machine without IPv6.
        Err(error)
            if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse =>
        {
            open(SocketAddr::from(([0, 0, 0, 0], addr.port())))
        }
        done => done,
    }
}

fn open(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listen_text_means_what_it_means_to_the_stock_server() {
        for (text, wanted) in [
            ("", "[::]:0"),
            (":", "[::]:0"),
            (":80", "[::]:80"),
            ("0.0.0.0:80", "[::]:80"),
            ("[]:80", "[::]:80"),
            ("[::]:80", "[::]:80"),
            ("[::1]:80", "[::1]:80"),
            ("127.0.0.1:", "127.0.0.1:0"),
            ("127.0.0.1:+80", "127.0.0.1:80"),
            ("127.0.0.1:-0", "127.0.0.1:0"),
            ("127.0.0.1:00080", "127.0.0.1:80"),
            ("[127.0.0.1]:80", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("LOCALHOST:80", "127.0.0.1:80"),
        ] {
            assert_eq!(resolve(text).await.unwrap().to_string(), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_in_the_stock_servers_words() {
        for (text, wanted) in [
            ("local373", "address local373: missing port in address"),
            ("127.0.0.1:99999", "address 99999: invalid port"),
            ("127.0.0.1:99999999999999999999", "address 99999999999999999999: invalid port"),
            ("127.0.0.1:-1", "address -1: invalid port"),
            ("[::1:80", "address [::1:80: missing ']' in address"),
            ("::1:80", "address ::1:80: too many colons in address"),
            ("[::1]80", "address [::1]80: missing port in address"),
            ("[::1]:80:80", "address [::1]:80:80: too many colons in address"),
            ("[::1]", "address [::1]: missing port in address"),
            ("a]b:80", "address a]b:80: unexpected ']' in address"),
            ("a[b:80", "address a[b:80: unexpected '[' in address"),
            ("127.0.0.1:no such port", "lookup tcp/no such port: unknown port"),
        ] {
            assert_eq!(resolve(text).await.unwrap_err().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn ports_have_names_and_other_names() {
        let services = "# all\nhttp\t\t80/tcp\t\twww  # World Wide Web\nntp 123/udp\nbad x/tcp\nhttp-alt 8080/tcp webcache\n";
        for (name, wanted) in [
            ("http", Some(80)),
            ("WWW", Some(80)),
            ("webcache", Some(8080)),
            ("ntp", None),
            ("bad", None),
            ("#", None),
        ] {
            assert_eq!(named_port(services, name), wanted, "{name}");
        }
    }
}
