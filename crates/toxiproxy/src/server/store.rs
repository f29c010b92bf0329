//! All proxies of a server, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Mutex;

use super::proxy::{Proxy, ProxyError};
use crate::toxic::ToxicKind;
use crate::toxics;
use crate::wire::{self, NewProxy};

pub(super) struct Store {
    seed: u64,
    extensions: &'static [ToxicKind],
    proxies: Mutex<BTreeMap<String, Arc<Proxy>>>,
}

/// Why a proxy was not created.
pub(super) enum CreateError {
    Exists,
    Proxy(ProxyError),
}

impl Store {
    pub(super) fn new(seed: u64, extensions: &'static [ToxicKind]) -> Self {
        Self { seed, extensions, proxies: Mutex::new(BTreeMap::new()) }
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
    pub(super) async fn create(&self, new: NewProxy) -> Result<Arc<Proxy>, CreateError> {
        let mut proxies = self.proxies.lock().await;
        if proxies.contains_key(&new.name) {
            return Err(CreateError::Exists);
        }
        let proxy = self.build(new).await.map_err(CreateError::Proxy)?;
        proxies.insert(proxy.name.clone(), Arc::clone(&proxy));
        Ok(proxy)
    }

    async fn build(&self, new: NewProxy) -> Result<Arc<Proxy>, ProxyError> {
        let proxy = Proxy::new(new.name, new.listen, new.upstream, self.seed);
        if new.enabled {
            proxy.start().await?;
        }
        Ok(proxy)
    }

    pub(super) async fn delete(&self, name: &str) -> bool {
        let removed = self.proxies.lock().await.remove(name);
        match removed {
            Some(proxy) => {
                proxy.stop().await;
                true
            }
            None => false,
        }
    }

    /// Makes what is missing, replaces what differs, leaves the rest alone. At the first failure stops and gives what was
    /// made before it.
    pub(super) async fn populate(&self, wanted: Vec<NewProxy>) -> (Vec<wire::Proxy>, Option<ProxyError>) {
        let mut proxies = self.proxies.lock().await;
        let mut made = Vec::new();
        for new in wanted {
            if let Some(old) = proxies.get(&new.name) {
                if !old.differs(&new.listen, &new.upstream).await {
                    made.push(old.show().await);
                    continue;
                }
                old.stop().await;
            }
            match self.build(new).await {
                Ok(proxy) => {
                    made.push(proxy.show().await);
                    proxies.insert(proxy.name.clone(), proxy);
                }
                Err(error) => return (made, Some(error)),
            }
        }
        (made, None)
    }

    /// Starts every proxy and removes all toxics; a start that fails ends it.
    pub(super) async fn reset(&self) -> Result<(), ProxyError> {
        for proxy in self.all().await {
            proxy.start().await?;
            proxy.clear_toxics().await;
        }
        Ok(())
    }

    pub(super) async fn stop_all(&self) {
        let all = self.all().await;
        join_all(all.iter().map(|proxy| proxy.stop())).await;
    }
}
