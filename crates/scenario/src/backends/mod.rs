//! Ways to apply faults, one module each, behind one trait.
//!
//! The runner knows backends only through [`Backend`]. Each of them answers for every kind of fault whether it can give it,
//! applies it in parts that have names, ends its effect, takes it away, and reads back that nothing is left.

mod backend;
pub mod nftables;
pub(crate) mod resource;
mod target;
pub mod toxiproxy;

use ::toxiproxy::ClientError;

pub use backend::{Answer, Backend, BackendError, DoseCounter, Given, Leftover, Offer};
pub use resource::Resource;
pub use target::Target;
pub(crate) use target::find_servers;
use toxiproxy::Toxiproxy;

use crate::metrics::Metrics;
use crate::removal::owner::Owner;

/// The backends of a run at a Toxiproxy. Of several that can give a fault, the first that gives exactly what is meant is
/// used, otherwise the first that gives something in its place.
pub fn all(toxiproxy: &Toxiproxy, inside: bool, owner: &Owner, metrics: &Metrics) -> Vec<Box<dyn Backend>> {
    vec![toxiproxy.faults(owner.clone(), inside), Box::new(nftables::Nftables::new(metrics.clone()))]
}

/// Takes away what dead and frozen runs have left at a Toxiproxy and in this network namespace.
pub async fn reap(client: &::toxiproxy::Client) -> Result<Vec<Leftover>, ClientError> {
    let tables = nftables::sweep_here().await;
    let toxics = toxiproxy::sweep(client).await?;
    Ok(toxics.into_iter().chain(tables).collect())
}
