//! All proxies of a server, by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hyper::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use super::lanes::Lanes;
use super::leases::{Lapsed, Leases};
use super::listen::{self, ListenError};
use super::proxy::{Proxy, Shared};
use crate::toxic::ToxicKind;
use crate::toxics;
use crate::wire::{DOSE, DoseBuckets, LEASES, LinkDose, NewProxy, ProxyDose};

pub(super) struct Store {
    began: Instant,
    shared: Arc<Shared>,
    extensions: &'static [ToxicKind],
    announced: HeaderValue,
    pub(super) leases: Leases,
    pub(super) proxies: Mutex<BTreeMap<String, Arc<Proxy>>>,
}

/// Leases are looked at this often.
const LEASES_EVERY: Duration = Duration::from_millis(100);
/// Length of a bucket of the dose.
const BUCKET: Duration = Duration::from_millis(100);

/// Why a proxy was not created.
pub(super) enum CreateError {
    Exists,
    Listen(ListenError),
}

impl Store {
    pub(super) fn new(seed: u64, extensions: &'static [ToxicKind], lanes: Lanes) -> Self {
        let shared = Arc::new(Shared { seed, lanes });
        let own = toxics::kinds().iter().filter(|kind| kind.extension).chain(extensions);
        let names: Vec<&str> = own.map(|kind| kind.name).chain([DOSE, LEASES]).collect();
        // Names of kinds are plain.
        let announced = HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(DOSE));
        Self {
            began: Instant::now(),
            shared,
            announced,
            leases: Leases::default(),
            extensions,
            proxies: Mutex::new(BTreeMap::new()),
        }
    }

    /// What the stock server has not, for its header.
    pub(super) fn announced(&self) -> &HeaderValue {
        &self.announced
    }

    /// By proxy.
    pub(super) async fn dose(&self) -> BTreeMap<String, ProxyDose> {
        self.proxies.lock().await.iter().map(|(name, proxy)| (name.clone(), proxy.dose())).collect()
    }

    /// By proxy.
    pub(super) async fn dose_links(&self) -> BTreeMap<String, Vec<LinkDose>> {
        self.proxies.lock().await.iter().map(|(name, proxy)| (name.clone(), proxy.links())).collect()
    }

    pub(super) async fn dose_buckets(&self, after_us: u64) -> DoseBuckets {
        let proxies = self.proxies.lock().await;
        let buckets = proxies.iter().map(|(name, proxy)| (name.clone(), proxy.dose.buckets(after_us)));
        DoseBuckets { now_us: self.now_us(), proxies: buckets.collect() }
    }

    /// Microseconds since the start.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Ends a bucket of the dose every 100 ms, for ever.
    pub(super) async fn keep_buckets(&self) {
        let mut timer = tokio::time::interval_at(Instant::now() + BUCKET, BUCKET);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.now_us();
        loop {
            timer.tick().await;
            let now = self.now_us();
            for proxy in self.all().await {
                proxy.dose.close_bucket(now, now - before);
            }
            before = now;
        }
    }

    /// Takes away what belongs to a lease that was not renewed, for ever.
    pub(super) async fn keep_leases(&self) {
        let mut timer = tokio::time::interval(LEASES_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            for Lapsed { prefix, enable } in self.leases.lapse() {
                let proxies = self.all().await;
                let removed: usize = proxies.iter().map(|proxy| proxy.remove_toxics_of(&prefix)).sum();
                tracing::warn!(prefix, removed, ?enable, "a lease was not renewed; its toxics are removed");
                for proxy in proxies.iter().filter(|proxy| enable.contains(&proxy.name)) {
                    if let Err(error) = proxy.start().await {
                        tracing::error!(proxy = proxy.name, %error, "it cannot be switched on again");
                    }
                }
            }
        }
    }

    /// The kind of that name, built in or not.
    pub(super) fn kind(&self, name: &str) -> Option<&'static ToxicKind> {
        toxics::kind(name).or_else(|| self.extensions.iter().find(|kind| kind.name == name))
    }

    pub(super) async fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        self.proxies.lock().await.get(name).cloned()
    }

    pub(super) async fn all(&self) -> Vec<Arc<Proxy>> {
        self.proxies.lock().await.values().cloned().collect()
    }

    /// Makes a proxy and starts it if it is to be enabled; one that cannot listen leaves nothing behind.
    pub(super) async fn create(&self, mut new: NewProxy) -> Result<Arc<Proxy>, CreateError> {
        if self.get(&new.name).await.is_some() {
            return Err(CreateError::Exists);
        }
        if new.enabled {
            // Before the lock: a slow resolver must not keep others from cleaning up.
            new.listen = listen::numeric(&new.listen).await.map_err(CreateError::Listen)?;
        }
        let mut proxies = self.proxies.lock().await;
        if proxies.contains_key(&new.name) {
            return Err(CreateError::Exists);
        }
        let proxy = self.build(new).await.map_err(CreateError::Listen)?;
        proxies.insert(proxy.name.clone(), Arc::clone(&proxy));
        Ok(proxy)
    }

    async fn build(&self, new: NewProxy) -> Result<Arc<Proxy>, ListenError> {
        let proxy = Proxy::new(new.name, new.listen, new.upstream, Arc::clone(&self.shared));
        if new.enabled {
            proxy.start().await?;
        }
        Ok(proxy)
    }

    pub(super) async fn delete(&self, name: &str) -> bool {
        let removed = self.proxies.lock().await.remove(name);
        match removed {
            Some(proxy) => {
                proxy.retire().await;
                true
            }
            None => false,
        }
    }

    /// Makes what is missing, replaces what differs, leaves the rest alone. At the first failure stops and gives what was
    /// made before it. One that is replaced in the same call is given too, as it was when it was stopped.
    pub(super) async fn populate(&self, wanted: Vec<NewProxy>) -> (Vec<Arc<Proxy>>, Option<ListenError>) {
        let mut proxies = self.proxies.lock().await;
        let mut made = Vec::with_capacity(wanted.len());
        for new in wanted {
            if let Some(old) = proxies.get(&new.name) {
                match old.differs(&new.listen, &new.upstream).await {
                    Ok(true) => old.stop().await,
                    Ok(false) => {
                        made.push(Arc::clone(old));
                        continue;
                    }
                    Err(error) => return (made, Some(error)),
                }
            }
            match self.build(new).await {
                Ok(proxy) => {
                    if let Some(old) = proxies.insert(proxy.name.clone(), Arc::clone(&proxy)) {
                        old.retire().await;
                    }
                    made.push(proxy);
                }
                Err(error) => return (made, Some(error)),
            }
        }
        (made, None)
    }

    /// Starts every proxy and removes all toxics; a start that fails ends it.
    pub(super) async fn reset(&self) -> Result<(), ListenError> {
        for proxy in self.all().await {
            proxy.start().await?;
            proxy.clear_toxics();
        }
        Ok(())
    }

    pub(super) async fn stop_all(&self) {
        let all = self.all().await;
        join_all(all.iter().map(|proxy| proxy.retire())).await;
    }
}
