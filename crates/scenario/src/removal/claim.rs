//! One run at a time on a Toxiproxy: before anything else a run makes a proxy there that is switched off, leads nowhere, and
//! says by its name who tests, and until when.
//!
//! Every such proxy has a name of its own, so that a leftover is taken away by name and never mistaken for its successor. A run
//! holds the Toxiproxy when it has made its proxy and *then* sees nobody else's: of two that begin at once at least one sees
//! the other, and both may; who sees somebody withdraws.

use std::time::Duration;

use tokio::time::sleep;
use toxiproxy::wire::NewProxy;
use toxiproxy::{Client, ClientError};

use super::ladder::{self, NOWHERE, Swept};
use super::owner::{CLAIM, OwnedName, Owner};

/// Tries, for runs that begin at the same moment.
const TRIES: u32 = 8;
/// Two that have met come back after different pauses, at most this long.
const PAUSE_MS: u32 = 400;

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another run is there.
    #[error(
        "the Toxiproxy at {url} is in use by {}: its faults would be part of this run. Wait for its end, or give this run a \
         Toxiproxy of its own (--lab, --toxiproxy); nothing was changed. (It holds {held}.)",
        held.name.describe()
    )]
    Occupied {
        /// Where.
        url: String,
        /// What of it is there.
        held: Box<Swept>,
    },
    /// The API.
    #[error(transparent)]
    Api(#[from] ClientError),
}

/// Says there that `owner` tests until `deadline` (Unix seconds), unless somebody else does.
pub(crate) async fn take(client: &Client, owner: &Owner, deadline: u64) -> Result<(), ClaimError> {
    let name = owner.name(CLAIM, deadline).to_string();
    let proxy = NewProxy {
        name: name.clone(),
        listen: "127.0.0.1:0".to_owned(),
        upstream: NOWHERE.to_owned(),
        enabled: false,
    };
    let mut n = 1;
    loop {
        vacant(client, Some(owner)).await?;
        client.create_proxy(&proxy).await?;
        let Err(met) = vacant(client, Some(owner)).await else { return Ok(()) };
        ladder::tried_twice(async || client.delete_proxy(&name).await).await?;
        if n == TRIES || !matches!(met, ClaimError::Occupied { .. }) {
            return Err(met);
        }
        sleep(pause(owner, n)).await;
        n += 1;
    }
}

/// Fails when a run is there that is not `mine` and not proven to be over.
pub(crate) async fn vacant(client: &Client, mine: Option<&Owner>) -> Result<(), ClaimError> {
    let others = |name: &OwnedName| Some(name.owner()) != mine && !name.is_over();
    let found = ladder::ours(client).await?.into_iter().find(|one| others(&one.name));
    found.map_or(Ok(()), |held| {
        Err(ClaimError::Occupied { url: client.url().to_owned(), held: Box::new(held) })
    })
}

fn pause(owner: &Owner, n: u32) -> Duration {
    // Different for all who may meet; no dice are needed for that. FNV-1a.
    let seed = format!("{n}{owner}");
    let hash =
        seed.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Duration::from_millis(u64::from(hash % PAUSE_MS))
}
