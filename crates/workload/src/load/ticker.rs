//! The ticker of a running load: turns what its drivers recorded into the observation stream and the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use observation::hub::Hub;
use observation::{BreakerState, Event, EventKind, Outcome, Record, ServerTick};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::control::TargetRate;
use crate::intervals::{Interval, Intervals};
use crate::limit::LimitWatch;
use crate::look_aside;
use crate::metrics::Metrics;
use crate::op_log::OpLog;
use crate::recorder::Recorder;
use crate::target::{AnyTarget, ServerStats, Target};

/// Length of a tick.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Ticker {
    pub(super) hub: Hub,
    pub(super) target: AnyTarget,
    /// Names of the servers.
    pub(super) names: Vec<String>,
    pub(super) metrics: Arc<Mutex<Metrics>>,
    pub(super) rate: TargetRate,
    pub(super) op_log: Option<OpLog>,
    pub(super) warm_up: Duration,
    pub(super) database: Option<look_aside::Watch>,
}

/// What is left at the end.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) counted: Recorder,
    /// Begin of what is counted; `None`: the load ended within its warm-up.
    pub(super) since: Option<Instant>,
    pub(super) warm_up_wrong_values: u64,
}

impl Totals {
    /// Adds an interval of a load that began at `began`.
    fn add(&mut self, interval: &Interval<'_>, began: Instant, warm_up: Duration) {
        if self.since.is_some() {
            self.counted.add(interval.recorded);
            return;
        }
        self.warm_up_wrong_values += interval.recorded.outcomes().get(Outcome::WrongValue);
        if interval.ended.saturating_duration_since(began) >= warm_up {
            self.since = Some(interval.ended);
        }
    }
}

impl Ticker {
    /// Ticks until `stop`, once more after it, and gives the totals.
    pub(super) async fn run(mut self, mut intervals: Intervals, stop: CancellationToken) -> Totals {
        let began = Instant::now();
        let mut totals = Totals {
            counted: Recorder::new(self.names.len()),
            since: self.warm_up.is_zero().then_some(began),
            warm_up_wrong_values: 0,
        };
        let mut limit = LimitWatch::default();
        let mut before = self.target.stats();
        let mut timer = tokio::time::interval_at(began + TICK, TICK);
        // A late tick is longer, never doubled.
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Not the rate of now: a change may have come before this task first ran, and must be told.
        let mut rate = self.rate.first();
        self.metrics().set_target_rate(rate);
        loop {
            let stopping = tokio::select! {
                _ = timer.tick() => false,
                () = stop.cancelled() => true,
            };
            let interval = intervals.end();
            let stats = self.target.stats();
            self.publish(&interval, &stats, &before);
            self.tell_limit(&interval, &mut limit);
            rate = self.follow(rate, interval.ended);
            totals.add(&interval, began, self.warm_up);
            before = stats;
            if stopping {
                return totals;
            }
        }
    }

    /// Tells when the rate has changed.
    fn follow(&self, from: f64, now: Instant) -> f64 {
        let to = self.rate.at(now);
        if from != to {
            self.metrics().set_target_rate(to);
            self.publish_event(now, EventKind::Rate { from, to });
        }
        to
    }

    /// `before`: the servers at the begin of the interval.
    fn publish(&mut self, interval: &Interval<'_>, stats: &[ServerStats], before: &[ServerStats]) {
        let recorded = interval.recorded;
        {
            let mut metrics = self.metrics();
            metrics.tick(recorded, interval.period.as_secs_f64());
            if let Some(log) = &self.op_log {
                metrics.set_op_log(log.report());
            }
            for (index, server) in stats.iter().enumerate() {
                metrics.set_in_flight(index, server.in_flight);
            }
        }
        let at_us = self.hub.clock().at(interval.ended);
        let servers = self.names.iter().zip(&recorded.servers).zip(stats.iter().zip(before));
        let servers =
            servers.map(|((name, record), (stats, before))| with_stats(record.tick(name), stats, before));
        self.hub.publish(&Record::Tick(interval.tick(at_us, servers.collect())));
        if let Some(watch) = &mut self.database {
            let record = watch.record(at_us, interval.period, recorded);
            self.metrics().requests(&record);
            self.hub.publish(&Record::LookAside(record));
        }
    }

    fn tell_limit(&self, interval: &Interval<'_>, limit: &mut LimitWatch) {
        if let Some(event) = limit.tick(interval.recorded) {
            tracing::warn!(?event, "the generator was the limit");
            self.publish_event(interval.ended, event);
        }
    }

    fn publish_event(&self, at: Instant, event: EventKind) {
        self.hub.publish(&Record::Event(Event { at_us: self.hub.clock().at(at), server: None, event }));
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what the target knows of a server to what was recorded of it. Bytes are those since `before`.
fn with_stats(tick: ServerTick, stats: &ServerStats, before: &ServerStats) -> ServerTick {
    ServerTick {
        bytes_in: stats.bytes_read.saturating_sub(before.bytes_read),
        bytes_out: stats.bytes_written.saturating_sub(before.bytes_written),
        in_flight: stats.in_flight,
        pool: stats.pool.unwrap_or_default(),
        breaker: stats.breaker.unwrap_or(BreakerState::Closed),
        ..tick
    }
}
