//! Servers of a lab that refuse connections for a while: the fault `down`, through the same backend as a scenario's.

use lab::Lab;
use observation::clock;
use prometheus::Registry;
use scenario::FaultSpec;
use scenario::backends::toxiproxy::Toxiproxy;
use scenario::backends::{Backend, BackendError};
use scenario::faults;
use scenario::metrics::Metrics;
use scenario::removal::Owner;

/// The deadline in the names of the faults: long after the end of any cell. The proxies end with this process anyway.
const DEADLINE_S: u64 = 24 * 3600;

/// The first servers of a lab, down or about to be.
pub(crate) struct Down {
    backend: Box<dyn Backend>,
    parts: Vec<String>,
}

impl Down {
    /// Nothing is applied yet.
    pub(crate) async fn new(lab: &Lab, servers: usize) -> Result<Self, BackendError> {
        // A cell is its own observer: a registry that is not scraped.
        let metrics = Metrics::register(&Registry::new());
        let metrics = metrics.map_err(|error| BackendError::Failed(error.to_string()))?;
        let toxiproxy = Toxiproxy::connect(&lab.toxiproxy_url(), metrics).await?;
        let names: Vec<String> =
            lab.proxied_servers().iter().take(servers).map(|proxy| proxy.name.clone()).collect();
        let targets = toxiproxy.targets(&names).await?;
        let mut backend = toxiproxy.faults(Owner::of_run("metastable"), true);
        let spec = FaultSpec::Down(faults::Down);
        let deadline = clock::wall_ms() / 1000 + DEADLINE_S;
        let mut parts = Vec::new();
        for target in &targets {
            parts.extend(backend.plan(&spec, target, deadline)?);
        }
        Ok(Self { backend, parts })
    }

    /// From now on they refuse connections. Without `begin`, and so without a lease: it could end the fault within a trigger,
    /// and the proxies end with this process anyway.
    pub(crate) async fn apply(&mut self) -> Result<(), BackendError> {
        for part in &self.parts {
            self.backend.apply(part).await?;
        }
        Ok(())
    }

    /// From now on they accept them again.
    pub(crate) async fn remove(mut self) -> Result<(), BackendError> {
        self.backend.lift().await?;
        self.backend.remove().await
    }
}
