//! One server as its connections see it: where it is, how the client speaks with it, and who hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::config::{Config, ServerAddr};
use crate::connect;
use crate::error::Error;
use crate::observer::{CloseReason, Observer};
use crate::router;
use crate::stream::Stream;
use crate::wire::{Connection, Traffic};

pub(crate) struct Site {
    pub(crate) index: usize,
    pub(crate) addr: ServerAddr,
    pub(crate) config: Arc<Config>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) traffic: Arc<Traffic>,
    /// Draws the ends of connections' lives, without a lock: a counter that is scrambled.
    drawn: AtomicU64,
}

impl Site {
    pub(crate) fn new(
        index: usize,
        addr: ServerAddr,
        config: Arc<Config>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { index, addr, config, observer, traffic: Arc::default(), drawn: AtomicU64::new(index as u64) }
    }

    /// Dials the server, and tells the observer how that ended.
    pub(crate) async fn dial(&self) -> Result<Stream, Error> {
        let began = Instant::now();
        let dialled = connect::connect(&self.config.dial, self.config.connect_timeout, &self.addr.addr).await;
        let error = dialled.as_ref().err().map(ToString::to_string);
        self.observer.dial(self.index, error, began.elapsed());
        dialled
    }

    /// Speaks the configured codec over `stream`.
    pub(crate) fn speak(&self, stream: Stream) -> Result<Connection, Error> {
        Connection::new(self.config.codec, stream, self.config.value_max, Arc::clone(&self.traffic))
    }

    /// Tells the observer of connections that were closed.
    pub(crate) fn tell_closed(&self, closed: &[CloseReason]) {
        for reason in closed {
            self.observer.closed(self.index, *reason);
        }
    }

    /// A number from 0 to 1.
    pub(crate) fn draw(&self) -> f64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed) ^ self.config.seed;
        (router::mix(n) >> 11) as f64 / (1u64 << 53) as f64
    }
}
