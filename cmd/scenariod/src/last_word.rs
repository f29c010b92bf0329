//! Whoever scrapes `/metrics` gets the last word: a verdict that is there for less than a scrape is never seen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};
use tokio::time::{Instant, sleep};

/// Two scrapes at one a second, and a little.
const LINGER: Duration = Duration::from_millis(2500);
/// Who has not come for this long does not come each second.
const GONE: Duration = Duration::from_secs(3);

/// Counts the scrapes of a registry.
#[derive(Debug, Clone)]
pub struct Scrapes {
    counter: IntCounter,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Scrapes {
    /// Registers the counter.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = IntCounter::new("scenariod_scrapes_total", "How often these metrics were read.")?;
        let scrapes = Self { counter, last: Arc::default() };
        registry.register(Box::new(scrapes.clone()))?;
        Ok(scrapes)
    }

    /// Waits for two more scrapes of somebody who comes each second; returns at once if nobody does.
    pub async fn last_word(&self) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < GONE) {
            sleep(LINGER).await;
        }
    }
}

impl Collector for Scrapes {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counter.inc();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.counter.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scraper_gets_two_more_and_nobody_else_is_waited_for() {
        let registry = Registry::new();
        let scrapes = Scrapes::register(&registry).unwrap();
        let took = async || {
            let began = Instant::now();
            scrapes.last_word().await;
            began.elapsed()
        };
        assert_eq!(took().await, Duration::ZERO, "nobody was there");
        registry.gather();
        assert_eq!(took().await, LINGER);
        tokio::time::advance(GONE).await;
        assert_eq!(took().await, Duration::ZERO, "the scraper has gone");
    }
}
