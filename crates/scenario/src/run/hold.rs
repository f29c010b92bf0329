//! What a run holds from its first call to its last: its name, its claim on the Toxiproxy, and the process that takes all of it
//! away should this one be killed.

use std::time::Duration;

use observation::clock;
use tokio_util::sync::CancellationToken;

use super::environment::{Environment, RunError};
use crate::backends::resource::Resource;
use crate::file::Phases;
use crate::removal::claim::ClaimError;
use crate::removal::janitor::{Janitor, JanitorError};
use crate::removal::owner::Owner;

/// A claim outlasts the phases by this: the ladder is climbed down after them, and a call may hang.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Hold {
    pub(super) owner: Owner,
    /// `None`: everything that a fault could leave behind ends with this process anyway.
    pub(super) janitor: Option<Janitor>,
    /// What it looks after beside tables; `None`: the Toxiproxy ends with this process.
    resource: Option<Resource>,
}

impl Hold {
    /// Claims the Toxiproxy, or fails and leaves it as it is. `guarded`: a fault of the run outlasts this process.
    pub(super) async fn take(
        owner: Owner,
        phases: Phases,
        guarded: bool,
        environment: &Environment,
    ) -> Result<Self, RunError> {
        let toxiproxy = &environment.toxiproxy;
        let url = toxiproxy.client().url().to_owned();
        let resource = (!environment.inside).then(|| Resource::Run { url, owner: owner.clone() });
        let lasts = environment.wait + phases.total() + MARGIN;
        let janitor = match guarded || resource.is_some() {
            true => Some(Janitor::start(&environment.program).await?),
            false => None,
        };
        let hold = Self { owner, janitor, resource };
        hold.until(lasts).await?;
        match toxiproxy.claim(&hold.owner, clock::wall_ms() / 1000 + lasts.as_secs()).await {
            Ok(()) => Ok(hold),
            Err(error @ ClaimError::Occupied { .. }) => {
                // Withdrawn: there is nothing to take away.
                hold.dismiss(true).await;
                Err(error.into())
            }
            Err(error) => {
                hold.release(environment).await;
                Err(error.into())
            }
        }
    }

    /// The janitor takes everything away after this time, whatever this process does.
    pub(super) async fn until(&self, lease: Duration) -> Result<(), JanitorError> {
        match (&self.janitor, &self.resource) {
            (Some(janitor), Some(resource)) => janitor.own(resource, lease).await,
            _ => Ok(()),
        }
    }

    /// The faults are gone, the phases after them take `rest`: the janitor has only the claim to look after.
    pub(super) async fn without_faults(&self, rest: Duration) {
        if let Err(error) = self.until(rest + MARGIN).await {
            // It ends the claim early, and nothing else.
            tracing::warn!(%error, "the janitor");
        }
    }

    /// A part of a fault is about to be made that the claim does not cover.
    pub(super) async fn own(&self, part: &Resource, lease: Duration) -> Result<(), JanitorError> {
        match &self.janitor {
            Some(janitor) => janitor.own(part, lease).await,
            None => Err(JanitorError::missing()),
        }
    }

    /// It is gone.
    pub(super) async fn disown(&self, part: &Resource) {
        if let Some(janitor) = &self.janitor
            && let Err(error) = janitor.gone(part).await
        {
            tracing::warn!(%error, "the janitor");
        }
    }

    /// Cancelled when the janitor has ended before its time.
    pub(super) fn lost(&self) -> CancellationToken {
        self.janitor.as_ref().map(Janitor::lost).unwrap_or_default()
    }

    /// Gives the Toxiproxy free; says whether nothing of the run's is left there. What is left stays the janitor's, which tries
    /// on.
    pub(super) async fn release(self, environment: &Environment) -> bool {
        let ended = environment.toxiproxy.end(&self.owner, true).await;
        if let Err(error) = &ended {
            tracing::error!(%error, "something of this run may still be on the Toxiproxy");
        }
        self.dismiss(ended.is_ok()).await;
        ended.is_ok()
    }

    async fn dismiss(self, clean: bool) {
        if clean && let Some(resource) = &self.resource {
            self.disown(resource).await;
        }
        let Some(janitor) = self.janitor else { return };
        if let Err(error) = janitor.done().await {
            tracing::warn!(%error, "the janitor's end");
        }
    }
}
