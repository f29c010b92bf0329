//! A load with everything that it needs, before it begins.

use std::sync::{Arc, Mutex};

use alarm::Alarm;
use database::Database;
use observation::clock::RunClock;
use observation::hub::Hub;
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Load;
use super::config::LoadConfig;
use super::error::LoadError;
use super::hello;
use super::ticker::Ticker;
use crate::arrivals::pacer::{Pace, Start};
use crate::control::LoadControl;
use crate::deaths::Deaths;
use crate::driver::drive;
use crate::events::EventSink;
use crate::flight::FlightRecorder;
use crate::host::HostWatch;
use crate::intervals::Intervals;
use crate::keys::{KeySize, KeySpace, KeyTable};
use crate::look_aside::{self, ThroughCache};
use crate::metrics::Metrics;
use crate::mix::{Mix, OpKind};
use crate::op_log::OpLogThread;
use crate::oracles::Oracles;
use crate::planner::Planner;
use crate::prefill::{self, Prefilled};
use crate::recorder::Recorder;
use crate::recording::Recording;
use crate::shared::Shared;
use crate::target::{AnyTarget, Target};
use crate::ttl::Ttl;

/// Counters that `incr` draws from.
const COUNTER_KEYS: usize = 64;

/// A load that has not begun.
#[derive(Debug)]
pub struct Prepared {
    config: LoadConfig,
    hub: Hub,
    shared: Arc<Shared>,
    mix: Mix,
    /// What the client can do.
    ops: Vec<OpKind>,
    /// Names of the servers.
    names: Vec<String>,
    metrics: Arc<Mutex<Metrics>>,
    host: HostWatch,
    flights: FlightRecorder,
    op_log: Option<OpLogThread>,
    database: Option<Database>,
}

impl Prepared {
    pub(super) fn new(whole: &LoadConfig, target: AnyTarget, registry: &Registry) -> Result<Self, LoadError> {
        whole.validate()?;
        let config = whole.of_shard();
        let hello = hello::hello(&config, &target);
        let greeting = target.greeting();
        let names: Vec<String> = greeting.servers.into_iter().map(|server| server.name).collect();
        let mix = config.mix()?.only(&greeting.ops);
        let mix =
            mix.map_err(|what| LoadError::NothingLeft { what, driver: hello.settings.driver.to_string() })?;
        let instance = hello.instance.clone();
        let hub = Hub::new(hello, RunClock::start());
        let metrics = Arc::new(Mutex::new(Metrics::register(registry, &names)?));
        let host = HostWatch::register(hub.clone(), registry)?;
        let flights = FlightRecorder::new(config.flight_dir.clone(), instance.clone(), names.clone());
        let events = EventSink::new(hub.clone(), names.clone(), Arc::clone(&metrics), flights.clone());
        target.observe(Arc::new(events.clone()));
        target.register(registry)?;
        let op_log = op_log(&config, instance, &names)?;
        let table = KeyTable::of_shard("lg:k:", whole.keys, config.key_size, config.shard)?;
        let counters = KeyTable::of_shard("lg:c:", COUNTER_KEYS, KeySize::Short, config.shard)?;
        // Versions grow over restarts too, as long as fewer than half a million a second are written.
        let first = observation::clock::wall_ms() << 10;
        let shared = Arc::new(Shared {
            target,
            oracles: Oracles::new(first, table.len(), counters.len(), greeting.acknowledges),
            table,
            counters,
            value_size: config.value_size,
            ttl: Ttl::new(config.ttl, config.ttl_jitter),
            events,
            op_log: op_log.as_ref().map(OpLogThread::log),
            deaths: Deaths::default(),
        });
        let database = config.look_aside.map(|setup| Database::start(setup.database)).transpose()?;
        let ops = greeting.ops;
        Ok(Self { config, hub, shared, mix, ops, names, metrics, host, flights, op_log, database })
    }

    /// Where the observation stream comes from.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Writes every key once, unless `stop` comes before; says once a second and at the end how far it is.
    pub async fn prefill(&self, stop: &CancellationToken, report: impl FnMut(Prefilled)) -> Prefilled {
        let aged = self.config.look_aside.is_some();
        prefill::run(&self.shared, self.config.shard.seed(self.config.seed), aged, stop, report).await
    }

