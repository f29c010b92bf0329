//! Faults through a Toxiproxy, stock or ours: what it can give, how it is applied, and the ladder that takes it away.

use std::time::Duration;

use observation::clock;
use tokio::time::sleep;
use toxiproxy::wire::{Attributes, NewProxy, Proxy, ProxyUpdate, Stream, Toxic, ToxicUpdate};
use toxiproxy::{Client, ClientError, Version};

use crate::fault::{self, Meaning, ToxicPlan};
use crate::metrics::Metrics;

/// Toxics of ours begin with this; everybody else's are left alone.
pub const OWNER: &str = "scenariod.";
/// Kind of the toxic that marks a proxy which is switched off; as a fault it would be taken for that.
pub(crate) const MARKER: &str = "noop";
/// Names of proxies on which toxics are tried begin with this.
const TRIAL: &str = "scenariod.trial";
/// Where they lead: nowhere.
const TRIAL_UPSTREAM: &str = "127.0.0.1:1";
/// Between "no effect" and "deleted": what is held must have left, because deleting a toxic that holds data can hang a stock
/// server.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before the second and last try of a call that failed.
const RETRY: Duration = Duration::from_millis(500);

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

/// One applied toxic, or a disabled proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// Proxy.
    pub proxy: String,
    /// Name of the toxic.
    pub toxic: String,
    /// The first rung of taking it away.
    pub undo: Undo,
}

/// How an effect is ended at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Undo {
    /// It is the marker of a disabled proxy, which is enabled.
    Enable,
    /// Attributes under which the toxic has no effect; it is deleted later.
    Update(Attributes),
    /// The toxic is deleted.
    Delete,
}

impl From<&ToxicPlan> for Undo {
    fn from(plan: &ToxicPlan) -> Self {
        plan.harmless.clone().map_or(Undo::Delete, Undo::Update)
    }
}

