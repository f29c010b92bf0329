//! What load is made on: servers through the client, a simulated database in this process, or nothing at all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use database::{Database, QueryError, Service};
use observation::{Outcome, Tick};
use tokio::sync::mpsc;
use tokio::time::Instant;
use workload::{Alarm, Load, LoadConfig, OpenLoop};

/// Length of a tick of what is in this process.
const TICK: Duration = Duration::from_millis(100);

/// A subject without a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Every op ends at once.
    Null,
    /// A simulated database.
    Database {
        /// Queries that are served at once.
        workers: usize,
        /// How long each takes.
        service: Service,
    },
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write null, or WORKERSxTIME such as 5x20ms (5x20ms:constant: no spread)".to_owned();
        if text == "null" {
            return Ok(Backend::Null);
        }
        let (size, kind) = text.split_once(':').unwrap_or((text, "exponential"));
        let (workers, time) = size.split_once('x').ok_or_else(wrong)?;
        let workers = workers.parse().map_err(|_| wrong())?;
        let time = humantime::parse_duration(time).map_err(|_| wrong())?;
        let service = match kind {
            "exponential" => Service::Exponential(time),
            "constant" => Service::Constant(time),
            _ => return Err(wrong()),
        };
        let config = database::Config { workers, service, ..database::Config::default() };
        config.validate().map_err(|error| error.to_string())?;
        Ok(Backend::Database { workers, service })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Null => f.write_str("nothing: every op ends at once"),
            Backend::Database { workers, service } => {
                let kind = match service {
                    Service::Constant(_) => "always",
                    Service::Exponential(_) => "on average",
                };
                let time = humantime::format_duration(service.mean());
                write!(f, "a simulated database of {workers} workers, {time} a query {kind}")
            }
        }
    }
}

/// Something that takes load at a rate that can be changed.
#[derive(Debug)]
pub enum Subject {
    /// Servers.
    Servers {
        /// The load.
        load: Box<Load>,
        /// Its ticks.
        ticks: mpsc::Receiver<Tick>,
    },
    /// In this process.
    Inside {
        /// The load.
        load: Box<OpenLoop>,
        /// Whose queue is seen.
        database: Option<Database>,
        /// End of the tick that runs.
        next: Instant,
    },
}

impl Subject {
    /// Starts load on a backend; a query is given up after `patience`.
    pub fn inside(
        backend: Backend,
        patience: Duration,
        config: &LoadConfig,
        alarm: impl Fn() -> Alarm,
    ) -> anyhow::Result<Self> {
        let next = Instant::now() + TICK;
        let Backend::Database { workers, service } = backend else {
            let load = OpenLoop::start("null", config, alarm, || async { Outcome::Hit });
            return Ok(Subject::Inside { load: Box::new(load), database: None, next });
        };
        let settings =
            database::Config { workers, service, seed: config.seed, ..database::Config::default() };
        let database = Database::start(settings)?;
        let asked = database.clone();
        let load = OpenLoop::start("database", config, alarm, move || {
            let asked = asked.clone();
            async move {
                match asked.query(patience).await {
                    Ok(()) => Outcome::Hit,
                    Err(QueryError::Refused) => Outcome::ServerError,
                    Err(QueryError::TimedOut) => Outcome::Timeout,
                }
            }
        });
        Ok(Subject::Inside { load: Box::new(load), database: Some(database), next })
    }

    /// From now on so many ops/s.
    pub fn set_rate(&self, ops_per_s: f64) -> anyhow::Result<()> {
        match self {
            Subject::Servers { load, .. } => load.set_rate(ops_per_s).map_err(Into::into),
            Subject::Inside { load, .. } => load.set_rate(ops_per_s).map_err(Into::into),
        }
    }

    /// What happened in the next tenth of a second. May be dropped and called again.
    pub async fn tick(&mut self) -> anyhow::Result<Tick> {
        match self {
            Subject::Servers { load, ticks } => tokio::select! {
                tick = ticks.recv() => tick.ok_or_else(|| anyhow!("the load ended by itself")),
                died = load.died() => Err(died.into()),
            },
            Subject::Inside { load, next, .. } => {
                tokio::select! {
                    () = tokio::time::sleep_until(*next) => {}
                    died = load.died() => return Err(died.into()),
                }
                // A machine that stood still owes no ticks.
                *next = (*next + TICK).max(Instant::now());
                Ok(load.end_tick())
            }
        }
    }

    /// p99 of the waits in its queue since the last call, ms; `None`: there is no queue to be seen, or nothing waited.
    pub fn wait_p99_ms(&self) -> Option<f64> {
        let Subject::Inside { database: Some(database), .. } = self else { return None };
        let waits = database.take_waits();
        (!waits.is_empty()).then(|| waits.value_at_quantile(0.99) as f64 / 1e3)
    }

    /// Ends the load. Gives the summary of servers' load, which knows of wrong values.
    pub async fn stop(self) -> Option<workload::Summary> {
        match self {
            Subject::Servers { load, .. } => Some(load.stop().await),
            Subject::Inside { load, .. } => {
                load.stop().await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_written_as_workers_times_service_time() {
        let parse = |text: &str| text.parse::<Backend>();
        let told = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(told("5x20ms"), "a simulated database of 5 workers, 20ms a query on average");
        assert_eq!(told("1x1s:constant"), "a simulated database of 1 workers, 1s a query always");
        assert_eq!(parse("null"), Ok(Backend::Null));
        for bad in ["", "5", "x", "5x", "5x20", "ax1s", "5x20ms:odd", "0x20ms", "5x0s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
