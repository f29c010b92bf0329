//! What must not outlast its owner, in the words in which a janitor is told of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::sleep;

use super::nftables::namespace::Namespace;
use super::nftables::table::{self, TableName};
use crate::faults::namespace_name;
use crate::removal::ladder;
use crate::removal::owner::Owner;

/// Between the look that finds a dead owner's faults and the one that finds what its last call has made.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// Something of ours that must not outlast its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// What a run has on a Toxiproxy.
    Run {
        /// Base URL of its API.
        url: String,
        /// The run.
        owner: Owner,
    },
    /// A table of packet filter rules.
    Table {
        /// Network namespace; `None`: the one of the process.
        netns: Option<String>,
        /// Its name.
        name: TableName,
    },
}

impl Resource {
    /// Removes it; also well when it is gone already.
    pub(crate) async fn remove(&self) -> Result<(), String> {
        let (netns, name) = match self {
            Resource::Table { netns, name } => (netns, name),
            Resource::Run { url, owner } => {
                let client = toxiproxy::Client::new(url).map_err(|error| error.to_string())?;
                let sweep = async || ladder::sweep(&client, |name| name.owner() == owner).await;
                sweep().await.map_err(|error| error.to_string())?;
                // The owner's last call may still be on its way: what it makes is seen at a second look.
                sleep(SECOND_LOOK).await;
                return sweep().await.map(drop).map_err(|error| error.to_string());
            }
        };
        let namespace = Namespace::find(netns.as_deref()).map_err(|error| error.to_string())?;
        table::delete(&namespace, name).await.map(drop).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Table { netns, name } => write!(f, "table {} {name}", netns.as_deref().unwrap_or("-")),
            Resource::Run { url, owner } => write!(f, "run {url} {owner}"),
        }
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["table", netns, name] => {
                let netns = (netns != "-").then(|| namespace_name(netns)).transpose()?;
                Ok(Resource::Table { netns, name: name.parse()? })
            }
            ["run", url, owner] => Ok(Resource::Run { url: url.to_owned(), owner: owner.parse()? }),
            _ => Err(format!("{text:?} is no resource")),
        }
    }
}
