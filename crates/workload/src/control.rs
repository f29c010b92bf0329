//! What may be changed while a load runs: its rate and its mix.

use std::sync::{Arc, Mutex, PoisonError};

use observation::hub::Hub;
use observation::{Event, EventKind, Record};
use tokio::sync::watch;

use crate::arrivals::{Arrivals, Rate};
use crate::metrics::Metrics;
use crate::mix::{Mix, OpKind};

/// What the drivers aim at, all together.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub(crate) arrivals: Arrivals,
    pub(crate) mix: Arc<Mix>,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no rate to change.
    #[error("this load is a closed loop, which has no rate; start it with a rate to change it")]
    ClosedLoop,
    /// The rate is not one.
    #[error("rate: {0}")]
    Rate(String),
    /// All ops of the mix are of a kind that the client's driver does not have.
    #[error("mix: {0}, and the client's driver has no touch")]
    OnlyTouch(String),
}

/// Changes a running load. Cheap to clone; without effect when the load has ended.
#[derive(Debug, Clone)]
pub struct LoadControl {
    targets: Arc<watch::Sender<Targets>>,
    hub: Hub,
    metrics: Arc<Mutex<Metrics>>,
    has_touch: bool,
}

impl LoadControl {
    pub(crate) fn new(targets: Targets, hub: Hub, metrics: Arc<Mutex<Metrics>>, has_touch: bool) -> Self {
        Self { targets: Arc::new(watch::Sender::new(targets)), hub, metrics, has_touch }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Targets> {
        self.targets.subscribe()
    }

    /// Rate of the open loop, ops/s; `None`: a closed loop.
    pub fn rate(&self) -> Option<f64> {
        self.targets.borrow().arrivals.rate()
    }

    /// The mix that ops are drawn from.
    pub fn mix(&self) -> Arc<Mix> {
        Arc::clone(&self.targets.borrow().mix)
    }

    /// Changes what is given: both or, if one of them is refused, nothing. Of a sharded load the rate is this
    /// generator's own.
    pub fn change(&self, rate: Option<f64>, mix: Option<Mix>) -> Result<(), ControlError> {
        let mix = mix.map(|mix| self.without_missing(mix)).transpose()?;
        let before = self.targets.borrow().arrivals;
        let arrivals = rate.map(|rate| at_rate(before, rate)).transpose()?;
        self.targets.send_modify(|targets| {
            targets.arrivals = arrivals.unwrap_or(targets.arrivals);
            if let Some(mix) = mix {
                targets.mix = Arc::new(mix);
            }
        });
        if let (Some(from), Some(to)) = (before.rate(), arrivals.and_then(Arrivals::rate)) {
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).set_target_rate(to);
            let at_us = self.hub.clock().now_us();
            let event = EventKind::Rate { from, to };
            self.hub.publish(&Record::Event(Event { at_us, server: None, event }));
        }
        Ok(())
    }

    fn without_missing(&self, mix: Mix) -> Result<Mix, ControlError> {
        if self.has_touch {
            return Ok(mix);
        }
        mix.without(OpKind::Touch).ok_or_else(|| ControlError::OnlyTouch(mix.to_string()))
    }
}

/// The same arrivals at another rate, with the limits that the rate of a new load has.
fn at_rate(arrivals: Arrivals, rate: f64) -> Result<Arrivals, ControlError> {
    rate.to_string().parse::<Rate>().map_err(ControlError::Rate)?;
    match arrivals {
        Arrivals::Closed => Err(ControlError::ClosedLoop),
        Arrivals::Poisson(_) => Ok(Arrivals::Poisson(rate)),
        Arrivals::Constant(_) => Ok(Arrivals::Constant(rate)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memcache_client::{Config, ServerAddr};
    use memcached_fake::FakeMemcached;
    use prometheus::Registry;

    use super::*;
    use crate::{Load, LoadConfig};

    async fn load(arrivals: Arrivals) -> (FakeMemcached, Load) {
        let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let servers = vec![ServerAddr { name: "fake".to_owned(), addr: fake.addr().to_string() }];
        let config = LoadConfig { arrivals, mix: Some("get=1".parse().unwrap()), ..LoadConfig::default() };
        let load = Load::start(&config, Config::default(), servers, &Registry::new()).unwrap();
        (fake, load)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rate_and_mix_change_at_once_even_of_a_slow_load() {
        let (_fake, load) = load(Arrivals::Constant(0.1)).await;
        let control = load.control();
        let mut reader = load.hub().subscribe();
        assert_eq!((control.rate(), control.mix().to_string()), (Some(0.1), "get=1".to_owned()));
        control.change(Some(1_000.0), Some("set=1".parse().unwrap())).unwrap();
        assert_eq!((control.rate(), control.mix().to_string()), (Some(1_000.0), "set=1".to_owned()));
        let told = async {
            loop {
                let line = reader.next_line().await.unwrap();
                if line.contains(r#""kind":"rate","from":0.1,"to":1000.0"#) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        load.set_rate(0.01).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let summary = load.stop().await;
        assert!((250..=700).contains(&summary.totals.offered), "{}", summary.totals.offered);
        // The first driver begins at once.
        assert!(summary.totals.latency_of(OpKind::Get).len() <= 1);
        // Without a load it is in vain, and no error.
        control.change(Some(5.0), None).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_and_changes_nothing() {
        let (_fake, open) = load(Arrivals::Poisson(10.0)).await;
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            let refused = open.control().change(Some(rate), Some("set=1".parse().unwrap())).unwrap_err();
            assert!(matches!(refused, ControlError::Rate(_)), "{rate}: {refused}");
        }
        assert_eq!(
            (open.control().rate(), open.control().mix().to_string()),
            (Some(10.0), "get=1".to_owned())
        );
        let (_fake, closed) = load(Arrivals::Closed).await;
        assert_eq!(closed.set_rate(5.0), Err(ControlError::ClosedLoop));
        closed.control().change(None, Some("set=1".parse().unwrap())).unwrap();
        open.stop().await;
        closed.stop().await;
    }
}
