//! The cache in front of something slow: read, or load once and write. One load a key and process, and by the server's
//! lease one a key over all processes; everybody else waits for it or gets the value that is about to be replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{FutureExt, Shared};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::Client;
use crate::key::Key;
use crate::op::{LeaseReply, Op, Reply};

/// First and longest wait of a process whose value another one loads.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// How a value is kept that was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Its time to live; `None`: for ever.
    pub ttl: Option<Duration>,
    /// How long one loader has before another may try; more than a load takes. Whole seconds.
    pub lease: Duration,
    /// With less than this left to live, one caller loads anew while the others still get the value; `None`: not
    /// before its end.
    pub refresh: Option<Duration>,
}

impl Default for Fetch {
    /// Five minutes, a lease of three seconds, refreshed in the last ten.
    fn default() -> Self {
        Self {
            ttl: Some(Duration::from_secs(300)),
            lease: Duration::from_secs(3),
            refresh: Some(Duration::from_secs(10)),
        }
    }
}

/// A load in progress. It wakes those who wait in a fixed order; tokio's watch draws one, and no run of a simulation
/// would be like another.
type Flight = Shared<oneshot::Receiver<Bytes>>;

/// Loads in progress in this process.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    flights: Mutex<HashMap<Key, Flight>>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of `key`, or begins one.
    fn join<'a>(&'a self, key: &Key) -> Seat<'a> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key) {
            return Seat::Passenger(flight.clone());
        }
        let (landed, flight) = oneshot::channel();
        flights.insert(key.clone(), flight.shared());
        Seat::Pilot(Pilot { flights: self, key: key.clone(), landed: Some(landed) })
    }
}

enum Seat<'a> {
    Pilot(Pilot<'a>),
    Passenger(Flight),
}

/// Ends the flight when it is dropped, with or without a value.
struct Pilot<'a> {
    flights: &'a Flights,
    key: Key,
    landed: Option<oneshot::Sender<Bytes>>,
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl Client {
    /// Reads `key`; when there is no value, `load` makes one, which is written and given to all who wait for it. A
    /// cache that fails is passed by: `load` is asked, and its error is the only one.
    ///
    /// ```no_run
    /// # async fn example(client: memcache_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use memcache_client::{Bytes, Fetch, Key};
    ///
    /// let page = client
    ///     .get_or_load(&Key::new("page:1")?, &Fetch::default(), async || {
    ///         // ... ask the database ...
    ///         Ok::<_, std::io::Error>(Bytes::from_static(b"<html>"))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_load<E>(
        &self,
        key: &Key,
        fetch: &Fetch,
        load: impl AsyncFnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let mut pilot = loop {
            match self.flights().join(key) {
                Seat::Pilot(pilot) => break pilot,
                Seat::Passenger(flight) => {
                    // An error here is a pilot that gave up: somebody else flies.
                    if let Ok(value) = flight.await {
                        return Ok(value);
                    }
                }
            }
        };
        let value = self.read_or_load(key, fetch, load).await?;
        // Whether anybody waits or not.
        let _ = pilot.landed.take().map(|landed| landed.send(value.clone()));
        Ok(value)
    }

    async fn read_or_load<E>(
        &self,
        key: &Key,
        fetch: &Fetch,
        load: impl AsyncFnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let began = Instant::now();
        let mut wait = WAITS.0;
        loop {
            let lease = Op::Lease { key: key.clone(), lease: fetch.lease, refresh: fetch.refresh };
            match self.execute(lease).await.result {
                Ok(Reply::Lease(LeaseReply { value, won: true, token, .. })) => {
                    return match (load().await, value) {
                        (Ok(new), _) => {
                            let op = Op::Cas { key: key.clone(), value: new.clone(), ttl: fetch.ttl, token };
                            // Not written is not wrong: a newer value is there, or the cache has failed.
                            let _ = self.execute(op).await;
                            Ok(new)
                        }
                        (Err(_), Some(old)) => Ok(old),
                        (Err(error), None) => Err(error),
                    };
                }
                Ok(Reply::Lease(LeaseReply { value: Some(value), .. })) => return Ok(value),
                // Somebody else loads, and has the time of a lease for it.
                Ok(Reply::Lease(_)) if began.elapsed() < fetch.lease => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAITS.1);
                }
                _ => return load().await,
            }
        }
    }
}

/// Keeps the compiler's word that a client may be shared.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Client>>();
};
