//! Which proxies a scenario's faults act on, what will be given there, and whether that can be given at all.

use std::net::SocketAddr;

use observation::Server;
use toxiproxy::wire::Proxy;

use crate::backend::Given;
use crate::fault::Meaning;
use crate::kernel::{self, Namespace, Refused};
use crate::model::{Fault, Scenario};
use crate::observe::Stream;
use crate::owner::Owner;
use crate::runner::{Environment, RunError};

/// One fault, ready to be applied.
pub(crate) struct PlannedFault {
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) meant: Meaning,
    pub(crate) given: Given,
    /// The client's names of the servers behind the proxies.
    pub(crate) servers: Vec<Option<String>>,
    /// Where packets are to be lost, if they are.
    pub(crate) place: Option<Place>,
}

/// A namespace in which the kernel may lose packets, and the addresses of the proxies in it, in their order.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    pub(crate) listens: Vec<SocketAddr>,
}

/// Before the first of several scenarios: the Toxiproxy must be free, and what only the kernel can give permitted, or none is run.
pub async fn preflight(scenarios: &[Scenario], environment: &Environment) -> Result<(), RunError> {
    environment.backend.vacant().await?;
    if !scenarios.iter().any(Scenario::needs_kernel) {
        return Ok(());
    }
    environment.backend.vacant().await?;
    let proxies = environment.backend.prepare(&environment.proxies).await?;
    for scenario in scenarios {
        for fault in &scenario.faults {
            let targets = targets(scenario, fault, environment, &proxies)?;
            place(scenario, fault, environment, &targets).await?;
        }
    }
    Ok(())
}

pub(crate) async fn plan(
    scenario: &Scenario,
    environment: &Environment,
    owner: &Owner,
    proxies: &[Proxy],
    stream: &Stream,
) -> Result<Vec<PlannedFault>, RunError> {
    let mut planned = Vec::new();
    for fault in &scenario.faults {
        let chosen = targets(scenario, fault, environment, proxies)?;
        let place = place(scenario, fault, environment, &chosen).await?;
        let dialled: Vec<_> = chosen.iter().map(|proxy| client_server(proxy, stream)).collect();
        if let Some(Place { namespace, .. }) = &place {
            for server in dialled.iter().flatten() {
                let arrives = kernel::arrives_here(namespace, &server.addr).await;
                arrives.map_err(|why| refused(scenario, why))?;
            }
        }
        let servers = dialled.into_iter().map(|server| server.map(|server| server.name.clone())).collect();
        if let Some(why) = environment.backend.refuses(owner, &fault.meaning).await? {
            return Err(RunError::Misfit { scenario: scenario.name.clone(), why });
        }
        let given = environment.backend.give(&fault.meaning);
        planned.push(PlannedFault { proxies: chosen, meant: fault.meaning.clone(), given, servers, place });
    }
    Ok(planned)
}

fn refused(scenario: &Scenario, why: Refused) -> RunError {
    RunError::Refused { scenario: scenario.name.clone(), why }
}

fn targets(
    scenario: &Scenario,
    fault: &Fault,
    environment: &Environment,
    proxies: &[Proxy],
) -> Result<Vec<Proxy>, RunError> {
    let misfit = |why| RunError::Misfit { scenario: scenario.name.clone(), why };
    // The proxies of this test, in their order; others on the same Toxiproxy are somebody else's.
    let names: Vec<String> = environment.proxies.iter().map(|proxy| proxy.name.clone()).collect();
    let targets = fault.target.choose(&names).map_err(misfit)?;
    let found = targets.iter().filter_map(|name| proxies.iter().find(|proxy| proxy.name == *name));
    Ok(found.cloned().collect())
}

/// Where the kernel is to lose packets: where that is permitted, and they arrive.
async fn place(
    scenario: &Scenario,
    fault: &Fault,
    environment: &Environment,
    targets: &[Proxy],
) -> Result<Option<Place>, RunError> {
    let Meaning::LossKernel { netns, .. } = &fault.meaning else { return Ok(None) };
    let tried = async {
        let namespace = Namespace::find(netns.as_deref())?;
        kernel::permitted(&namespace).await?;
        let mut listens = Vec::new();
        for proxy in targets {
            let listen = kernel::arrives_here(&namespace, &proxy.listen).await?;
            // A wildcard is everywhere: the proxy is where its API is.
            if listen.ip().is_unspecified() {
                let api = environment.backend.client().url();
                let api = api.split_once("://").map_or(api, |(_, rest)| rest);
                kernel::arrives_here(&namespace, api.trim_end_matches('/')).await?;
            }
            listens.push(listen);
        }
        Ok(Place { namespace, listens })
    };
    tried.await.map(Some).map_err(|why| refused(scenario, why))
}

/// The client's server behind a proxy: the one that it dials at the proxy's port.
pub(crate) fn client_server<'a>(proxy: &Proxy, stream: &'a Stream) -> Option<&'a Server> {
    let port = |addr: &str| addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let listen = port(&proxy.listen)?;
    let dialled: Vec<_> =
        stream.hello.servers.iter().filter(|server| port(&server.addr) == Some(listen)).collect();
    match dialled[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// An address under which a listener of the Toxiproxy at `api` (a URL) is reached: a wildcard is not one, but is where the API
/// is, on another machine or in another container too.
pub(crate) fn dialable(listen: &str, api: &str) -> String {
    let host = reqwest::Url::parse(api).ok().and_then(|url| url.host_str().map(str::to_owned));
    match listen.rsplit_once(':') {
        Some(("[::]" | "0.0.0.0" | "", port)) => {
            format!("{}:{port}", host.as_deref().unwrap_or("127.0.0.1"))
        }
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::dialable;

    #[test]
    fn a_wildcard_is_where_the_api_is() {
        let at = |listen| dialable(listen, "http://toxiproxy:8474");
        assert_eq!(at("[::]:21211"), "toxiproxy:21211");
        assert_eq!(at("0.0.0.0:21211"), "toxiproxy:21211");
        assert_eq!(at("127.0.0.1:21211"), "127.0.0.1:21211");
        assert_eq!(dialable("[::]:1", "http://127.0.0.1:8474"), "127.0.0.1:1");
        assert_eq!(dialable("[::]:1", "http://[::1]:8474"), "[::1]:1");
    }
}
