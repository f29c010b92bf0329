//! Which backend gives each fault of a scenario, at which targets, and whether that is possible.

use super::environment::{Environment, RunError};
use crate::backends::{self, Backend, BackendError, Given, Leftover, Offer, Target};
use crate::faults::FaultSpec;
use crate::file::Scenario;
use crate::removal::owner::Owner;

/// One fault and who gives it.
#[derive(Debug)]
pub(super) struct PlannedFault {
    /// Position of its backend.
    pub(super) backend: usize,
    pub(super) meant: FaultSpec,
    pub(super) given: Given,
    /// Its places; empty until [`Plan::locate`].
    pub(super) targets: Vec<Target>,
}

/// The faults of one run and the backends that give them.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) backends: Vec<Box<dyn Backend>>,
    pub(super) faults: Vec<PlannedFault>,
}

/// Before the first of several scenarios: the Toxiproxy must be free, and everything that needs a permission permitted, or
/// none is run.
pub async fn preflight(scenarios: &[Scenario], environment: &Environment) -> Result<(), RunError> {
    environment.toxiproxy.vacant().await?;
    // One that no backend can give fails alone, as a run of its own.
    let plans = scenarios.iter().filter_map(|scenario| {
        let plan = Plan::choose(scenario, environment, &Owner::of_run(&scenario.name)).ok()?;
        plan.needs_permission().then_some((scenario, plan))
    });
    let mut plans = plans.peekable();
    if plans.peek().is_none() {
        return Ok(());
    }
    let found = environment.toxiproxy.prepare(&environment.proxies).await?;
    let permitted = all_permitted(plans, &found.targets).await;
    // Each run makes what it needs.
    environment.toxiproxy.withdraw(&found.made).await;
    permitted
}

async fn all_permitted(
    plans: impl Iterator<Item = (&Scenario, Plan)>,
    targets: &[Target],
) -> Result<(), RunError> {
    for (scenario, mut plan) in plans {
        plan.locate(scenario, targets)?;
        plan.permitted(scenario).await?;
    }
    Ok(())
}

impl Plan {
    /// Finds a backend for each fault, without a call.
    pub(super) fn choose(
        scenario: &Scenario,
        environment: &Environment,
        owner: &Owner,
    ) -> Result<Self, RunError> {
        let Environment { toxiproxy, inside, metrics, .. } = environment;
        let backends = backends::all(toxiproxy, *inside, owner, metrics);
        let chosen = scenario.faults.iter().map(|fault| {
            let (backend, given) = offer(&fault.spec, &backends)
                .map_err(|why| RunError::Misfit { scenario: scenario.name.clone(), why })?;
            Ok(PlannedFault { backend, meant: fault.spec.clone(), given, targets: Vec::new() })
        });
        Ok(Self { faults: chosen.collect::<Result<_, RunError>>()?, backends })
    }

    /// Does a fault outlast this process?
    pub(super) fn outlasts_us(&self) -> bool {
        self.faults.iter().any(|fault| self.backends[fault.backend].outlasts_us())
    }

    /// Does a backend of it ask for a permission?
    fn needs_permission(&self) -> bool {
        self.faults.iter().any(|fault| self.backends[fault.backend].needs_permission())
    }

    /// The backends that give a fault, for the journal; the proxies of the test come first.
    pub(super) fn describe(&self) -> String {
        let used = |n: usize| n == 0 || self.faults.iter().any(|fault| fault.backend == n);
        let used = self.backends.iter().enumerate().filter(|(n, _)| used(*n));
        used.map(|(_, backend)| backend.describe()).collect::<Vec<_>>().join("; ")
    }

    /// Chooses the targets of each fault, out of those of the test.
    pub(super) fn locate(&mut self, scenario: &Scenario, targets: &[Target]) -> Result<(), RunError> {
        let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
        for (planned, fault) in self.faults.iter_mut().zip(&scenario.faults) {
            let chosen = fault.target.choose(&names);
            let chosen = chosen.map_err(|why| RunError::Misfit { scenario: scenario.name.clone(), why })?;
            let chosen = chosen.iter().filter_map(|name| targets.iter().find(|target| target.name == *name));
            planned.targets = chosen.cloned().collect();
        }
        Ok(())
    }

    /// Fails when a fault is not permitted or not possible at its targets.
    async fn permitted(&mut self, scenario: &Scenario) -> Result<(), RunError> {
        for PlannedFault { backend, given, targets, .. } in &self.faults {
            let permitted = self.backends[*backend].permitted(&given.spec, targets).await;
            permitted.map_err(|error| refused(scenario, error))?;
        }
        Ok(())
    }

    /// Fails when a fault cannot be given. Gives what earlier runs had left where it will be given; it is gone now.
    pub(super) async fn check(&mut self, scenario: &Scenario) -> Result<Vec<Leftover>, RunError> {
        self.permitted(scenario).await?;
        let mut left = Vec::new();
        for PlannedFault { backend, given, .. } in &self.faults {
            let swept = self.backends[*backend].prepare(&given.spec).await;
            left.extend(swept.map_err(|error| refused(scenario, error))?);
        }
        Ok(left)
    }

    /// Takes away what earlier runs have left.
    pub(super) async fn sweep(&mut self, scenario: &Scenario) -> Result<Vec<Leftover>, RunError> {
        let mut left = Vec::new();
        for backend in &mut self.backends {
            left.extend(backend.sweep().await.map_err(|error| refused(scenario, error))?);
        }
        Ok(left)
    }
}

/// The backend that gives exactly the fault, otherwise one that gives something in its place, otherwise the reason of each.
fn offer(spec: &FaultSpec, backends: &[Box<dyn Backend>]) -> Result<(usize, Given), String> {
    let (mut offers, mut reasons) = (Vec::new(), Vec::new());
    for (n, backend) in backends.iter().enumerate() {
        match backend.offer(spec) {
            Offer::Gives(given) => offers.push((n, given)),
            Offer::Cannot(why) => reasons.push(format!("{}: {why}", backend.describe())),
        }
    }
    offers.sort_by_key(|(n, given)| (given.substitute.is_some(), *n));
    let first = offers.into_iter().next();
    first.ok_or_else(|| format!("no backend gives a {} fault. {}", spec.kind(), reasons.join("; ")))
}

fn refused(scenario: &Scenario, error: BackendError) -> RunError {
    let scenario = scenario.name.clone();
    match error {
        BackendError::Misfit(why) => RunError::Misfit { scenario, why },
        BackendError::Refused(why) => RunError::Refused { scenario, why },
        other => RunError::Backend(other),
    }
}
