//! Whoever scrapes `/metrics` gets the last word: a verdict that is there for less than a scrape is never seen.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};
use tokio::sync::watch;
use tokio::time::timeout;

/// Scrapes after the end: one may have been under way.
const SCRAPES: u64 = 2;
/// Nobody is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counts the scrapes of a registry.
#[derive(Debug, Clone)]
pub struct Scrapes {
    counter: IntCounter,
    seen: Arc<watch::Sender<u64>>,
}

impl Scrapes {
    /// Registers the counter.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = IntCounter::new("scenariod_scrapes_total", "How often these metrics were read.")?;
        let scrapes = Self { counter, seen: Arc::new(watch::Sender::new(0)) };
        registry.register(Box::new(scrapes.clone()))?;
        Ok(scrapes)
    }

    /// If somebody has read the metrics so far: waits until that has happened twice more, for at most 3 s.
    pub async fn last_word(&self) {
        let mut seen = self.seen.subscribe();
        let so_far = *seen.borrow_and_update();
        if so_far > 0 {
            // Both ends are an end: whoever does not come in time has gone.
            let _ = timeout(PATIENCE, seen.wait_for(|n| *n >= so_far + SCRAPES)).await;
        }
    }
}

impl Collector for Scrapes {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counter.inc();
        self.seen.send_modify(|seen| *seen += 1);
        self.counter.collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scraper_gets_two_more_and_nobody_else_is_waited_for() {
        let registry = Registry::new();
        let scrapes = Scrapes::register(&registry).unwrap();
        let began = Instant::now();
        scrapes.last_word().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody was there");

        registry.gather();
        let scraper = async {
            for _ in 0..9 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                registry.gather();
            }
        };
        tokio::select! {
            () = scrapes.last_word() => {}
            () = scraper => panic!("it waits for ever"),
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2));

        let began = Instant::now();
        scrapes.last_word().await;
        assert_eq!(began.elapsed(), PATIENCE, "the scraper has gone");
    }
}