impl Backend {
    /// Asks who is there.
    pub async fn connect(url: &str, metrics: Metrics) -> Result<Self, ClientError> {
        let client = Client::new(url)?;
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
    pub async fn refuses(&self, meaning: &Meaning) -> Result<Option<String>, ClientError> {
        let Meaning::Toxic { kind, .. } = meaning else { return Ok(None) };
        let stock = toxiproxy::kinds().iter().any(|known| known.name == kind && !known.extension);
        if !stock && !self.version.has(kind) {
            let own = self.version.extensions.join(", ");
            let own = if own.is_empty() { "none beside the stock ones".to_owned() } else { own };
            return Ok(Some(format!("{} has no toxic {kind:?}; it has: {own}", self.client.url())));
        }
        // A name of its own: one that a killed run has left, or another run uses, is not in the way.
        let trial = NewProxy {
            name: format!("{TRIAL}.{}.{}", std::process::id(), clock::wall_ms()),
            listen: "127.0.0.1:0".to_owned(),
            upstream: TRIAL_UPSTREAM.to_owned(),
            enabled: false,
        };
        let tried = self.try_on(&trial, meaning).await;
        // At every way out; its toxics go with it.
        let deleted = self.delete_proxy(&trial.name).await;
        let refused = tried?;
        deleted.map(|()| refused)
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

    /// Also well when it is gone already.
    async fn delete_proxy(&self, name: &str) -> Result<(), ClientError> {
        match twice(async || self.client.delete_proxy(name).await).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
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
        self.set_enabled(proxy, false).await?;
        self.metrics.toxic_added(proxy, &Toxic { kind: "down".to_owned(), ..echo });
        Ok(Applied { proxy: proxy.to_owned(), toxic: name.to_owned(), undo: Undo::Enable })
    }

    async fn set_enabled(&self, proxy: &str, enabled: bool) -> Result<(), ClientError> {
        let update = ProxyUpdate { enabled: Some(enabled), ..ProxyUpdate::default() };
        self.client.update_proxy(proxy, &update).await.map(drop)
    }

    /// First rung: no effect any more.
    pub async fn lift(&self, applied: &[Applied]) -> Result<(), ClientError> {
        let mut first_error = None;
        for one in applied {
            let lifted = twice(async || match &one.undo {
                Undo::Enable => self.set_enabled(&one.proxy, true).await,
                Undo::Delete => self.client.remove_toxic(&one.proxy, &one.toxic).await,
                Undo::Update(harmless) => {
                    let update = ToxicUpdate { attributes: harmless.clone(), toxicity: None };
                    self.client.update_toxic(&one.proxy, &one.toxic, &update).await.map(drop)
                }
            });
            match lifted.await {
                Err(error) if !error.is_not_found() => first_error = first_error.or(Some(error)),
                _ => {}
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// The other rungs: wait, delete, read back. Tries everything before it gives the first error.
    pub async fn remove(&self, applied: &[Applied]) -> Result<(), ClientError> {
        if applied.iter().any(|one| matches!(one.undo, Undo::Update(_))) {
            sleep(SETTLE).await;
        }
        let mut first_error = None;
        for one in applied {
            match twice(async || self.client.remove_toxic(&one.proxy, &one.toxic).await).await {
                Err(error) if !error.is_not_found() => first_error = first_error.or(Some(error)),
                _ => self.metrics.toxic_removed(&one.proxy, &one.toxic),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Takes away everything of ours, from this run or an earlier one, and reads back that it is gone. Gives what was found.
    pub async fn sweep(&self) -> Result<Vec<Applied>, ClientError> {
        let mut found = Vec::new();
        for proxy in twice(async || self.client.proxies().await).await?.into_values() {
            if is_trial(&proxy) {
                // It is off and harms nobody: no reason to end here.
                if let Err(error) = self.delete_proxy(&proxy.name).await {
                    tracing::warn!(%error, proxy = proxy.name, "a proxy for trials stays");
                }
                continue;
            }
            for toxic in proxy.toxics.iter().filter(|toxic| toxic.name.starts_with(OWNER)) {
                found.push(leftover(&proxy, toxic));
            }
        }
        if found.is_empty() {
            return Ok(found);
        }
        self.lift(&found).await?;
        self.remove(&found).await?;
        let left: Vec<String> = self.ours().await?;
        if left.is_empty() {
            return Ok(found);
        }
        Err(ClientError::Unexpected {
            call: "read back".to_owned(),
            what: format!("still there: {}", left.join(", ")),
        })
    }

    /// Names of toxics of ours that are there now.
    pub async fn ours(&self) -> Result<Vec<String>, ClientError> {
        let proxies = self.client.proxies().await?;
        let toxics = proxies.into_values().flat_map(|proxy| proxy.toxics);
        Ok(toxics.filter(|toxic| toxic.name.starts_with(OWNER)).map(|toxic| toxic.name).collect())
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

/// Is this a proxy on which a run has tried a toxic, and nothing else?
pub(crate) fn is_trial(proxy: &Proxy) -> bool {
    proxy.name.starts_with(TRIAL) && proxy.upstream == TRIAL_UPSTREAM && !proxy.enabled
}

/// What is needed to take a toxic of ours away that an earlier run has left.
fn leftover(proxy: &Proxy, toxic: &Toxic) -> Applied {
    let undo = match toxic.kind.as_str() {
        MARKER => Undo::Enable,
        kind => fault::harmless(kind).map_or(Undo::Delete, Undo::Update),
    };
    Applied { proxy: proxy.name.clone(), toxic: toxic.name.clone(), undo }
}

/// A second try: a call that failed may have met a moment of weakness.
async fn twice<T>(call: impl AsyncFn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    match call().await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(%error, "once more");
            sleep(RETRY).await;
            call().await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;
    use toxiproxy::server::{Server, ServerConfig};

    #[tokio::test]
    async fn a_toxic_is_tried_on_a_proxy_that_is_gone_afterwards_whatever_a_killed_run_has_left() {
        let addr = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(ServerConfig { addr, ..ServerConfig::default() }).await.unwrap();
        let url = format!("http://{}", server.addr());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let backend = Backend::connect(&url, metrics).await.unwrap();
        let toxic = |attribute: &str| Meaning::Toxic {
            kind: "latency".to_owned(),
            stream: Stream::Downstream,
            toxicity: 1.0,
            attributes: [(attribute.to_owned(), 1.into())].into(),
        };

        // A killed run's, with its toxic, and somebody else's of a like name.
        let left = |name: &str, upstream: &str| NewProxy {
            name: name.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: upstream.to_owned(),
            enabled: false,
        };
        backend.client().create_proxy(&left(TRIAL, TRIAL_UPSTREAM)).await.unwrap();
        let plan = toxic("latency").toxics().remove(0);
        backend.client().add_toxic(TRIAL, &super::toxic("trial", &plan)).await.unwrap();
        backend.client().create_proxy(&left("scenariod.trials", "127.0.0.1:2")).await.unwrap();

        for _ in 0..2 {
            assert_eq!(backend.refuses(&toxic("latency")).await.unwrap(), None);
            assert!(backend.refuses(&toxic("lateness")).await.unwrap().is_some());
        }
        let names = async || backend.client().proxies().await.unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(names().await, [TRIAL, "scenariod.trials"]);
        assert_eq!(backend.sweep().await.unwrap(), []);
        assert_eq!(names().await, ["scenariod.trials"]);

        stop.cancel();
        serving.await.unwrap();
    }
}
