//! A running load: the client, its drivers, and the ticker that turns their records into the observation stream
//! and the metrics.

mod error;
mod prepare;

pub use error::LoadError;
pub use prepare::Prepared;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memcache_client::{Client, ServerAddr, ServerStats};
use observation::clock::RunClock;
use observation::hub::Hub;
use observation::{Event, EventKind, Outcome, Record, Tick};
use prometheus::Registry;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::arrivals::pacer::{Pace, RateChanges};
use crate::arrivals::{Arrivals, Profile, Schedule};
use crate::control::{ControlError, LoadControl, Target};
use crate::convert;
use crate::driver::{Driver, Shared};
use crate::events::EventSink;
use crate::flight::FlightRecorder;
use crate::host::HostWatch;
use crate::keys::{KeyDist, KeySize, KeySpace, KeyTable};
use crate::look_aside::{self, Flushed, ThroughCache};
use crate::metrics::Metrics;
use crate::mix::{Mix, OpKind};
use crate::op_log::{OpLog, OpLogThread};
use crate::oracles::Oracles;
use crate::prefill::{self, Prefilled};
use crate::recorder::{Latency, Recorder, add_latency, latency, sparse};
use crate::recording::Recording;
use crate::shard::Shard;
use crate::sizes::ValueSize;
use crate::summary::Summary;
use crate::ttl::{Jitter, Ttl};

/// Length of a tick.
const TICK: Duration = Duration::from_millis(100);
/// Ticks of the window in which a generator is judged to be the limit.
const OVERLOAD_TICKS: u64 = 10;
/// Share of starts that may be late or dropped before the generator says that it was the limit.
pub(crate) const OVERLOAD_SHARE: f64 = 0.001;
/// Lag of the 99th percentile of starts, µs, above which the generator says that it was the limit.
pub(crate) const OVERLOAD_LAG_US: u64 = 5_000;
/// Counters that `incr` draws from.
const COUNTER_KEYS: usize = 64;

/// Everything that says what load to make.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Open or closed loop, and the rate.
    pub arrivals: Arrivals,
    /// Open loop: rates that replace the one of `arrivals`, one after the other; none start after the last.
    pub profile: Option<Profile>,
    /// Open loop: start what is behind however late, instead of dropping what is more than 100 ms behind.
    pub catch_up: bool,
    /// Ops in flight at most, over all drivers. In a closed loop: the number of workers.
    pub in_flight_max: usize,
    /// Parallel driver tasks; one a core is enough.
    pub drivers: usize,
    /// Name of the mix, see [`crate::mix::PRESETS`].
    pub workload: String,
    /// A mix of its own, in place of the named one.
    pub mix: Option<Mix>,
    /// Number of keys.
    pub keys: usize,
    /// How long keys are.
    pub key_size: KeySize,
    /// How requests are spread over the keys.
    pub key_dist: KeyDist,
    /// Number of hot keys; matters to [`KeyDist::Hot`].
    pub hot_keys: usize,
    /// Share (0-1) of requests that go to the hot keys; matters to [`KeyDist::Hot`].
    pub hot_share: f64,
    /// How long values are.
    pub value_size: ValueSize,
    /// Time to live of written values; `None`: for ever.
    pub ttl: Option<Duration>,
    /// How far times to live differ from it.
    pub ttl_jitter: Jitter,
    /// The same seed draws the same ops, keys, sizes and arrivals.
    pub seed: u64,
    /// Which part of the load is made here; everything else here describes the whole.
    pub shard: Shard,
    /// Load is made for so long before it counts in the summary.
    pub warm_up: Duration,
    /// The workload `look-aside`: requests for keys through the cache to this database, in place of the mix.
    pub look_aside: Option<::look_aside::Setup>,
    /// Where the last ops before a violation are written; `None`: nowhere.
    pub flight_dir: Option<PathBuf>,
    /// Where every op is written; `None`: nowhere.
    pub op_log: Option<PathBuf>,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            arrivals: Arrivals::Closed,
            profile: None,
            catch_up: false,
            in_flight_max: 100,
            drivers: 4,
            workload: "mixed".to_owned(),
            mix: None,
            keys: 10_000,
            key_size: KeySize::Short,
            key_dist: KeyDist::Hot,
            hot_keys: 10,
            hot_share: 0.3,
            value_size: ValueSize::Uniform { min: 64, max: 512 },
            ttl: Some(Duration::from_secs(300)),
            ttl_jitter: Jitter::NONE,
            seed: 1,
            shard: Shard::WHOLE,
            warm_up: Duration::ZERO,
            look_aside: None,
            flight_dir: None,
            op_log: None,
        }
    }
}

