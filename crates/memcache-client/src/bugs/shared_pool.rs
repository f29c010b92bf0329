//! [`Bug::SharedPool`]: the slots of all servers' pools are as many as those of one.

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::seeded::Seeded;
use super::{Bug, Bugs};
use crate::config::Config;
use crate::error::{Error, PoolFull};

/// A place among those that all servers share, if they do.
#[derive(Default)]
pub(crate) struct SharedPlace {
    _permit: Seeded<OwnedSemaphorePermit>,
}

impl Bugs {
    /// A place among those that all servers share, for an op that has not got its slot at once.
    pub(crate) async fn shared_place(&self, config: &Config) -> Result<SharedPlace, Error> {
        let Some(memory) = self.memory_of(Bug::SharedPool) else { return Ok(SharedPlace::default()) };
        let (places, wait) = (memory.shared_places(config.pool.max), config.pool_wait());
        match timeout(wait, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(SharedPlace { _permit: Seeded::some(permit) }),
            Ok(Err(_)) => Ok(SharedPlace::default()),
            Err(_) => Err(Error::PoolExhausted(PoolFull::Waited(wait))),
        }
    }
}
