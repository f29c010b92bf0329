//! A running load: its drivers, and the ticker that turns their records into the observation stream and the metrics.

pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod hello;
mod prepare;
mod ticker;

pub use config::LoadConfig;
pub use error::LoadError;
pub use hello::hello;
pub use prepare::Prepared;

use std::sync::Arc;
use std::time::Duration;

use observation::hub::Hub;
use prometheus::Registry;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::{ControlError, LoadControl};
use crate::deaths::Died;
use crate::flight::FlightRecorder;
use crate::look_aside::{self, Flushed, ThroughCache};
use crate::op_log::OpLogThread;
use crate::recorder::Recorder;
use crate::shared::Shared;
use crate::summary::Summary;
use crate::target::{AnyTarget, Target};
use ticker::Totals;

/// A load that is running; [`Load::stop`] ends it.
#[derive(Debug)]
pub struct Load {
    hub: Hub,
    stop: CancellationToken,
    drivers: JoinSet<Option<()>>,
    ticker: JoinHandle<Option<Totals>>,
    ticker_stop: CancellationToken,
    control: LoadControl,
    flights: FlightRecorder,
    op_log: Option<OpLogThread>,
    look_aside: Option<ThroughCache>,
    shared: Arc<Shared>,
}

impl Load {
    /// Starts to make load at once. Must be called within a tokio runtime.
    pub fn start(
        config: &LoadConfig,
        target: impl Into<AnyTarget>,
        registry: &Registry,
    ) -> Result<Self, LoadError> {
        Self::prepare(config, target, registry).map(Prepared::start)
    }

    /// Makes everything ready, and no load yet.
    pub fn prepare(
        config: &LoadConfig,
        target: impl Into<AnyTarget>,
        registry: &Registry,
    ) -> Result<Prepared, LoadError> {
        Prepared::new(config, target.into(), registry)
    }

    /// Where the observation stream comes from.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Changes its rate and mix while it runs.
    pub fn control(&self) -> LoadControl {
        self.control.clone()
    }

    /// Changes the rate of an open loop.
    pub fn set_rate(&self, ops_per_s: f64) -> Result<(), ControlError> {
        self.control.change(Some(ops_per_s), None)
    }

    /// The database behind a look-aside load.
    pub fn database(&self) -> Option<&database::Database> {
        self.look_aside.as_ref().map(::look_aside::LookAside::database)
    }

    /// Deletes this share (0-1) of the keys, each by its own dice. The deletes are no part of the load.
    pub async fn flush(&self, share: f64, seed: u64) -> Flushed {
        look_aside::flush(&self.shared, share, seed).await
    }

    /// Waits until one of its tasks has died, which ends the load; [`Load::stop`] sums up what there was.
    pub async fn died(&self) -> Died {
        self.shared.deaths.first().await
    }

    /// Stops starting ops, lets those in flight end, closes the client and sums up.
    pub async fn stop(mut self) -> Summary {
        self.stop.cancel();
        // One that has died has told.
        while self.drivers.join_next().await.is_some() {}
        let ended = Instant::now();
        self.ticker_stop.cancel();
        let none = || Totals { counted: Recorder::new(0), since: None, warm_up_wrong_values: 0 };
        let totals = self.ticker.await.ok().flatten().unwrap_or_else(none);
        self.shared.target.close().await;
        self.flights.close().await;
        let op_log = match self.op_log {
            Some(thread) => Some(thread.finish().await),
            None => None,
        };
        Summary {
            totals: totals.counted,
            elapsed: totals.since.map_or(Duration::ZERO, |since| ended.saturating_duration_since(since)),
            warm_up_wrong_values: totals.warm_up_wrong_values,
            op_log,
            died: self.shared.deaths.told(),
        }
    }
}

#[cfg(test)]
mod tests {
    use memcache_client::Config;
    use observation::Server;

    use super::*;
    use crate::fixture::{exported, until};
    use crate::{Arrivals, Ours, Profile};

    fn start(config: &LoadConfig, registry: &Registry) -> Load {
        let nobody = Server { name: "a".to_owned(), addr: "127.0.0.1:1".to_owned() };
        Load::start(config, Ours::new(Config::default(), vec![nobody]).unwrap(), registry).unwrap()
    }

    fn offered(registry: &Registry) -> f64 {
        exported(registry, "loadgen_offered_operations_total", None)
    }

    #[tokio::test]
    async fn a_new_rate_reaches_all_drivers_of_a_running_load() {
        let config = LoadConfig { arrivals: Arrivals::Constant(0.01), ..LoadConfig::default() };
        let registry = Registry::new();
        let load = start(&config, &registry);
        assert_eq!(load.set_rate(0.0), Err(crate::RateError::OutOfRange(0.0).into()));
        load.set_rate(2_000.0).unwrap();
        // At the first rate there would be none at all.
        until(|| offered(&registry) >= 900.0).await;
        let summary = load.stop().await;
        assert!(summary.totals.offered >= 900, "{}", summary.totals.offered);
        let closed = start(&LoadConfig::default(), &Registry::new());
        assert_eq!(closed.set_rate(10.0), Err(crate::RateError::ClosedLoop.into()));
        closed.stop().await;
    }

    #[tokio::test]
    async fn a_driver_that_panics_ends_the_load_and_is_named_in_its_summary() {
        // No key can be drawn with it.
        let config = LoadConfig { hot_share: f64::NAN, drivers: 2, ..LoadConfig::default() };
        let load = start(&config, &Registry::new());
        let died = tokio::time::timeout(Duration::from_secs(30), load.died()).await.unwrap();
        assert!(died.task.starts_with("driver ") && !died.why.is_empty(), "{died}");
        let summary = load.stop().await;
        assert_eq!(summary.died.as_ref(), Some(&died));
        assert!(summary.to_string().contains(&died.to_string()), "{summary}");
    }

    #[tokio::test]
    async fn a_profile_starts_what_it_says_over_all_drivers_and_then_nothing() {
        let profile: Profile = "500/200ms,2000/300ms".parse().unwrap();
        let arrivals = Arrivals::Constant(profile.first().ops_per_s());
        let registry = Registry::new();
        let load =
            start(&LoadConfig { arrivals, profile: Some(profile), ..LoadConfig::default() }, &registry);
        // After its end a profile asks for nothing.
        until(|| offered(&registry) >= 690.0 && load.control().rate() == Some(0.0)).await;
        let offered = load.stop().await.totals.offered;
        // A multi-get counts as its keys, so the mix makes it more than the 700 of the schedule.
        assert!((690..=7_000).contains(&offered), "{offered}");
    }
}
