//! Upstream texts: what Go's dialler makes of them, and the connection behind a proxy.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use address::DialError;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::listen::{self, ListenError};

/// Limit of a dial; the stock server has none and blocks its accept loop meanwhile.
const DIAL: Duration = Duration::from_secs(30);

/// Why a proxy has no connection to its upstream.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialFailed {
    /// The text is no address.
    #[error(transparent)]
    BadText(#[from] ListenError),
    /// The name has no address.
    #[error("lookup {host}: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// None of its addresses answers.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Connects to what an upstream text means. A name is resolved at every dial.
pub(super) async fn dial(text: &str) -> Result<TcpStream, DialFailed> {
    let late = |_| DialFailed::Lookup { host: text.to_owned(), why: format!("no answer within {DIAL:?}") };
    let addrs = timeout(DIAL, resolve(text)).await.map_err(late)??;
    Ok(address::connect_any(&addrs, DIAL).await?)
}

/// The addresses of an upstream text, in the resolver's order. No host is this machine, as for the stock server.
async fn resolve(text: &str) -> Result<Vec<SocketAddr>, DialFailed> {
    let (host, port) = listen::split(text)?;
    let port = listen::port(port).await?;
    if host.is_empty() {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    if let Some((ip, zone)) = host.split_once('%')
        && let Ok(ip) = ip.parse::<Ipv6Addr>()
    {
        return Ok(vec![SocketAddrV6::new(ip, port, 0, scope(zone)).into()]);
    }
    let unknown = |error: io::Error| DialFailed::Lookup { host: host.to_owned(), why: error.to_string() };
    let found = lookup_host((host, port)).await.map_err(unknown)?;
    Ok(found.collect())
}

/// The number of an interface, by its name or its number; 0, which is any, if there is none: Go does the same.
fn scope(zone: &str) -> u32 {
    let interface = Path::new("/sys/class/net").join(zone);
    // A name, not a way to another file.
    let known = Path::new(zone).components().count() == 1;
    let index = known.then(|| std::fs::read_to_string(interface.join("ifindex")).ok()).flatten();
    let index = index.and_then(|text| text.trim().parse().ok());
    index.or_else(|| zone.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upstream_text_means_what_it_means_to_the_stock_server() {
        for (text, wanted) in [
            (":80", "127.0.0.1:80"),
            ("[]:80", "127.0.0.1:80"),
            ("[127.0.0.1]:80", "127.0.0.1:80"),
            ("127.0.0.1:+80", "127.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1%lo]:80", "[::1%1]:80"),
            ("[fe80::1%7]:80", "[fe80::1%7]:80"),
            ("[::1%nosuch]:80", "[::1]:80"),
        ] {
            let found = resolve(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(found.contains(&wanted.parse().unwrap()), "{text}: {found:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_upstream_is_named() {
        for (text, wanted) in [
            ("local", "address local: missing port in address"),
            ("::1:80", "address ::1:80: too many colons in address"),
            ("[::1:80", "address [::1:80: missing ']' in address"),
            ("127.0.0.1:99999", "address 99999: invalid port"),
        ] {
            assert_eq!(resolve(text).await.unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