impl LoadConfig {
    /// Checks what a user may have mistyped; [`Load::start`] does it too.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.mix()?;
        if let Some(setup) = &self.look_aside {
            setup.database.validate()?;
            setup.policy.validate()?;
        }
        if self.shard != Shard::WHOLE && self.keys < self.shard.count() as usize {
            return Err(LoadError::TooFewKeys { keys: self.keys, shards: self.shard.count() });
        }
        Ok(())
    }

    /// This shard's part of the rate, the concurrency and the keys.
    fn of_shard(&self) -> Self {
        Self {
            arrivals: self.shard.arrivals(self.arrivals),
            profile: self.profile.as_ref().map(|profile| profile.share(self.shard.count())),
            in_flight_max: self.shard.part(self.in_flight_max),
            keys: self.shard.part(self.keys),
            hot_keys: self.shard.part(self.hot_keys),
            ..self.clone()
        }
    }

    /// Tasks that make the load; none without an op to run.
    fn driver_count(&self) -> usize {
        self.drivers.clamp(1, self.in_flight_max.max(1))
    }

    fn mix(&self) -> Result<Mix, LoadError> {
        if self.look_aside.is_some() {
            return Ok(OpKind::Get.into());
        }
        let named = || Mix::preset(&self.workload);
        self.mix.clone().or_else(named).ok_or_else(|| LoadError::UnknownWorkload(self.workload.clone()))
    }

    /// Which ops, as it was written: a preset's name or a mix.
    pub(crate) fn ops(&self) -> String {
        match self.look_aside {
            Some(_) => look_aside::NAME.to_owned(),
            None => self.mix.as_ref().map_or_else(|| self.workload.clone(), Mix::to_string),
        }
    }
}

/// A load that is running; [`Load::stop`] ends it.
#[derive(Debug)]
pub struct Load {
    hub: Hub,
    client: Client,
    stop: CancellationToken,
    drivers: JoinSet<()>,
    ticker: tokio::task::JoinHandle<Totals>,
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
        client_config: memcache_client::Config,
        servers: Vec<ServerAddr>,
        registry: &Registry,
    ) -> Result<Self, LoadError> {
        Self::prepare(config, client_config, servers, registry).map(Prepared::start)
    }

    /// Makes everything ready, and no load yet.
    pub fn prepare(
        config: &LoadConfig,
        client_config: memcache_client::Config,
        servers: Vec<ServerAddr>,
        registry: &Registry,
    ) -> Result<Prepared, LoadError> {
        Prepared::new(config, client_config, servers, registry)
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

    /// Stops starting ops, lets those in flight end, closes the client and sums up.
    pub async fn stop(mut self) -> Summary {
        self.stop.cancel();
        while let Some(ended) = self.drivers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a driver died; its ops are missing from the totals");
            }
        }
        let ended = Instant::now();
        self.ticker_stop.cancel();
        let totals = self.ticker.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the ticker died; there are no totals");
            Totals { counted: Recorder::new(0), since: None, warm_up_wrong_values: 0 }
        });
        self.client.close().await;
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
        }
    }
}

fn build_drivers(
    config: &LoadConfig,
    shared: &Arc<Shared>,
    control: &LoadControl,
    look_aside: Option<&ThroughCache>,
    servers: usize,
) -> impl Iterator<Item = (Driver, Pace)> {
    let drivers = config.driver_count();
    paces(config, servers, control.started(), control.rates()).enumerate().map(
        move |(driver, (pace, rng))| {
            let keys = KeySpace {
                keys: config.keys,
                hot_keys: config.hot_keys,
                hot_share: config.hot_share,
                driver,
                drivers,
            };
            let keys = config.key_dist.source(keys);
            let driver = Driver {
                shared: Arc::clone(shared),
                mix: control.mix(),
                mixes: control.mixes(),
                rng,
                keys,
                look_aside: look_aside.cloned(),
                recording: Recording::new(Arc::clone(shared), Arc::clone(&pace.recorder)),
            };
            (driver, pace)
        },
    )
}

/// When each of the drivers starts ops, and its random source for everything else.
pub(crate) fn paces(
    config: &LoadConfig,
    servers: usize,
    start: Instant,
    rates: RateChanges,
) -> impl Iterator<Item = (Pace, ChaCha8Rng)> {
    let count = config.driver_count();
    let arrivals = config.arrivals.share(count);
    let share = 1.0 / count as f64;
    (0..count).map(move |index| {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(config.shard.stream(index));
        let schedule_rng = ChaCha8Rng::from_rng(&mut rng);
        let phase = index as f64 / count as f64 + rng.random::<f64>() * 1e-9;
        let mut schedule = Schedule::new(arrivals, start, phase, schedule_rng);
        if let (Some(schedule), Some(profile)) = (&mut schedule, &config.profile) {
            schedule.follow(profile, share, start);
        }
        let pace = Pace {
            schedule,
            // The remainder goes to the first drivers, so that the sum is exact.
            in_flight_max: config.in_flight_max / count + usize::from(index < config.in_flight_max % count),
            catch_up: config.catch_up,
            share,
            rates: rates.clone(),
            recorder: Arc::new(Mutex::new(Recorder::new(servers))),
        };
        (pace, rng)
    })
}

