//! A Toxiproxy, stock or ours: the proxies of a test, who may use them, and the calls that apply faults to them.

mod dose;
mod faults;
mod proxies;
mod toxics;

use ::toxiproxy::wire::{LEASES, NewProxy, Stream, Toxic};
use ::toxiproxy::{Client, ClientError, Version};
use observation::clock;

use super::backend::{Backend, BackendError, Leftover};
use crate::metrics::Metrics;
use crate::removal::claim::{self, ClaimError};
use crate::removal::ladder::{self, Applied, MARKER, NOWHERE, Swept, Undo};
use crate::removal::owner::{OwnedName, Owner, TRIAL};
use faults::ToxiproxyFaults;
pub use proxies::{Found, TestProxies};
pub use toxics::ToxicPlan;

/// How long a proxy for trials may stay.
const TRIAL_S: u64 = 60;

/// A Toxiproxy and its proxies.
#[derive(Debug, Clone)]
pub struct Toxiproxy {
    client: Client,
    version: Version,
    metrics: Metrics,
}

impl Toxiproxy {
    /// Asks who is there.
    pub async fn connect(url: &str, metrics: Metrics) -> Result<Self, ClientError> {
        let client = metrics.observe_calls(Client::new(url)?);
        let version = client.version().await?;
        Ok(Self { client, version, metrics })
    }

    /// For the journal.
    pub fn describe(&self) -> String {
        let kind = if self.is_embedded() { "embedded, with extensions" } else { "stock" };
        format!("toxiproxy {} ({kind}) at {}", self.version.text, self.client.url())
    }

    /// Its faults for one run. `inside`: it ends with this process, and its faults with it.
    pub fn faults(&self, owner: Owner, inside: bool) -> Box<dyn Backend> {
        Box::new(ToxiproxyFaults::new(self.clone(), inside, owner))
    }

    /// Ours, with loss-like delay and dose counters.
    pub fn is_embedded(&self) -> bool {
        self.version.has("loss")
    }

    /// Does it take faults away whose owner stands still?
    pub fn has_leases(&self) -> bool {
        self.version.has(LEASES)
    }

    /// Its API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Why there is no toxic of this kind here; `None`: there is one.
    fn lacks(&self, kind: &str) -> Option<String> {
        let stock = ::toxiproxy::kinds().iter().any(|known| known.name == kind && !known.extension);
        if stock || self.version.has(kind) {
            return None;
        }
        let own = self.version.extensions.join(", ");
        let own = if own.is_empty() { "none beside the stock ones".to_owned() } else { own };
        Some(format!("{} has no toxic {kind:?}; it has: {own}", self.client.url()))
    }

