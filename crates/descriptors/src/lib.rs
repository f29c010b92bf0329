//! The limit of open files of a process: raises it as far as allowed, checks that settings fit into it, and accepts connections
//! when it is reached.

mod acceptor;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use acceptor::Acceptor;

/// Files beside the connections that are counted: logs, journals, metrics, timers, listeners.
const OTHERS: u64 = 64;

/// More than the process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "needs up to {needed} open files, and this process may have {limit}: raise the hard limit (`ulimit -Hn`, LimitNOFILE=) or ask for fewer \
     connections"
)]
pub struct Shortage {
    /// What the settings come to.
    pub needed: u64,
    /// What is allowed.
    pub limit: u64,
}

/// Raises the soft limit to the hard one, as every Go program does when it starts: the usual 1024 is meant for programs that
/// use `select`. Children inherit it.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
}

/// What a child of this process may raise its own limit to; `None`: anything.
pub fn hard_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Checks that this number of connections fits into the limit. A connection counts at each end that this process has.
pub fn check(connections: u64) -> Result<(), Shortage> {
    fits(connections, getrlimit(Resource::Nofile).current)
}

fn fits(connections: u64, limit: Option<u64>) -> Result<(), Shortage> {
    let needed = connections.saturating_add(OTHERS);
    match limit {
        Some(limit) if needed > limit => Err(Shortage { needed, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        raise();
    }

    #[test]
    fn connections_and_the_other_files_must_fit() {
        assert_eq!(fits(192, Some(256)), Ok(()));
        assert_eq!(fits(193, Some(256)), Err(Shortage { needed: 257, limit: 256 }));
        assert_eq!(fits(u64::MAX, None), Ok(()));
        assert!(fits(u64::MAX, Some(9)).is_err());
    }
}
