//! The open loop with any op in the place of the client's: load on something that is in this process.

use std::sync::{Arc, PoisonError};

use alarm::Alarm;
use observation::{Outcome, Tick};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::pacer::{RateChange, Start};
use crate::arrivals::{Rate, RateError};
use crate::deaths::{Deaths, Died};
use crate::driver::drive;
use crate::intervals::Intervals;
use crate::load::config::LoadConfig;
use crate::mix::OpKind;
use crate::recorder::{Ended, micros};

/// A running open loop; [`OpenLoop::stop`] ends it.
#[derive(Debug)]
pub struct OpenLoop {
    name: String,
    drivers: JoinSet<Option<()>>,
    deaths: Deaths,
    intervals: Intervals,
    rates: watch::Sender<Option<RateChange>>,
    stop: CancellationToken,
}

impl OpenLoop {
    /// Starts `op` as the arrivals of `config` say; of it only arrivals, ops in flight, drivers and seed matter. `alarm` makes
    /// each driver's clock: [`Alarm::exact`], or one that follows paused time. Must be called within a runtime.
    pub fn start<F>(
        name: &str,
        config: &LoadConfig,
        alarm: impl Fn() -> Alarm,
        op: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (rates, changes) = watch::channel(None);
        let deaths = Deaths::default();
        let stop = deaths.end();
        let (mut drivers, mut recorders) = (JoinSet::new(), Vec::new());
        for (number, (pace, _)) in (1..).zip(config.paces(1, Instant::now(), changes)) {
            let recorder = Arc::clone(&pace.recorder);
            recorders.push(Arc::clone(&recorder));
            let (op, alarm, stop) = (op.clone(), alarm(), stop.clone());
            let deaths = deaths.clone();
            let driver = async move {
                let counted = &*recorder;
                let next = |start: Start| {
                    let op = op();
                    async move {
                        let intended = start.begin(counted);
                        let began = Instant::now();
                        let outcome = op.await;
                        let ended = Instant::now();
                        (outcome, micros(ended - intended), micros(ended - began))
                    }
                };
                drive(pace, alarm, &stop, next, |(outcome, latency_us, service_us)| {
                    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
                    recorder.ended(Ended { kind: OpKind::Get, home: 0, outcome, latency_us, service_us });
                })
                .await;
            };
            drivers.spawn(async move { deaths.watch(format!("driver {number}"), driver).await });
        }
        let intervals = Intervals::new(recorders, 1);
        Self { name: name.to_owned(), drivers, deaths, intervals, rates, stop }
    }

    /// From now on all drivers together start so many ops/s.
    pub fn set_rate(&self, ops_per_s: f64) -> Result<(), RateError> {
        let rate = Rate::new(ops_per_s).ok_or(RateError::OutOfRange(ops_per_s))?;
        self.rates.send_replace(Some(RateChange { at: Instant::now(), ops_per_s: rate.ops_per_s() }));
        Ok(())
    }

    /// Ends a tick now; it tells what happened since the one before.
    pub fn end_tick(&mut self) -> Tick {
        let interval = self.intervals.end();
        interval.tick(0, vec![interval.recorded.servers[0].tick(&self.name)])
    }

    /// Waits until one of its drivers has died, which ends it.
    pub async fn died(&self) -> Died {
        self.deaths.first().await
    }

    /// Starts no more ops, and waits for those in flight, but 2 s at most.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // One that has died has told.
        while self.drivers.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::arrivals::Arrivals;

    #[tokio::test(start_paused = true)]
    async fn ops_are_started_at_the_rate_and_counted_from_their_intended_start() {
        let config = LoadConfig { arrivals: Arrivals::Constant(100.0), ..LoadConfig::default() };
        let op = || async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Outcome::Hit
        };
        let mut load = OpenLoop::start("it", &config, || Alarm::Tokio, op);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let tick = load.end_tick();
        assert!((998..=1_001).contains(&tick.offered), "{}", tick.offered);
        assert_eq!((tick.period_us, tick.dropped, tick.started), (10_000_000, 0, tick.offered));
        let server = &tick.servers[0];
        let p50 = server.latency.quantile_us(0.5).unwrap();
        assert!((29_500..=32_000).contains(&p50), "{p50}");
        load.set_rate(1_000.0).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let offered = load.end_tick().offered;
        assert!((990..=1_010).contains(&offered), "{offered}");
        assert!(load.set_rate(0.0).is_err());
        load.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_op_that_panics_ends_the_loop_and_its_driver_is_named() {
        let config = LoadConfig { arrivals: Arrivals::Constant(100.0), drivers: 1, ..LoadConfig::default() };
        let load = OpenLoop::start("it", &config, || Alarm::Tokio, || async { panic!("op 1") });
        let died = load.died().await;
        assert_eq!((died.task.as_str(), died.why.as_str()), ("driver 1", "op 1"));
        load.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_be_too_much_in_flight_is_dropped_and_counted() {
        let config = LoadConfig {
            arrivals: Arrivals::Constant(100.0),
            in_flight_max: 20,
            drivers: 1,
            ..LoadConfig::default()
        };
        let op = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Outcome::Timeout
        };
        let mut load = OpenLoop::start("it", &config, || Alarm::Tokio, op);
        tokio::time::sleep(Duration::from_millis(900)).await;
        let tick = load.end_tick();
        assert_eq!((tick.started, tick.dropped), (20, tick.offered - 20));
        load.stop().await;
    }
}
