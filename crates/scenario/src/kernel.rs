//! The second fault backend: packets that are really lost, by the kernel's packet filter (nftables).
//!
//! A random share of the packets between the client and a proxy's listening port is dropped as they arrive, each direction by
//! itself: the client's own connections are hit, their first packets (SYN) and bare acknowledgements included. Both ends must be
//! in one network namespace, because a packet counts as lost only when it is dropped at its receiver (see `table::ruleset`).
//!
//! Each faulted proxy has a table of its own; nothing else of the rule set is touched. A [`Janitor`] knows of it before it is made.

pub(crate) mod dose;
mod namespace;
pub(crate) mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use observation::clock;
use tokio::time::Instant;

use crate::janitor::{Janitor, JanitorError, Resource};

pub use namespace::{CallError, Namespace};
pub use table::{Counted, Owner, TableName};

/// Longest name of a network namespace.
const NAME_MAX: usize = 64;

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

/// Why a fault could not be applied or taken away.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// By `nft`.
    #[error(transparent)]
    Call(#[from] CallError),
    /// By the janitor.
    #[error(transparent)]
    Janitor(#[from] JanitorError),
    /// The rules had gone before they were taken away.
    #[error("table {0} was gone already: the fault did not last")]
    Gone(TableName),
}

/// A name that `ip netns` takes and no program reads as something else.
pub fn namespace_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let well = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-');
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {NAME_MAX} letters, digits, dashes and underscores, not {text:?}"))
    }
}

/// What is needed is here and permitted, as tried: a whole table is checked, and an empty one is made and taken away.
pub async fn permitted(namespace: &Namespace) -> Result<(), Refused> {
    let owner = Owner::this().map_err(|error| Refused::Unknown(error.to_string()))?;
    // Port 0 is nobody's.
    let name = TableName::new(owner, 0, 0, clock::wall_ms() / 1000);
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

/// Takes away tables whose scenariod is gone; gives their names.
pub async fn sweep(namespace: &Namespace) -> Result<Vec<String>, CallError> {
    let swept = table::sweep(namespace).await?;
    Ok(swept.into_iter().map(|name| format!("table {name}")).collect())
}

/// The same in this namespace, for a run that asks nothing of the kernel: where it is not permitted, or there is no `nft`, no
/// scenariod of this user has left anything either.
pub async fn sweep_here() -> Vec<String> {
    let Ok(here) = Namespace::find(None) else { return Vec::new() };
    sweep(&here).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "tables of packet filter rules are not looked at");
        Vec::new()
    })
}

/// One table that is in force.
#[derive(Debug)]
struct Active {
    namespace: Namespace,
    name: TableName,
    counted: Counted,
    at: Instant,
}

impl Active {
    fn resource(&self) -> Resource {
        Resource::Table { netns: self.namespace.name().map(str::to_owned), name: self.name.clone() }
    }
}

/// What a table has counted between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Packets.
    pub counted: Counted,
    /// Between the two looks.
    pub period: Duration,
}

/// The tables of one run. Dropping it leaves them to the janitor, which takes them away at once.
#[derive(Debug)]
pub struct KernelLoss {
    owner: Owner,
    janitor: Janitor,
    numbers: u32,
    active: Vec<Active>,
}

impl KernelLoss {
    /// With a janitor that will know of every table; nothing is lost yet.
    pub fn new(janitor: Janitor) -> Result<Self, Refused> {
        let owner = Owner::this().map_err(|error| Refused::Unknown(error.to_string()))?;
        Ok(Self { owner, janitor, numbers: 0, active: Vec::new() })
    }

    /// A name for the table of one fault, with its deadline in Unix seconds.
    pub fn name(&mut self, listen: SocketAddr, deadline: u64) -> TableName {
        self.numbers += 1;
        TableName::new(self.owner, listen.port(), self.numbers, deadline)
    }

    /// From now on a `share` (0-1) of the packets that arrive from or for `listen` is lost, for `lease` at most.
    pub async fn apply(
        &mut self,
        namespace: &Namespace,
        name: TableName,
        listen: SocketAddr,
        share: f64,
        lease: Duration,
    ) -> Result<(), KernelError> {
        let active =
            Active { namespace: namespace.clone(), name, counted: Counted::default(), at: Instant::now() };
        self.janitor.own(&active.resource(), lease).await?;
        // In this process's namespace other hosts may be clients too, whose replies do not arrive here: half a loss is none.
        let rules = table::ruleset(&active.name, listen, share, namespace.name().is_none());
        // Remembered before the call: its answer may get lost, its effect not.
        self.active.push(active);
        let Some(active) = self.active.last() else { return Ok(()) };
        Ok(table::create(namespace, &active.name, &rules).await?)
    }

    /// What each table has counted since the last time.
    pub async fn count(&mut self) -> Vec<(TableName, Since)> {
        let mut all = Vec::new();
        for active in &mut self.active {
            // What cannot be read now is part of the next count.
            let Ok(now) = table::count(&active.namespace, &active.name).await else { continue };
            let before = std::mem::replace(&mut active.counted, now);
            let then = std::mem::replace(&mut active.at, Instant::now());
            let counted = Counted {
                seen: now.seen.saturating_sub(before.seen),
                dropped: now.dropped.saturating_sub(before.dropped),
                seen_bytes: now.seen_bytes.saturating_sub(before.seen_bytes),
                dropped_bytes: now.dropped_bytes.saturating_sub(before.dropped_bytes),
            };
            all.push((active.name.clone(), Since { counted, period: active.at - then }));
        }
        all
    }

    /// Takes every table away and reads back that it is gone. Tries everything before it gives the first error; what is left
    /// can be tried again.
    pub async fn remove(&mut self) -> Result<(), KernelError> {
        let mut first_error = None;
        let mut left = 0;
        // Forgotten only when it is gone: a panic in between must not hide one.
        while let Some(active) = self.active.get(left) {
            let error = match table::delete(&active.namespace, &active.name).await {
                Err(error) => {
                    left += 1;
                    Some(KernelError::Call(error))
                }
                Ok(was_there) => {
                    let active = self.active.remove(left);
                    let told = self.janitor.gone(&active.resource()).await;
                    let gone = (!was_there).then_some(KernelError::Gone(active.name));
                    gone.or(told.err().map(KernelError::Janitor))
                }
            };
            first_error = first_error.or(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Is nothing left?
    pub fn is_clean(&self) -> bool {
        self.active.is_empty()
    }
}
