//! The proxies of a test: found or made before it, and taken away again if they never led anywhere.

use ::toxiproxy::ClientError;
use ::toxiproxy::wire::{NewProxy, Proxy, ProxyUpdate};

use super::Toxiproxy;
use crate::backends::target::{Target, is_wildcard};
use crate::removal::ladder;

/// The proxies that a test needs.
#[derive(Debug, Clone)]
pub struct TestProxies {
    /// Those that are missing are made.
    pub wanted: Vec<NewProxy>,
    /// Somebody has said what is behind them: one that leads elsewhere is led there, unless it listens on all interfaces. Otherwise
    /// it is used as it is.
    pub upstreams_are_given: bool,
}

/// The proxies of a test as they were found.
#[derive(Debug)]
pub struct Found {
    /// Those that were asked for, in that order.
    pub targets: Vec<Target>,
    /// Toxics that are not scenariod's, on whatever proxy: their names, and those of the proxies.
    pub foreign: Vec<(String, String)>,
    /// Names of those that were made now.
    pub made: Vec<String>,
}

impl Toxiproxy {
    /// Makes the proxies that are missing.
    pub async fn prepare(&self, test: &TestProxies) -> Result<Found, ClientError> {
        let known = self.client.proxies().await?;
        let mut made = Vec::new();
        for proxy in &test.wanted {
            match known.get(&proxy.name) {
                None if self.make(proxy).await? => made.push(proxy.name.clone()),
                Some(found) if test.upstreams_are_given && found.upstream != proxy.upstream => {
                    self.lead(found, &proxy.upstream).await?;
                }
                _ => {}
            }
        }
        let proxies = self.client.proxies().await?;
        let wanted = test.wanted.iter().filter_map(|wanted| proxies.get(&wanted.name));
        let targets = wanted.map(|proxy| Target::new(proxy, self.client.url())).collect();
        Ok(Found { targets, foreign: foreign(proxies.values()), made })
    }

    /// `false`: somebody else has just made it.
    async fn make(&self, proxy: &NewProxy) -> Result<bool, ClientError> {
        match self.client.create_proxy(proxy).await {
            Err(error) if error.is_conflict() => return Ok(false),
            other => drop(other?),
        }
        let NewProxy { name, listen, upstream, .. } = proxy;
        tracing::info!(name, listen, upstream, "proxy created");
        Ok(true)
    }

    async fn lead(&self, found: &Proxy, upstream: &str) -> Result<(), ClientError> {
        let (name, was) = (&found.name, &found.upstream);
        if is_wildcard(&found.listen) {
            // Made by somebody for others, in a container most likely, where the same host has another address.
            tracing::warn!(
                name,
                was,
                upstream,
                "proxy leads elsewhere and listens on all interfaces: used as it is"
            );
            return Ok(());
        }
        let update = ProxyUpdate { upstream: Some(upstream.to_owned()), ..ProxyUpdate::default() };
        self.client.update_proxy(&found.name, &update).await?;
        tracing::warn!(name, was, upstream, "proxy leads elsewhere now");
        Ok(())
    }

    /// Deletes proxies that were made for a test and never led anywhere: a wrong upstream must not wait for the next test.
    pub(crate) async fn withdraw(&self, made: &[String]) {
        for name in made {
            match self.client.delete_proxy(name).await {
                Err(error) if !error.is_not_found() => {
                    tracing::error!(name, %error, "a proxy that led nowhere is still there; delete it");
                }
                _ => tracing::warn!(name, "proxy deleted: nothing has answered behind it"),
            }
        }
    }

    /// The proxies of these names; fails when one is missing.
    pub async fn targets(&self, names: &[String]) -> Result<Vec<Target>, ClientError> {
        let proxies = names
            .iter()
            .map(async |name| Ok(Target::new(&self.client.proxy(name).await?, self.client.url())));
        futures::future::try_join_all(proxies).await
    }
}

fn foreign<'a>(proxies: impl Iterator<Item = &'a Proxy>) -> Vec<(String, String)> {
    let used = proxies.filter(|proxy| ladder::own_proxy(proxy).is_none());
    let named = used.flat_map(|proxy| proxy.toxics.iter().map(move |toxic| (proxy, toxic)));
    let foreign = named.filter(|(_, toxic)| ladder::own_toxic(toxic).is_none());
    foreign.map(|(proxy, toxic)| (toxic.name.clone(), proxy.name.clone())).collect()
}
