//! The memcached servers of a lab: the real binary where there is one, else the fake.

use std::net::SocketAddr;

use memcached_fake::{FakeMemcached, real::RealMemcached};

use crate::LabError;

/// Which memcached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemcachedKind {
    /// Real if the binary is on PATH, else fake.
    Auto,
    /// The real binary; an error if there is none.
    Real,
    /// The fake.
    Fake,
}

impl std::str::FromStr for MemcachedKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(MemcachedKind::Auto),
            "real" => Ok(MemcachedKind::Real),
            "fake" => Ok(MemcachedKind::Fake),
            _ => Err("write auto, real or fake".to_owned()),
        }
    }
}

/// Running servers of one kind.
#[derive(Debug)]
pub enum Servers {
    /// Child processes.
    Real(Vec<RealMemcached>),
    /// Tasks of this process.
    Fake(Vec<FakeMemcached>),
}

impl Servers {
    /// Starts one server at each address (port 0: any free one) and waits until it answers.
    pub(crate) async fn start(
        kind: MemcachedKind,
        addrs: impl Iterator<Item = SocketAddr>,
    ) -> Result<Self, LabError> {
        let real = match kind {
            MemcachedKind::Fake => false,
            MemcachedKind::Real => true,
            MemcachedKind::Auto => RealMemcached::find().is_some(),
        };
        let failed = |addr: SocketAddr, error: String| LabError::Memcached(format!("{addr}: {error}"));
        if real {
            let mut servers = Vec::new();
            for addr in addrs {
                servers.push(RealMemcached::start(addr).await.map_err(|e| failed(addr, e.to_string()))?);
            }
            Ok(Servers::Real(servers))
        } else {
            let mut servers = Vec::new();
            for addr in addrs {
                servers.push(FakeMemcached::bind(addr).await.map_err(|e| failed(addr, e.to_string()))?);
            }
            Ok(Servers::Fake(servers))
        }
    }

    /// Where they listen.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        match self {
            Servers::Real(servers) => servers.iter().map(RealMemcached::addr).collect(),
            Servers::Fake(servers) => servers.iter().map(FakeMemcached::addr).collect(),
        }
    }

    /// What they are, for people.
    pub fn describe(&self) -> String {
        match self {
            Servers::Real(servers) => format!("{} real memcached", servers.len()),
            Servers::Fake(servers) => format!("{} fake memcached (no memcached on PATH)", servers.len()),
        }
    }

    pub(crate) async fn stop(self) {
        match self {
            // Dropping a child kills and reaps it.
            Servers::Real(servers) => drop(servers),
            Servers::Fake(servers) => {
                for server in servers {
                    server.shutdown().await;
                }
            }
        }
    }
}