struct Ticker {
    hub: Hub,
    client: Client,
    names: Vec<String>,
    recorders: Vec<Arc<Mutex<Recorder>>>,
    metrics: Arc<Mutex<Metrics>>,
    target: Target,
    op_log: Option<OpLog>,
    config: LoadConfig,
    database: Option<look_aside::Watch>,
}

/// What is left at the end.
#[derive(Debug)]
struct Totals {
    counted: Recorder,
    /// Begin of what is counted; `None`: the load ended within its warm-up.
    since: Option<Instant>,
    warm_up_wrong_values: u64,
}

impl Totals {
    /// Adds an interval that lasted until `now`, of a load that began at `began`.
    fn add(&mut self, interval: &Recorder, now: Instant, began: Instant, warm_up: Duration) {
        if self.since.is_some() {
            self.counted.add(interval);
            return;
        }
        self.warm_up_wrong_values += interval.outcomes().get(Outcome::WrongValue);
        if now.saturating_duration_since(began) >= warm_up {
            self.since = Some(now);
        }
    }
}

impl Ticker {
    /// Ticks until `stop`, once more after it, and gives the totals.
    async fn run(mut self, stop: CancellationToken) -> Totals {
        let began = Instant::now();
        let warm_up = self.config.warm_up;
        let mut totals = Totals {
            counted: Recorder::new(self.names.len()),
            since: warm_up.is_zero().then_some(began),
            warm_up_wrong_values: 0,
        };
        let mut interval = Recorder::new(self.names.len());
        let mut spare = Recorder::new(self.names.len());
        let mut overload = Overload::default();
        let mut before = self.client.stats();
        let mut last = Instant::now();
        let mut timer = tokio::time::interval_at(last + TICK, TICK);
        // A late tick is longer, never doubled.
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Not the rate of now: a change may have come before this task first ran, and must be told.
        let mut target = self.target.first();
        self.metrics().set_target_rate(target);
        loop {
            let stopping = tokio::select! {
                _ = timer.tick() => false,
                () = stop.cancelled() => true,
            };
            interval.clear();
            for recorder in &self.recorders {
                std::mem::swap(&mut *recorder.lock().unwrap_or_else(PoisonError::into_inner), &mut spare);
                interval.add(&spare);
                spare.clear();
            }
            let now = Instant::now();
            let stats = self.client.stats();
            let moment = Moment { now, period: now - last, before };
            self.publish(&interval, &stats, &moment, &mut overload);
            target = self.follow(target, now);
            before = stats;
            last = now;
            totals.add(&interval, now, began, warm_up);
            if stopping {
                return totals;
            }
        }
    }

    /// Tells when the rate has changed.
    fn follow(&self, from: f64, now: Instant) -> f64 {
        let to = self.target.at(now);
        if from != to {
            self.metrics().set_target_rate(to);
            let event = EventKind::Rate { from, to };
            self.hub.publish(&Record::Event(Event { at_us: self.hub.clock().at(now), server: None, event }));
        }
        to
    }

    fn publish(
        &mut self,
        interval: &Recorder,
        stats: &[ServerStats],
        moment: &Moment,
        overload: &mut Overload,
    ) {
        {
            let mut metrics = self.metrics();
            metrics.tick(interval, moment.period.as_secs_f64());
            if let Some(log) = &self.op_log {
                metrics.set_op_log(log.report());
            }
            for (index, server) in stats.iter().enumerate() {
                metrics.set_in_flight(index, server.in_flight);
            }
        }
        let at_us = self.hub.clock().at(moment.now);
        let servers = self.names.iter().zip(&interval.servers).zip(stats.iter().zip(&moment.before));
        let tick = Tick {
            at_us,
            period_us: moment.period.as_micros() as u64,
            offered: interval.offered,
            started: interval.started,
            late: interval.late,
            late_1ms: interval.late_1ms,
            dropped: interval.dropped,
            lag: sparse(&interval.lag),
            servers: servers
                .map(|((name, record), (stats, before))| {
                    convert::with_stats(record.tick(name), stats, before)
                })
                .collect(),
        };
        self.hub.publish(&Record::Tick(tick));
        if let Some(watch) = &mut self.database {
            let record = watch.record(at_us, moment.period, interval);
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).requests(&record);
            self.hub.publish(&Record::LookAside(record));
        }
        if let Some(event) = overload.tick(interval) {
            tracing::warn!(?event, "the generator was the limit");
            self.hub.publish(&Record::Event(Event { at_us, server: None, event }));
        }
    }

    fn metrics(&self) -> std::sync::MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a tick ends, how long it was, and what the client's counters were at its begin.
