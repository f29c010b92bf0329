//! Packets that are really lost, by the kernel's packet filter (nftables).
//!
//! A random share of the packets between the client and a proxy's listening port is dropped as they arrive, each direction by
//! itself: the client's own connections are hit, their first packets (SYN) and bare acknowledgements included. Both ends must be
//! in one network namespace, because a packet counts as lost only when it is dropped at its receiver (see `table::ruleset`).
//!
//! Each faulted proxy has a table of its own; nothing else of the rule set is touched. A janitor knows of it before it is made.

mod dose;
mod faults;
mod namespace;
pub(crate) mod table;
mod tables;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use observation::clock;

use super::Leftover;
pub(crate) use faults::Nftables;
pub use namespace::{CallError, Namespace};
pub use table::{Counted, Maker, TableName};
pub use tables::{Since, TableError, Tables};

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

/// What is needed is here and permitted, as tried: a whole table is checked, and an empty one is made and taken away.
pub async fn permitted(namespace: &Namespace) -> Result<(), Refused> {
    let maker = Maker::this().map_err(|error| Refused::Unknown(error.to_string()))?;
    // Port 0 is nobody's.
    let name = TableName::new(maker, 0, 0, clock::wall_ms() / 1000);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let rules = table::ruleset(&name, anywhere, 0.5, true);
    namespace.nft(&["--check", "-f", "-"], &rules).await.map_err(Refused::NotPermitted)?;
    let empty = format!("table inet {name} {{}}\ndelete table inet {name}\n");
    namespace.nft(&["-f", "-"], &empty).await.map_err(Refused::NotPermitted)?;
    Ok(())
}

/// Packets to `addr` (`HOST:PORT`) arrive in this namespace.
pub async fn arrives_here(namespace: &Namespace, addr: &str) -> Result<SocketAddr, Refused> {
    let unknown = |why: String| Refused::Unknown(format!("{addr}: {why}"));
    let found = tokio::net::lookup_host(addr).await.map_err(|error| unknown(error.to_string()))?;
    let mut elsewhere = None;
    for found in found {
        let owned = found.ip().is_unspecified()
            || namespace.owns(found.ip()).await.map_err(|error| unknown(error.to_string()))?;
        if owned {
            return Ok(found);
        }
        elsewhere = Some(found.ip());
    }
    let ip: Option<IpAddr> = elsewhere;
    Err(ip.map_or_else(
        || unknown("no address".to_owned()),
        |ip| Refused::Elsewhere(addr.to_owned(), ip.to_string()),
    ))
}

/// Takes away tables whose scenariod is gone.
async fn sweep(namespace: &Namespace) -> Result<Vec<Leftover>, CallError> {
    let swept = table::sweep(namespace).await?;
    Ok(swept.into_iter().map(|name| Leftover { what: format!("table {name}"), whose: None }).collect())
}

/// The same in this network namespace. Where that is not permitted, or there is no `nft`, no scenariod of this user has left
/// anything either.
pub(crate) async fn sweep_here() -> Vec<Leftover> {
    let Ok(here) = Namespace::find(None) else { return Vec::new() };
    sweep(&here).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "tables of packet filter rules are not looked at");
        Vec::new()
    })
}
