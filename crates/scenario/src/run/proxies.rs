//! The proxies of one run, and what the canaries say of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use toxiproxy::ClientError;

use super::canary::Health;
use super::environment::Environment;
use crate::backends::toxiproxy::{Found, Toxiproxy};

/// The proxies of one run.
pub(super) struct Proxies {
    pub(super) found: Found,
    /// By name.
    pub(super) health: BTreeMap<String, Arc<Health>>,
}

impl Proxies {
    /// Finds those that are there, and makes those that are missing.
    pub(super) async fn prepare(environment: &Environment) -> Result<Self, ClientError> {
        let found = environment.toxiproxy.prepare(&environment.proxies).await?;
        let health = found.targets.iter().map(|target| (target.name.clone(), Arc::default())).collect();
        Ok(Self { found, health })
    }

    /// Takes away those that this run has made and behind which nothing has answered.
    pub(super) async fn withdraw_dead(&self, toxiproxy: &Toxiproxy) {
        let is_dead = |name: &&String| !self.health.get(*name).is_some_and(|health| health.has_answered());
        let dead: Vec<String> = self.found.made.iter().filter(is_dead).cloned().collect();
        toxiproxy.withdraw(&dead).await;
    }
}