    /// Why it refuses a toxic; `None`: it takes it. Asked by adding it to a proxy that leads nowhere.
    pub(crate) async fn refuses(
        &self,
        owner: &Owner,
        plan: &ToxicPlan,
    ) -> Result<Option<String>, ClientError> {
        let trial = NewProxy {
            name: owner.name(TRIAL, clock::wall_ms() / 1000 + TRIAL_S).to_string(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: NOWHERE.to_owned(),
            enabled: false,
        };
        let tried = self.try_on(&trial, plan).await;
        // At every way out; its toxics go with it.
        let deleted = ladder::tried_twice(async || self.client.delete_proxy(&trial.name).await).await;
        let refused = tried?;
        match deleted {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(refused),
        }
    }

    async fn try_on(&self, trial: &NewProxy, plan: &ToxicPlan) -> Result<Option<String>, ClientError> {
        self.client.create_proxy(trial).await?;
        match self.client.add_toxic(&trial.name, &toxic("trial", plan)).await {
            Ok(_) => Ok(None),
            Err(error @ (ClientError::BadToxic { .. } | ClientError::Api { status: 400, .. })) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Adds one toxic; its metrics come from the server's answer.
    pub(crate) async fn add(&self, proxy: &str, name: &str, plan: &ToxicPlan) -> Result<(), ClientError> {
        let echo = self.client.add_toxic(proxy, &toxic(name, plan)).await?;
        self.metrics.toxic_added(proxy, &echo);
        Ok(())
    }

    /// Switches a proxy off, after leaving a marker that says who did it.
    pub(crate) async fn disable(&self, proxy: &str, name: &str) -> Result<(), ClientError> {
        let marker = Toxic {
            name: name.to_owned(),
            kind: MARKER.to_owned(),
            stream: Stream::Downstream.name().to_owned(),
            toxicity: 1.0,
            attributes: [].into(),
        };
        let echo = self.client.add_toxic(proxy, &marker).await?;
        ladder::set_enabled(&self.client, proxy, false).await?;
        self.metrics.toxic_added(proxy, &Toxic { kind: "down".to_owned(), ..echo });
        Ok(())
    }

    /// First rung of the ladder: no effect any more.
    pub(crate) async fn lift(&self, applied: &[Applied]) -> Result<(), ClientError> {
        ladder::lift(&self.client, applied).await
    }

    /// The other rungs, down to reading back that nothing of `owner`'s is left but its claim.
    pub(crate) async fn remove(&self, owner: &Owner, applied: &[Applied]) -> Result<(), ClientError> {
        ladder::delete(&self.client, applied).await?;
        let left = ladder::ours(&self.client).await?;
        let left = left.iter().filter(|one| one.name.owner() == owner && !one.name.is_claim());
        let left: Vec<String> = left.map(Swept::to_string).collect();
        if !left.is_empty() {
            let what = format!("still there: {}", left.join(", "));
            return Err(ClientError::Unexpected { call: "read back".to_owned(), what });
        }
        applied.iter().for_each(|one| self.metrics.toxic_removed(&one.proxy, &one.toxic));
        Ok(())
    }

    /// Takes away what other runs have left.
    pub(crate) async fn sweep(&self) -> Result<Vec<Leftover>, ClientError> {
        sweep(&self.client).await
    }

    /// Takes away everything of this run; its claim too, if it is to be its end.
    pub(crate) async fn end(&self, owner: &Owner, claim: bool) -> Result<(), ClientError> {
        let mine = |name: &OwnedName| name.owner() == owner && (claim || !name.is_claim());
        ladder::sweep(&self.client, mine).await.map(drop)
    }

    /// Fails when another run uses it.
    pub async fn vacant(&self) -> Result<(), ClaimError> {
        claim::vacant(&self.client, None).await
    }

    /// Says that `owner` tests here until `deadline` (Unix seconds), unless another run does.
    pub(crate) async fn claim(&self, owner: &Owner, deadline: u64) -> Result<(), ClaimError> {
        claim::take(&self.client, owner, deadline).await
    }
}

/// Takes away what is past its deadline or whose owner is proven dead, at the Toxiproxy of `client`.
pub(crate) async fn sweep(client: &Client) -> Result<Vec<Leftover>, ClientError> {
    let swept = ladder::sweep(client, OwnedName::is_over).await?;
    let leftover = |one: Swept| Leftover { what: one.to_string(), whose: Some(one.name.describe()) };
    Ok(swept.into_iter().map(leftover).collect())
}

impl From<ClientError> for BackendError {
    fn from(error: ClientError) -> Self {
        match error.is_timed_out() {
            true => BackendError::Hangs(error.to_string()),
            false => BackendError::Failed(error.to_string()),
        }
    }
}

/// How the effect of an act is ended.
fn undo(act: &toxics::Act) -> Undo {
    match act {
        toxics::Act::Toxic(plan) => Undo::of_toxic(&plan.kind),
        toxics::Act::Disable => Undo::Enable,
    }
}

fn toxic(name: &str, plan: &ToxicPlan) -> Toxic {
    Toxic {
        name: name.to_owned(),
        kind: plan.kind.clone(),
        stream: plan.stream.name().to_owned(),
        toxicity: plan.toxicity,
        attributes: plan.attributes.clone(),
    }
}

#[cfg(test)]
mod tests;
