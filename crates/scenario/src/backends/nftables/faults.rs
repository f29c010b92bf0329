//! Faults of one run by the kernel's packet filter, as a [`Backend`].

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::Mutex;

use super::dose::Counters;
use super::namespace::{CallError, Namespace, Refused};
use super::permission::{arrives_here, permitted};
use super::table::{self, Maker, TableName};
use super::tables::Tables;
use crate::backends::backend::{Answer, Backend, BackendError, DoseCounter, Given, Leftover, Offer};
use crate::backends::resource::Resource;
use crate::backends::target::Target;
use crate::faults::{FaultSpec, LossKernel};
use crate::metrics::Metrics;

/// The answer to every other fault.
const ONLY_LOSS: &str = "the packet filter only drops packets";

/// A namespace in which packets may be lost, and where each target listens in it.
#[derive(Debug)]
struct Place {
    namespace: Namespace,
    listens: Vec<(String, SocketAddr)>,
}

/// One table.
#[derive(Debug, Clone)]
struct Part {
    proxy: String,
    namespace: Namespace,
    name: TableName,
    listen: SocketAddr,
    share: f64,
}

/// The loss of one run.
#[derive(Debug)]
pub(crate) struct Nftables {
    metrics: Metrics,
    tables: Arc<Mutex<Tables>>,
    places: Vec<Place>,
    /// The highest number of a table so far.
    numbers: u32,
    planned: Vec<Part>,
}

impl From<Refused> for BackendError {
    fn from(refused: Refused) -> Self {
        BackendError::Refused(refused.to_string())
    }
}

impl Nftables {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, tables: Arc::default(), places: Vec::new(), numbers: 0, planned: Vec::new() }
    }

    /// The place in which the kernel is to lose packets: that must be permitted, and they must arrive.
    async fn place(netns: Option<&str>, targets: &[Target]) -> Result<Place, Refused> {
        let namespace = Namespace::find(netns)?;
        permitted(&namespace).await?;
        let mut listens = Vec::new();
        for target in targets {
            let listen = arrives_here(&namespace, &target.listen).await?;
            // A wildcard is everywhere: the proxy is where it is dialled.
            if listen.ip().is_unspecified() {
                arrives_here(&namespace, &target.dial).await?;
            }
            listens.push((target.name.clone(), listen));
        }
        for server in targets.iter().filter_map(|target| target.server.as_ref()) {
            arrives_here(&namespace, &server.addr).await?;
        }
        Ok(Place { namespace, listens })
    }

    async fn remove_tables(&mut self) -> Result<(), BackendError> {
        let mut tables = self.tables.lock().await;
        let removed = tables.remove().await;
        if tables.is_clean() {
            for part in &self.planned {
                self.metrics.toxic_removed(&part.proxy, &part.name.to_string());
            }
        }
        removed.map_err(|error| BackendError::Failed(error.to_string()))
    }
}

impl Backend for Nftables {
    fn describe(&self) -> String {
        "nftables".to_owned()
    }

    fn offer(&self, spec: &FaultSpec) -> Offer {
        match spec {
            FaultSpec::LossKernel(_) => Offer::Gives(Given::as_meant(spec)),
            FaultSpec::Latency(_)
            | FaultSpec::Loss(_)
            | FaultSpec::Stall(_)
            | FaultSpec::Down(_)
            | FaultSpec::Reset(_)
            | FaultSpec::Bandwidth(_)
            | FaultSpec::Slicer(_)
            | FaultSpec::LimitData(_)
            | FaultSpec::SlowClose(_)
            | FaultSpec::Toxic(_) => Offer::Cannot(ONLY_LOSS.to_owned()),
        }
    }

    fn outlasts_us(&self) -> bool {
        true
    }

    fn needs_permission(&self) -> bool {
        true
    }

