//! Faults through a Toxiproxy, stock or ours: what it can give, how it is applied, and who may use it.

use observation::clock;
use toxiproxy::wire::{LEASES, NewProxy, Proxy, Stream, Toxic};
use toxiproxy::{Client, ClientError, Version};

use crate::claim::{self, ClaimError};
use crate::fault::{Meaning, ToxicPlan};
use crate::ladder::{self, Applied, MARKER, NOWHERE, Swept, Undo};
use crate::metrics::Metrics;
use crate::owner::{OwnedName, Owner, TRIAL};

/// How long a proxy for trials may stay.
const TRIAL_S: u64 = 60;

/// A Toxiproxy and its proxies.
#[derive(Debug, Clone)]
pub struct Backend {
    client: Client,
    version: Version,
    metrics: Metrics,
}

/// What a backend gives for a meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// What is really applied.
    pub meaning: Meaning,
    /// The difference, when it is not what was meant.
    pub substitute: Option<String>,
}

impl Backend {
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

    /// Ours, with real loss-like delay and dose counters.
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

    /// What it gives for `meaning`. A stock server has no loss: it stalls a share of connections, which is what the seed of
    /// this catalogue called packet loss.
    pub fn give(&self, meaning: &Meaning) -> Given {
        match meaning {
            Meaning::Loss { share, .. } if !self.version.has("loss") => Given {
                meaning: Meaning::Stall { share: *share },
                substitute: Some(format!(
                    "this Toxiproxy has no packet loss; given instead: {}",
                    Meaning::Stall { share: *share }.describe()
                )),
            },
            other => Given { meaning: other.clone(), substitute: None },
        }
    }

    /// Why it cannot give `meaning` at all: a toxic that it does not have, or whose attributes it refuses. Asked by adding it
    /// to a proxy that nobody uses.
    pub async fn refuses(&self, owner: &Owner, meaning: &Meaning) -> Result<Option<String>, ClientError> {
        let Meaning::Toxic { kind, .. } = meaning else { return Ok(None) };
        let stock = toxiproxy::kinds().iter().any(|known| known.name == kind && !known.extension);
        if !stock && !self.version.has(kind) {
            let own = self.version.extensions.join(", ");
            let own = if own.is_empty() { "none beside the stock ones".to_owned() } else { own };
            return Ok(Some(format!("{} has no toxic {kind:?}; it has: {own}", self.client.url())));
        }
        let trial = NewProxy {
            name: owner.name(TRIAL, clock::wall_ms() / 1000 + TRIAL_S).to_string(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: NOWHERE.to_owned(),
            enabled: false,
        };
        let tried = self.try_on(&trial, meaning).await;
        // At every way out; its toxics go with it.
        let deleted = ladder::tried_twice(async || self.client.delete_proxy(&trial.name).await).await;
        let refused = tried?;
        match deleted {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(refused),
        }
    }

    async fn try_on(&self, trial: &NewProxy, meaning: &Meaning) -> Result<Option<String>, ClientError> {
        self.client.create_proxy(trial).await?;
        for plan in meaning.toxics() {
            match self.client.add_toxic(&trial.name, &toxic("trial", &plan)).await {
                Ok(_) => {}
                Err(error @ (ClientError::BadToxic { .. } | ClientError::Api { status: 400, .. })) => {
                    return Ok(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Makes the proxies that are missing and gives all, by name. Existing ones are used as they are.
    pub async fn prepare(&self, wanted: &[NewProxy]) -> Result<Vec<Proxy>, ClientError> {
        let known = self.client.proxies().await?;
        for proxy in wanted.iter().filter(|proxy| !known.contains_key(&proxy.name)) {
            match self.client.create_proxy(proxy).await {
                // Somebody else has just made it.
                Err(error) if error.is_conflict() => {}
                other => drop(other?),
            }
            tracing::info!(
                name = proxy.name,
                listen = proxy.listen,
                upstream = proxy.upstream,
                "proxy created"
            );
        }
        Ok(self.client.proxies().await?.into_values().collect())
    }

    /// Adds one toxic; its metrics come from the server's answer.
    pub async fn add(&self, proxy: &str, name: &str, plan: &ToxicPlan) -> Result<Applied, ClientError> {
        let echo = self.client.add_toxic(proxy, &toxic(name, plan)).await?;
        self.metrics.toxic_added(proxy, &echo);
        Ok(Applied { proxy: proxy.to_owned(), toxic: name.to_owned(), undo: plan.into() })
    }

    /// Switches a proxy off, after leaving a marker that says whose deed that is.
    pub async fn disable(&self, proxy: &str, name: &str) -> Result<Applied, ClientError> {
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
        Ok(Applied { proxy: proxy.to_owned(), toxic: name.to_owned(), undo: Undo::Enable })
    }

    /// First rung: no effect any more.
    pub async fn lift(&self, applied: &[Applied]) -> Result<(), ClientError> {
        ladder::lift(&self.client, applied).await
    }

    /// The other rungs, down to reading back that nothing of `owner`'s is left but its claim.
    pub async fn remove(&self, owner: &Owner, applied: &[Applied]) -> Result<(), ClientError> {
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

    /// Takes away what other runs have left: what is past its deadline, or whose owner is proven dead.
    pub async fn sweep(&self) -> Result<Vec<Swept>, ClientError> {
        ladder::sweep(&self.client, OwnedName::is_over).await
    }

    /// Takes away everything of this run; its claim too, if it is to be its end.
    pub async fn end(&self, owner: &Owner, claim: bool) -> Result<(), ClientError> {
        let mine = |name: &OwnedName| name.owner() == owner && (claim || !name.is_claim());
        ladder::sweep(&self.client, mine).await.map(drop)
    }

    /// Fails when somebody else tests here.
    pub async fn vacant(&self) -> Result<(), ClaimError> {
        claim::vacant(&self.client, None).await
    }

    /// Says that `owner` tests here until `deadline` (Unix seconds), unless somebody else does.
    pub async fn claim(&self, owner: &Owner, deadline: u64) -> Result<(), ClaimError> {
        claim::take(&self.client, owner, deadline).await
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
