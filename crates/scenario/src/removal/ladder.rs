//! The ladder that takes away what is ours on a Toxiproxy: no effect, wait, delete, read back. For the run itself, its janitor
//! and the reaper; nothing here logs, because a janitor's log may have no reader.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use toxiproxy::wire::{Attributes, Proxy, ProxyUpdate, Toxic, ToxicUpdate};
use toxiproxy::{Client, ClientError};

use super::owner::OwnedName;

/// Kind of the toxic that marks a proxy which is switched off; as a fault it would be taken for that.
pub(crate) const MARKER: &str = "noop";
/// Where proxies of ours lead: nowhere.
pub(crate) const NOWHERE: &str = "127.0.0.1:1";
/// Between "no effect" and "deleted": what is held must have left, because deleting a toxic that holds data can hang a stock
/// server.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before the second and last try of a call that failed.
const RETRY: Duration = Duration::from_millis(500);

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

impl Undo {
    /// For a toxic of this kind.
    pub(crate) fn of_toxic(kind: &str) -> Self {
        harmless(kind).map_or(Undo::Delete, Undo::Update)
    }
}

/// A size that cuts nothing.
const WHOLE: i64 = 1 << 30;

/// Attributes under which a toxic of `kind` has no effect, to be set before it is deleted: deleting a latency that holds data
/// can hang a stock server. `None`: it is deleted at once. Above all `bandwidth`: a stock server that holds a chunk and finds
/// a larger rate slices beyond the chunk's end, and the whole process dies.
pub(crate) fn harmless(kind: &str) -> Option<Attributes> {
    let pairs: &[(&str, i64)] = match kind {
        "latency" => &[("latency", 0), ("jitter", 0)],
        "loss" => &[("loss_ppm", 0), ("burst", 1)],
        "slicer" => &[("average_size", WHOLE), ("size_variation", 0), ("delay", 0)],
        "limit_data" => &[("bytes", WHOLE)],
        "slow_close" => &[("delay", 0)],
        _ => return None,
    };
    Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
}

/// Something of ours that was found and taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub name: OwnedName,
    /// The proxy that a fault was on; `None`: it was a proxy itself, switched off, without effect.
    pub proxy: Option<String>,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            Some(proxy) => write!(f, "{} on {proxy}", self.name),
            None => write!(f, "proxy {}", self.name),
        }
    }
}

/// First rung: no effect any more. Tries all before it gives an error, and then the one that says most.
pub(crate) async fn lift(client: &Client, applied: &[Applied]) -> Result<(), ClientError> {
    all(applied, async |one| match &one.undo {
        Undo::Enable => set_enabled(client, &one.proxy, true).await,
        Undo::Delete => client.remove_toxic(&one.proxy, &one.toxic).await,
        Undo::Update(harmless) => {
            let update = ToxicUpdate { attributes: harmless.clone(), toxicity: None };
            client.update_toxic(&one.proxy, &one.toxic, &update).await.map(drop)
        }
    })
    .await
}

/// Second and third rung: wait, delete.
pub(crate) async fn delete(client: &Client, applied: &[Applied]) -> Result<(), ClientError> {
    if applied.iter().any(|one| matches!(one.undo, Undo::Update(_))) {
        sleep(SETTLE).await;
    }
    all(applied, async |one| client.remove_toxic(&one.proxy, &one.toxic).await).await
}

/// The whole ladder for everything of ours that `whose` means, wherever it is; reads back that it is gone, and gives what was
/// found.
pub(crate) async fn sweep(
    client: &Client,
    whose: impl Fn(&OwnedName) -> bool,
) -> Result<Vec<Swept>, ClientError> {
    let (mut found, mut faults, mut proxies) = (Vec::new(), Vec::new(), Vec::new());
    for proxy in tried_twice(async || client.proxies().await).await?.values() {
        if let Some(name) = own_proxy(proxy).filter(&whose) {
            proxies.push(proxy.name.clone());
            found.push(Swept { name, proxy: None });
            continue;
        }
        for toxic in &proxy.toxics {
            if let Some(name) = own_toxic(toxic).filter(&whose) {
                faults.push(leftover(proxy, toxic));
                found.push(Swept { name, proxy: Some(proxy.name.clone()) });
            }
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    let faults_gone = match lift(client, &faults).await {
        Ok(()) => delete(client, &faults).await,
        // A call that hangs is not helped by another one.
        Err(error) if error.is_timed_out() => Err(error),
        Err(error) => delete(client, &faults).await.and(Err(error)),
    };
    // Last: while one is there, nobody else begins.
    let proxies_gone = all(&proxies, async |name| client.delete_proxy(name).await).await;
    faults_gone.and(proxies_gone)?;
    let left = ours(client).await?;
    let left: Vec<String> = left.iter().filter(|one| whose(&one.name)).map(Swept::to_string).collect();
    if left.is_empty() {
        return Ok(found);
    }
    let what = format!("still there: {}", left.join(", "));
    Err(ClientError::Unexpected { call: "read back".to_owned(), what })
}

/// Everything of ours that is there now, of whatever run.
pub(crate) async fn ours(client: &Client) -> Result<Vec<Swept>, ClientError> {
    let mut found = Vec::new();
    for proxy in client.proxies().await?.values() {
        match own_proxy(proxy) {
            Some(name) => found.push(Swept { name, proxy: None }),
            None => found.extend(
                proxy
                    .toxics
                    .iter()
                    .filter_map(own_toxic)
                    .map(|name| Swept { name, proxy: Some(proxy.name.clone()) }),
            ),
        }
    }
    Ok(found)
}

pub(crate) fn own_toxic(toxic: &Toxic) -> Option<OwnedName> {
    toxic.name.parse().ok()
}

/// A proxy that a run has made for itself: to say that it tests here, or to try a toxic.
pub(crate) fn own_proxy(proxy: &Proxy) -> Option<OwnedName> {
    proxy.name.parse().ok().filter(|_| proxy.upstream == NOWHERE)
}

pub(crate) async fn set_enabled(client: &Client, proxy: &str, enabled: bool) -> Result<(), ClientError> {
    let update = ProxyUpdate { enabled: Some(enabled), ..ProxyUpdate::default() };
    client.update_proxy(proxy, &update).await.map(drop)
}

/// What is needed to take a toxic of ours away of which nothing else is known.
fn leftover(proxy: &Proxy, toxic: &Toxic) -> Applied {
    let undo = match toxic.kind.as_str() {
        MARKER => Undo::Enable,
        kind => Undo::of_toxic(kind),
    };
    Applied { proxy: proxy.name.clone(), toxic: toxic.name.clone(), undo }
}

/// All at the same time: one that hangs keeps none of the others. What is gone already is well.
async fn all<T>(things: &[T], call: impl AsyncFn(&T) -> Result<(), ClientError>) -> Result<(), ClientError> {
    let calls = things.iter().map(|one| tried_twice(async || call(one).await));
    let failed = join_all(calls).await.into_iter().filter_map(Result::err);
    let mut failed: Vec<ClientError> = failed.filter(|error| !error.is_not_found()).collect();
    failed.sort_by_key(|error| !error.is_timed_out());
    failed.into_iter().next().map_or(Ok(()), Err)
}

/// A second try: a call that failed may have met a moment of weakness. One that hangs would only wait behind itself.
pub(crate) async fn tried_twice<T>(call: impl AsyncFn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    match call().await {
        Err(error) if !error.is_not_found() && !error.is_timed_out() => {
            sleep(RETRY).await;
            call().await
        }
        done => done,
    }
}
