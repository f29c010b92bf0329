//! Faults of one run at a Toxiproxy, as a [`Backend`].

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::toxics::{Act, acts};
use super::{ToxicPlan, Toxiproxy, dose, undo};
use crate::backends::backend::{Answer, Backend, BackendError, DoseCounter, Given, Leftover, Offer};
use crate::backends::resource::Resource;
use crate::backends::target::Target;
use crate::faults::{FaultSpec, Stall};
use crate::removal::ladder::Applied;
use crate::removal::lease::Lease;
use crate::removal::owner::{Owner, TRIAL};

/// A part of a fault at one proxy.
#[derive(Debug)]
struct Part {
    proxy: String,
    name: String,
    act: Act,
}

impl Part {
    fn applied(&self) -> Applied {
        Applied { proxy: self.proxy.clone(), toxic: self.name.clone(), undo: undo(&self.act) }
    }
}

/// The faults of one run at the proxies.
#[derive(Debug)]
pub(crate) struct ToxiproxyFaults {
    toxiproxy: Toxiproxy,
    /// Does the Toxiproxy end with this process, and its faults with it?
    inside: bool,
    owner: Owner,
    /// The highest number of a part so far.
    numbers: u16,
    planned: Vec<Part>,
    /// Parts whose call was sent, and that are not read back as gone.
    applied: Vec<Applied>,
    lease: Option<Lease>,
    lapsed: CancellationToken,
}

impl ToxiproxyFaults {
    pub(crate) fn new(toxiproxy: Toxiproxy, inside: bool, owner: Owner) -> Self {
        Self {
            toxiproxy,
            inside,
            owner,
            numbers: 0,
            planned: Vec::new(),
            applied: Vec::new(),
            lease: None,
            lapsed: CancellationToken::new(),
        }
    }

    async fn end_lease(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if let Err(error) = lease.end().await {
            // It lapses by itself, and there is nothing left to be taken away.
            tracing::warn!(%error, "a lease is not ended");
        }
    }
}

impl Backend for ToxiproxyFaults {
    fn describe(&self) -> String {
        self.toxiproxy.describe()
    }

    /// A stock server has no loss: it stalls a share of connections, which is what the seed of this catalogue called packet
    /// loss.
    fn offer(&self, spec: &FaultSpec) -> Offer {
        match (spec, acts(spec)) {
            (_, Err(why)) => Offer::Cannot(why.to_owned()),
            (FaultSpec::Loss(loss), _) if !self.toxiproxy.is_embedded() => {
                let spec = FaultSpec::Stall(Stall { share: loss.share });
                let substitute =
                    format!("this Toxiproxy has no packet loss; given instead: {}", spec.describe());
                Offer::Gives(Given { spec, substitute: Some(substitute) })
            }
            (FaultSpec::Toxic(named), _) => match self.toxiproxy.lacks(&named.toxic) {
                Some(why) => Offer::Cannot(why),
                None => Offer::Gives(Given::as_meant(spec)),
            },
            _ => Offer::Gives(Given::as_meant(spec)),
        }
    }

    fn outlasts_us(&self) -> bool {
        !self.inside
    }

    fn sweep(&mut self) -> Answer<'_, Vec<Leftover>> {
        async { Ok(self.toxiproxy.sweep().await?) }.boxed_local()
    }

    /// Only a toxic by its own name can be refused: the attributes of the others are ours.
    fn prepare<'a>(&'a mut self, spec: &'a FaultSpec) -> Answer<'a, Vec<Leftover>> {
        async move {
            let FaultSpec::Toxic(named) = spec else { return Ok(Vec::new()) };
            match self.toxiproxy.refuses(&self.owner, &ToxicPlan::from(named)).await? {
                Some(why) => Err(BackendError::Misfit(why)),
                None => Ok(Vec::new()),
            }
        }
        .boxed_local()
    }

    fn plan(
        &mut self,
        spec: &FaultSpec,
        target: &Target,
        deadline: u64,
    ) -> Result<Vec<String>, BackendError> {
        let mut names = Vec::new();
        for act in acts(spec).map_err(|why| BackendError::Misfit(why.to_owned()))? {
            let number = self.numbers.checked_add(1).filter(|number| *number < TRIAL);
            self.numbers =
                number.ok_or_else(|| BackendError::Failed("more faults than have names".to_owned()))?;
            let name = self.owner.name(self.numbers, deadline).to_string();
            names.push(name.clone());
            self.planned.push(Part { proxy: target.name.clone(), name, act });
        }
        Ok(names)
    }

    fn resource(&self, _: &str) -> Option<Resource> {
        None
    }

    /// Takes the lease of all parts, where the Toxiproxy knows leases.
    fn begin(&mut self) -> Answer<'_, ()> {
        async {
            if !self.toxiproxy.has_leases() {
                return Ok(());
            }
            let disabled = self.planned.iter().filter(|part| part.act == Act::Disable);
            let disabled = disabled.map(|part| part.proxy.clone()).collect();
            let (client, prefix) = (self.toxiproxy.client(), self.owner.prefix());
            let lease = Lease::take(client, prefix, disabled, self.lapsed.clone()).await;
            let failed = |error| BackendError::Failed(format!("the lease of the faults: {error}"));
            self.lease = Some(lease.map_err(failed)?);
            Ok(())
        }
        .boxed_local()
    }

    fn apply<'a>(&'a mut self, part: &'a str) -> Answer<'a, ()> {
        async move {
            let Some(part) = self.planned.iter().find(|planned| planned.name == part) else {
                return Err(BackendError::Failed(format!("{part} was never planned")));
            };
            self.applied.push(part.applied());
            match &part.act {
                Act::Toxic(plan) => self.toxiproxy.add(&part.proxy, &part.name, plan).await?,
                Act::Disable => self.toxiproxy.disable(&part.proxy, &part.name).await?,
            }
            Ok(())
        }
        .boxed_local()
    }

    fn lift(&mut self) -> Answer<'_, ()> {
        async { Ok(self.toxiproxy.lift(&self.applied).await?) }.boxed_local()
    }

    fn remove(&mut self) -> Answer<'_, ()> {
        async {
            self.toxiproxy.remove(&self.owner, &self.applied).await?;
            self.applied.clear();
            self.end_lease().await;
            Ok(())
        }
        .boxed_local()
    }

    /// The promise is that nothing is there, even when nothing was applied.
    fn read_back(&mut self) -> Answer<'_, ()> {
        async {
            self.toxiproxy.end(&self.owner, false).await?;
            self.applied.clear();
            self.end_lease().await;
            Ok(())
        }
        .boxed_local()
    }

    fn lapsed(&self) -> CancellationToken {
        self.lapsed.clone()
    }

    fn dose(&self, targets: &[Target]) -> Option<Box<dyn DoseCounter>> {
        let embedded = self.toxiproxy.is_embedded();
        embedded.then(|| Box::new(dose::Buckets::new(&self.toxiproxy, targets)) as Box<_>)
    }
}