struct Moment {
    now: Instant,
    period: Duration,
    before: Vec<ServerStats>,
}

/// Says once a second whether the generator was the limit.
#[derive(Debug)]
struct Overload {
    ticks: u64,
    offered: u64,
    missed: u64,
    lag: Latency,
}

impl Default for Overload {
    fn default() -> Self {
        Self { ticks: 0, offered: 0, missed: 0, lag: latency() }
    }
}

impl Overload {
    fn tick(&mut self, interval: &Recorder) -> Option<EventKind> {
        self.ticks += 1;
        self.offered += interval.offered;
        self.missed += interval.late + interval.dropped;
        add_latency(&mut self.lag, &interval.lag);
        if self.ticks < OVERLOAD_TICKS {
            return None;
        }
        let (offered, missed) = (self.offered, self.missed);
        let lag_p99_us = if self.lag.is_empty() { 0 } else { self.lag.value_at_quantile(0.99) };
        (self.ticks, self.offered, self.missed) = (0, 0, 0);
        self.lag.reset();
        let limit = missed as f64 > offered as f64 * OVERLOAD_SHARE || lag_p99_us > OVERLOAD_LAG_US;
        limit.then_some(EventKind::Overload { missed, offered, lag_p99_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event of one second whose first tick missed so many of 10 000 starts, the others being so far behind.
    fn second(overload: &mut Overload, missed: u64, lag: Duration) -> Option<EventKind> {
        let events: Vec<EventKind> = (0..10)
            .filter_map(|tick| {
                let mut interval = Recorder::new(1);
                (interval.offered, interval.dropped) = (1_000, if tick == 0 { missed } else { 0 });
                interval.started(Some(lag));
                overload.tick(&interval)
            })
            .collect();
        assert!(events.len() <= 1, "{events:?}");
        events.into_iter().next()
    }

    #[test]
    fn the_generator_says_when_more_than_one_in_a_thousand_starts_was_missed() {
        let mut overload = Overload::default();
        let soon = Duration::from_micros(10);
        assert_eq!(second(&mut overload, 10, soon), None);
        assert_eq!(second(&mut overload, 0, soon), None);
        let event = EventKind::Overload { missed: 11, offered: 10_000, lag_p99_us: 10 };
        assert_eq!(second(&mut overload, 11, soon), Some(event));
        assert_eq!(second(&mut overload, 10, soon), None);
    }

    #[test]
    fn the_generator_says_when_its_starts_lie_behind() {
        let mut overload = Overload::default();
        assert_eq!(second(&mut overload, 0, Duration::from_micros(4_900)), None);
        let Some(EventKind::Overload { missed: 0, lag_p99_us, .. }) =
            second(&mut overload, 0, Duration::from_micros(5_200))
        else {
            panic!("5.2 ms are too far behind");
        };
        assert!((5_150..=5_250).contains(&lag_p99_us), "{lag_p99_us}");
        assert_eq!(second(&mut overload, 0, Duration::ZERO), None);
    }

    fn nobody() -> Vec<ServerAddr> {
        vec![ServerAddr { name: "a".to_owned(), addr: "127.0.0.1:1".to_owned() }]
    }

    fn start(config: &LoadConfig) -> Load {
        Load::start(config, memcache_client::Config::default(), nobody(), &Registry::new()).unwrap()
    }

    #[tokio::test]
    async fn a_new_rate_reaches_all_drivers_of_a_running_load() {
        let config = LoadConfig { arrivals: Arrivals::Constant(0.01), ..LoadConfig::default() };
        let load = start(&config);
        assert_eq!(load.set_rate(0.0), Err(crate::RateError::OutOfRange(0.0).into()));
        load.set_rate(2_000.0).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let summary = load.stop().await;
        // At the first rate there would be none at all.
        assert!(summary.totals.offered >= 900, "{}", summary.totals.offered);
        let closed = start(&LoadConfig::default());
        assert_eq!(closed.set_rate(10.0), Err(crate::RateError::ClosedLoop.into()));
        closed.stop().await;
    }

    #[tokio::test]
    async fn a_profile_starts_what_it_says_over_all_drivers_and_then_nothing() {
        let profile: Profile = "500/200ms,2000/300ms".parse().unwrap();
        let arrivals = Arrivals::Constant(profile.first().ops_per_s());
        let load = start(&LoadConfig { arrivals, profile: Some(profile), ..LoadConfig::default() });
        tokio::time::sleep(Duration::from_millis(800)).await;
        let offered = load.stop().await.totals.offered;
        // A multi-get counts as its keys, so the mix makes it more than the 700 of the schedule.
        assert!((690..=7_000).contains(&offered), "{offered}");
    }
}
