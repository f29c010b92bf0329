//! A load with everything that it needs, before it begins.

use database::Database;

use super::*;

/// A load that has not begun.
#[derive(Debug)]
pub struct Prepared {
    config: LoadConfig,
    hub: Hub,
    client: Client,
    shared: Arc<Shared>,
    mix: Arc<Mix>,
    has_touch: bool,
    names: Vec<String>,
    metrics: Arc<Mutex<Metrics>>,
    host: HostWatch,
    flights: FlightRecorder,
    op_log: Option<OpLogThread>,
    database: Option<Database>,
}

impl Prepared {
    pub(super) fn new(
        config: &LoadConfig,
        client_config: memcache_client::Config,
        servers: Vec<ServerAddr>,
        registry: &Registry,
    ) -> Result<Self, LoadError> {
        config.validate()?;
        let whole = config;
        let config = &config.of_shard();
        let client_config =
            memcache_client::Config { seed: config.shard.seed(client_config.seed), ..client_config };
        let mut mix = config.mix()?;
        let has_touch = client_config.codec.has_touch();
        if !has_touch {
            mix = mix.without(OpKind::Touch).ok_or_else(|| LoadError::OnlyTouch {
                mix: config.ops(),
                driver: client_config.codec.name(),
            })?;
        }
        let names: Vec<String> = servers.iter().map(|server| server.name.clone()).collect();
        // The second codec's writes are sent without asking for an answer.
        let acknowledged = client_config.codec != memcache_client::Codec::MemcacheAsync;
        let clock = RunClock::start();
        let hello = convert::hello(config, &client_config, &servers);
        let instance = hello.instance.clone();
        let hub = Hub::new(hello, clock);
        let metrics = Arc::new(Mutex::new(Metrics::register(registry, &names)?));
        let host = HostWatch::register(hub.clone(), registry)?;
        let flights = FlightRecorder::new(config.flight_dir.clone(), instance.clone(), names.clone());
        let events = EventSink::new(hub.clone(), names.clone(), Arc::clone(&metrics), flights.clone());
        let client = Client::new(servers, client_config, Arc::new(events.clone()))?;
        memcache_client::metrics::register(registry, &client)?;
        let table = KeyTable::of_shard("lg:k:", whole.keys, config.key_size, config.shard)?;
        let counters = KeyTable::of_shard("lg:c:", COUNTER_KEYS, KeySize::Short, config.shard)?;
        // Versions grow over restarts too, as long as fewer than half a million a second are written.
        let first = observation::clock::wall_ms() << 10;
        let op_log = op_log(config, instance, &names)?;
        let shared = Arc::new(Shared {
            client: client.clone(),
            oracles: Oracles::new(first, table.len(), counters.len(), acknowledged),
            table,
            counters,
            value_size: config.value_size,
            ttl: Ttl::new(config.ttl, config.ttl_jitter),
            events,
            op_log: op_log.as_ref().map(OpLogThread::log),
        });

        let database = config.look_aside.map(|setup| Database::start(setup.database)).transpose()?;
        let config = config.clone();
        let mix = Arc::new(mix);
        Ok(Prepared {
            config,
            hub,
            client,
            shared,
            mix,
            has_touch,
            names,
            metrics,
            host,
            flights,
            op_log,
            database,
        })
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
        let Self {
            config,
            hub,
            client,
            shared,
            mix,
            has_touch,
            names,
            metrics,
            host,
            flights,
            op_log,
            database,
        } = self;
        let control = LoadControl::new(config.arrivals, config.profile.clone(), mix, has_touch);
        let control = if config.look_aside.is_some() { control.of_requests() } else { control };
        let stop = CancellationToken::new();
        let mut drivers = JoinSet::new();
        let mut recorders = Vec::new();
        let look_aside = config.look_aside.zip(database).map(|(setup, database)| {
            let recorder = Arc::new(Mutex::new(Recorder::new(names.len())));
            let through = look_aside::through(&shared, &recorder, database, setup, config.seed);
            recorders.push(recorder);
            through
        });
        for (driver, pace) in build_drivers(&config, &shared, &control, look_aside.as_ref(), names.len()) {
            recorders.push(Arc::clone(&driver.recording.recorder));
            drivers.spawn(driver.run(pace, stop.clone()));
        }
        let ticker_stop = CancellationToken::new();
        let ticker = Ticker {
            hub: hub.clone(),
            client: client.clone(),
            names,
            recorders,
            metrics,
            target: control.target(),
            op_log: op_log.as_ref().map(OpLogThread::log),
            config,
            database: look_aside.as_ref().map(|through| look_aside::Watch::new(through.database().clone())),
        };
        let ticker = tokio::spawn(ticker.run(ticker_stop.clone()));
        tokio::spawn(host.run(ticker_stop.clone()));
        Load { hub, client, stop, drivers, ticker, ticker_stop, control, flights, op_log, look_aside, shared }
    }
}

fn op_log(
    config: &LoadConfig,
    instance: String,
    servers: &[String],
) -> Result<Option<OpLogThread>, LoadError> {
    let Some(path) = &config.op_log else { return Ok(None) };
    let head = convert::op_log_head(config, instance, servers);
    let started = OpLogThread::start(path, &head);
    started.map(Some).map_err(|error| LoadError::OpLog { path: path.clone(), error })
}