    /// In this network namespace, where it may.
    fn sweep(&mut self) -> Answer<'_, Vec<Leftover>> {
        async { Ok(sweep_here().await) }.boxed_local()
    }

    fn permitted<'a>(&'a mut self, spec: &'a FaultSpec, targets: &'a [Target]) -> Answer<'a, ()> {
        async move {
            if let FaultSpec::LossKernel(LossKernel { netns, .. }) = spec {
                self.places.push(Self::place(netns.as_deref(), targets).await?);
            }
            Ok(())
        }
        .boxed_local()
    }

    fn prepare<'a>(&'a mut self, spec: &'a FaultSpec) -> Answer<'a, Vec<Leftover>> {
        async move {
            let FaultSpec::LossKernel(LossKernel { netns, .. }) = spec else { return Ok(Vec::new()) };
            let place = self.places.iter().find(|place| place.namespace.name() == netns.as_deref());
            let Some(Place { namespace, .. }) = place else { return Ok(Vec::new()) };
            Ok(sweep(namespace).await.map_err(Refused::NotPermitted)?)
        }
        .boxed_local()
    }

    fn plan(
        &mut self,
        spec: &FaultSpec,
        target: &Target,
        deadline: u64,
    ) -> Result<Vec<String>, BackendError> {
        let FaultSpec::LossKernel(LossKernel { share, netns }) = spec else {
            return Err(BackendError::Misfit(ONLY_LOSS.to_owned()));
        };
        let of = self.places.iter().filter(|place| place.namespace.name() == netns.as_deref());
        let mut found = of.flat_map(|place| place.listens.iter().map(|listen| (&place.namespace, listen)));
        let Some((namespace, (_, listen))) = found.find(|(_, (name, _))| *name == target.name) else {
            return Err(BackendError::Failed(format!("{} was never permitted", target.name)));
        };
        let maker = Maker::this().map_err(|error| Refused::Unknown(error.to_string()))?;
        self.numbers += 1;
        let name = TableName::new(maker, listen.port(), self.numbers, deadline);
        let part = Part {
            proxy: target.name.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            listen: *listen,
            share: *share,
        };
        self.planned.push(part);
        Ok(vec![name.to_string()])
    }

    fn resource(&self, part: &str) -> Option<Resource> {
        let part = self.planned.iter().find(|planned| planned.name.to_string() == part)?;
        Some(Resource::Table { netns: part.namespace.name().map(str::to_owned), name: part.name.clone() })
    }

    fn apply<'a>(&'a mut self, part: &'a str) -> Answer<'a, ()> {
        async move {
            let mut tables = self.tables.lock().await;
            let found = self.planned.iter().find(|planned| planned.name.to_string() == part);
            let Some(Part { proxy, namespace, name, listen, share }) = found else {
                return Err(BackendError::Failed(format!("{part} was never planned")));
            };
            let created = tables.create(namespace, name.clone(), *listen, *share).await;
            created.map_err(|error| BackendError::Failed(error.to_string()))?;
            self.metrics.kernel_loss_began(proxy, part, *share);
            Ok(())
        }
        .boxed_local()
    }

    fn look(&mut self) -> LocalBoxFuture<'_, ()> {
        async { self.tables.lock().await.look().await }.boxed_local()
    }

    /// A table is gone at once, and with it its effect.
    fn lift(&mut self) -> Answer<'_, ()> {
        self.remove_tables().boxed_local()
    }

    fn remove(&mut self) -> Answer<'_, ()> {
        self.remove_tables().boxed_local()
    }

    fn read_back(&mut self) -> Answer<'_, ()> {
        self.remove_tables().boxed_local()
    }

    fn dose(&self, _: &[Target]) -> Option<Box<dyn DoseCounter>> {
        Some(Box::new(Counters(Arc::clone(&self.tables))))
    }
}

/// Takes away tables whose scenariod is gone.
async fn sweep(namespace: &Namespace) -> Result<Vec<Leftover>, CallError> {
    let swept = table::sweep(namespace).await?;
    Ok(swept.into_iter().map(|name| Leftover { what: format!("table {name}"), whose: None }).collect())
}

/// The same in this network namespace. Where that is not permitted, or there is no `nft`, no scenariod of this user has left
/// anything either.
pub(crate) async fn sweep_here() -> Vec<Leftover> {
    let Ok(here) = Namespace::find(None) else { return Vec::new() };
    sweep(&here).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "tables of packet filter rules are not looked at");
        Vec::new()
    })
}
