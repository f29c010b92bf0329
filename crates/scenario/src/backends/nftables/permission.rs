//! Whether the kernel may lose packets here, as tried.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use observation::clock;

use super::namespace::{Namespace, Refused};
use super::table::{self, Maker, TableName};

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