    /// Begins. Must be called within a tokio runtime.
    pub fn start(self) -> Load {
        let Self { config, hub, shared, mix, ops, names, metrics, host, flights, op_log, database } = self;
        let control = LoadControl::new(config.arrivals, config.profile.clone(), Arc::new(mix), ops);
        let control = if config.look_aside.is_some() { control.of_requests() } else { control };
        let mut recorders = Vec::new();
        let look_aside = config.look_aside.zip(database).map(|(setup, database)| {
            let recorder = Arc::new(Mutex::new(Recorder::new(names.len())));
            let through = look_aside::through(&shared, &recorder, database, setup, config.seed);
            recorders.push(recorder);
            through
        });
        let deaths = &shared.deaths;
        let stop = deaths.end();
        let mut drivers = JoinSet::new();
        let planners = planners(&config, &shared, &control, look_aside.as_ref(), names.len());
        for (number, (planner, pace)) in (1..).zip(planners) {
            recorders.push(Arc::clone(&pace.recorder));
            let (driver, deaths) = (run_driver(planner, pace, stop.clone()), deaths.clone());
            drivers.spawn(async move { deaths.watch(format!("driver {number}"), driver).await });
        }
        let ticker_stop = CancellationToken::new();
        let intervals = Intervals::new(recorders, names.len());
        let ticker = Ticker {
            hub: hub.clone(),
            target: shared.target.clone(),
            names,
            metrics,
            rate: control.target(),
            op_log: op_log.as_ref().map(OpLogThread::log),
            warm_up: config.warm_up,
            database: look_aside.as_ref().map(|through| look_aside::Watch::new(through.database().clone())),
        };
        let (ticking, watched) = (ticker.run(intervals, ticker_stop.clone()), deaths.clone());
        let ticker = tokio::spawn(async move { watched.watch("the ticker", ticking).await });
        let (looking, watched) = (host.run(ticker_stop.clone()), deaths.clone());
        tokio::spawn(async move { watched.watch("the look at this machine", looking).await });
        Load { hub, stop, drivers, ticker, ticker_stop, control, flights, op_log, look_aside, shared }
    }
}

/// What each driver plans, and when it starts it.
fn planners(
    config: &LoadConfig,
    shared: &Arc<Shared>,
    control: &LoadControl,
    look_aside: Option<&ThroughCache>,
    servers: usize,
) -> impl Iterator<Item = (Planner, Pace)> {
    let drivers = config.driver_count();
    config.paces(servers, control.started(), control.rates()).enumerate().map(move |(driver, (pace, rng))| {
        let keys = KeySpace {
            keys: config.keys,
            hot_keys: config.hot_keys(),
            hot_share: config.hot_share,
            driver,
            drivers,
        };
        let planner = Planner {
            shared: Arc::clone(shared),
            mix: control.mix(),
            mixes: control.mixes(),
            rng,
            keys: config.key_dist.source(keys),
            look_aside: look_aside.cloned(),
        };
        (planner, pace)
    })
}

/// Makes one driver's part of the load until `stop`.
async fn run_driver(mut planner: Planner, pace: Pace, stop: CancellationToken) {
    let shared = Arc::clone(&planner.shared);
    let mut recording = Recording::new(Arc::clone(&shared), Arc::clone(&pace.recorder));
    let (target, recorder) = (&shared.target, Arc::clone(&pace.recorder));
    let recorder = &*recorder;
    let next = |start: Start| {
        let next = planner.next();
        async move { next.run(target, start.begin(recorder)).await }
    };
    drive(pace, Alarm::exact(), &stop, next, |ended| recording.record(&ended)).await;
}

fn op_log(
    config: &LoadConfig,
    instance: String,
    servers: &[String],
) -> Result<Option<OpLogThread>, LoadError> {
    let Some(path) = &config.op_log else { return Ok(None) };
    let head = hello::op_log_head(config, instance, servers);
    let started = OpLogThread::start(path, &head);
    started.map(Some).map_err(|error| LoadError::OpLog { path: path.clone(), error })
}
