//! What may be changed while a load runs: its rate and its mix.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::arrivals::pacer::{RateChange, RateChanges};
use crate::arrivals::{Arrivals, Profile, Rate, RateError};
use crate::mix::{Mix, NothingLeft, OpKind};

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ControlError {
    /// Not a rate, or nothing that has one.
    #[error("rate: {0}")]
    Rate(#[from] RateError),
    /// The client has none of the mix's ops.
    #[error("mix: {0}")]
    NothingLeft(#[from] NothingLeft),
    /// Requests of a look-aside load are always reads.
    #[error("mix: a look-aside load has none; change its rate only")]
    NoMix,
}

/// The rate that all drivers together are asked for.
#[derive(Debug, Clone)]
pub(crate) struct TargetRate {
    arrivals: Arrivals,
    profile: Option<Profile>,
    started: Instant,
    changes: RateChanges,
}

impl TargetRate {
    /// The rate before any change, in ops/s.
    pub(crate) fn first(&self) -> f64 {
        self.unchanged_at(self.started)
    }

    /// ops/s; 0 in a closed loop and after the end of a profile.
    pub(crate) fn at(&self, now: Instant) -> f64 {
        match *self.changes.borrow() {
            Some(change) => change.ops_per_s,
            None => self.unchanged_at(now),
        }
    }

    fn unchanged_at(&self, now: Instant) -> f64 {
        match (self.arrivals.rate(), &self.profile) {
            (Some(_), Some(profile)) => profile.rate_at(now.saturating_duration_since(self.started)),
            (rate, _) => rate.unwrap_or(0.0),
        }
    }
}

/// Changes a running load. Cheap to clone; without effect when the load has ended.
#[derive(Debug, Clone)]
pub struct LoadControl {
    mix: Arc<watch::Sender<Arc<Mix>>>,
    rates: Arc<watch::Sender<Option<RateChange>>>,
    target: TargetRate,
    /// What the client can do.
    ops: Vec<OpKind>,
    has_mix: bool,
}

impl LoadControl {
    /// Of a load that begins now.
    pub(crate) fn new(arrivals: Arrivals, profile: Option<Profile>, mix: Arc<Mix>, ops: Vec<OpKind>) -> Self {
        let (rates, changes) = watch::channel(None);
        let target = TargetRate { arrivals, profile, started: Instant::now(), changes };
        Self { mix: Arc::new(watch::Sender::new(mix)), rates: Arc::new(rates), target, ops, has_mix: true }
    }

    /// Every change of the mix.
    pub(crate) fn mixes(&self) -> watch::Receiver<Arc<Mix>> {
        self.mix.subscribe()
    }

    /// The rate as it changes.
    pub(crate) fn target(&self) -> TargetRate {
        self.target.clone()
    }

    pub(crate) fn rates(&self) -> RateChanges {
        self.rates.subscribe()
    }

    pub(crate) fn started(&self) -> Instant {
        self.target.started
    }

    /// Rate of the open loop now, ops/s; `None`: a closed loop.
    pub fn rate(&self) -> Option<f64> {
        self.target.arrivals.rate().map(|_| self.target.at(Instant::now()))
    }

    /// The mix that ops are drawn from.
    pub fn mix(&self) -> Arc<Mix> {
        Arc::clone(&self.mix.borrow())
    }

    /// Changes what is given: both or, if one of them is refused, nothing. From now on all drivers together start so
    /// many ops/s, without a gap or a burst at the change; what is left of a profile is forgotten. Of a sharded load the
    /// rate is this generator's own.
    pub fn change(&self, rate: Option<f64>, mix: Option<Mix>) -> Result<(), ControlError> {
        let mix = mix.map(|mix| self.supported(mix)).transpose()?;
        if let Some(ops_per_s) = rate {
            let rate = Rate::new(ops_per_s).ok_or(RateError::OutOfRange(ops_per_s))?;
            self.target.arrivals.rate().ok_or(RateError::ClosedLoop)?;
            let change = RateChange { at: Instant::now(), ops_per_s: rate.ops_per_s() };
            self.rates.send_replace(Some(change));
        }
        if let Some(mix) = mix {
            self.mix.send_replace(Arc::new(mix));
        }
        Ok(())
    }

    /// The same of a load that has no mix.
    pub(crate) fn of_requests(self) -> Self {
        Self { has_mix: false, ..self }
    }

    fn supported(&self, mix: Mix) -> Result<Mix, ControlError> {
        if !self.has_mix {
            return Err(ControlError::NoMix);
        }
        Ok(mix.only(&self.ops)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memcache_client::Config;
    use memcached_fake::FakeMemcached;
    use observation::hub::Reader;
    use prometheus::Registry;

    use super::*;
    use crate::fixture::{exported, fake_server, ours, until};
    use crate::{Load, LoadConfig};

    async fn load(arrivals: Arrivals) -> (FakeMemcached, Load, Registry) {
        let fake = fake_server().await;
        let config = LoadConfig { arrivals, mix: Some("get=1".parse().unwrap()), ..LoadConfig::default() };
        let registry = Registry::new();
        let load = Load::start(&config, ours(&fake, Config::default()), &registry).unwrap();
        (fake, load, registry)
    }

    async fn told(reader: &mut Reader, what: &str) {
        let told = async { while !reader.next_line().await.unwrap().contains(what) {} };
        tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rate_and_mix_change_at_once_even_of_a_slow_load() {
        let (_fake, load, registry) = load(Arrivals::Constant(0.1)).await;
        let control = load.control();
        let mut reader = load.hub().subscribe();
        assert_eq!((control.rate(), control.mix().to_string()), (Some(0.1), "get=1".to_owned()));
        let began = Instant::now();
        control.change(Some(1_000.0), Some("set=1".parse().unwrap())).unwrap();
        assert_eq!((control.rate(), control.mix().to_string()), (Some(1_000.0), "set=1".to_owned()));
        told(&mut reader, r#""kind":"rate","from":0.1,"to":1000.0"#).await;
        until(|| exported(&registry, "loadgen_offered_operations_total", None) >= 300.0).await;
        load.set_rate(0.01).unwrap();
        let fast = began.elapsed().as_millis() as u64;
        told(&mut reader, r#""kind":"rate","from":1000.0,"to":0.01"#).await;
        let summary = load.stop().await;
        // At 0.1/s there would be one.
        assert!((250..=fast + 200).contains(&summary.totals.offered), "{}", summary.totals.offered);
        // The first driver begins at once.
        assert!(summary.totals.latency_of(OpKind::Get).len() <= 1);
        // Without a load it is in vain, and no error.
        control.change(Some(5.0), None).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_and_changes_nothing() {
        let (_fake, open, _) = load(Arrivals::Poisson(10.0)).await;
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            let refused = open.control().change(Some(rate), Some("set=1".parse().unwrap())).unwrap_err();
            assert!(matches!(refused, ControlError::Rate(_)), "{rate}: {refused}");
        }
        assert_eq!(
            (open.control().rate(), open.control().mix().to_string()),
            (Some(10.0), "get=1".to_owned())
        );
        let (_fake, closed, _) = load(Arrivals::Closed).await;
        assert_eq!(closed.set_rate(5.0), Err(ControlError::Rate(RateError::ClosedLoop)));
        closed.control().change(None, Some("set=1".parse().unwrap())).unwrap();
        open.stop().await;
        closed.stop().await;
    }
}
