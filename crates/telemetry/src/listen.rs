//! Where to listen, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::{TcpListener, lookup_host};

/// `:PORT` or `PORT` (all interfaces), or `HOST:PORT`. Port 0 is any free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr {
    /// `None`: all interfaces.
    host: Option<String>,
    port: u16,
}

/// Not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not :PORT, PORT or HOST:PORT with a port of 0 to 65535")]
pub struct BadListenAddr(String);

impl FromStr for ListenAddr {
    type Err = BadListenAddr;

    /// Blanks around the address do not count.
    fn from_str(text: &str) -> Result<Self, BadListenAddr> {
        let text = text.trim();
        let bad = || BadListenAddr(text.to_owned());
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse().map_err(|_| bad())?;
        let host = match host {
            "" => None,
            _ if host.starts_with('[') != host.ends_with(']') => return Err(bad()),
            _ => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let plain = !bare.is_empty() && !bare.contains(char::is_whitespace);
                // Colons only within brackets, otherwise `::1` would lose its last group to the port.
                if !plain || (bare.contains(':') && !host.starts_with('[')) {
                    return Err(bad());
                }
                Some(bare.to_owned())
            }
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

impl ListenAddr {
    /// `port` on all interfaces.
    pub fn all(port: u16) -> Self {
        Self { host: None, port }
    }

    /// `port` on loopback.
    pub fn loopback(port: u16) -> Self {
        Self { host: Some(Ipv4Addr::LOCALHOST.to_string()), port }
    }

    /// Binds it. All interfaces: one dual-stack socket where the machine has IPv6, else IPv4.
    pub(crate) async fn bind(&self) -> std::io::Result<TcpListener> {
        match &self.host {
            Some(host) => {
                let addrs: Vec<SocketAddr> = lookup_host((host.as_str(), self.port)).await?.collect();
                TcpListener::bind(&addrs[..]).await
            }
            None => {
                let v6 = TcpListener::bind((IpAddr::V6(Ipv6Addr::UNSPECIFIED), self.port)).await;
                match v6 {
                    Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                        TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port)).await
                    }
                    done => done,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, host, port) in [
            (":9090", None, 9090),
            ("9090", None, 9090),
            (":0", None, 0),
            ("127.0.0.1:9090", Some("127.0.0.1"), 9090),
            (" localhost:1 ", Some("localhost"), 1),
            ("[::1]:9090", Some("::1"), 9090),
        ] {
            let parsed: ListenAddr = text.parse().unwrap();
            assert_eq!((parsed.host.as_deref(), parsed.port), (host, port), "{text}");
            assert_eq!(parsed.to_string().parse::<ListenAddr>().unwrap(), parsed);
        }
        for text in ["", ":", "x", ":65536", ":-1", "a b:1", "::1:9090", "[::1:9090", "http://x:1/", ":9090/"]
        {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_port_alone_is_reached_over_ipv4() {
        let listener = ":0".parse::<ListenAddr>().unwrap().bind().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    }
}
