//! The load of a lab: of a given rate, or calibrated, so that it is half of what the machine can do.

use std::time::Duration;

use observation::hub::Hub;
use prometheus::Registry;
use workload::{Arrivals, Load, LoadConfig, Summary};

use crate::{Lab, LabError};

/// How long the machine's capacity is measured.
const CALIBRATION: Duration = Duration::from_secs(2);
/// Workers of the calibration's closed loop.
const CALIBRATION_WORKERS: usize = 64;
/// Share of the capacity that the load asks for. Above about 60 % a fault's extra work would make the machine the
/// limit, and the verdict would judge the machine.
const LOAD_SHARE: f64 = 0.5;
/// The load asks for no more than this, ops/s.
const RATE_MAX: f64 = 10_000.0;

/// What load a lab makes.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Ops, keys, values, seed. Its arrivals are replaced.
    pub load: LoadConfig,
    /// The client under test.
    pub client: memcache_client::Config,
    /// ops/s; `None`: half of what a calibration of 2 s reaches, at most 10 000.
    pub rate: Option<f64>,
}

/// A lab's running load.
#[derive(Debug)]
pub struct LabLoad {
    load: Load,
    rate: f64,
}

impl LabLoad {
    /// Calibrates if no rate is given, then starts an open loop with Poisson arrivals against the lab's proxies.
    pub async fn start(lab: &Lab, plan: &LoadPlan, registry: &Registry) -> Result<Self, LabError> {
        let rate = match plan.rate {
            Some(rate) => rate,
            None => calibrate(lab, plan).await?,
        };
        let config = LoadConfig { arrivals: Arrivals::Poisson(rate), ..plan.load.clone() };
        let load = Load::start(&config, lab.client(plan.client.clone())?, registry)?;
        Ok(Self { load, rate })
    }

    /// The open loop's rate, ops/s.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Where its observations come from.
    pub fn hub(&self) -> &Hub {
        self.load.hub()
    }

    /// Ends the load and sums up.
    pub async fn stop(self) -> Summary {
        self.load.stop().await
    }
}

/// The rate, ops/s, that a lab without one asks for: half of what a calibration of 2 s reaches, at most 10 000.
pub async fn calibrate(lab: &Lab, plan: &LoadPlan) -> Result<f64, LabError> {
    let config =
        LoadConfig { arrivals: Arrivals::Closed, in_flight_max: CALIBRATION_WORKERS, ..plan.load.clone() };
    // Its own registry: the calibration is not part of the run.
    let load = Load::start(&config, lab.client(plan.client.clone())?, &Registry::new())?;
    tokio::time::sleep(CALIBRATION).await;
    let summary = load.stop().await;
    if let Some(died) = summary.died {
        return Err(died.into());
    }
    let capacity = summary.totals.outcomes().ok() as f64 / summary.elapsed.as_secs_f64().max(1e-3);
    if capacity < 1.0 {
        return Err(LabError::NoGoodput);
    }
    let rate = (capacity * LOAD_SHARE).min(RATE_MAX).floor();
    tracing::info!(capacity = capacity as u64, rate, "calibrated");
    Ok(rate)
}
