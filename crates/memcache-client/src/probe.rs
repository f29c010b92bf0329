//! A client's own question whether a server is back, without a caller.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::BreakerState;
use crate::key::Key;
use crate::op::Op;
use crate::request::Request;
use crate::server::Server;
use crate::sync::sleep_until;

/// Key of the reads that test whether a server is back. Nobody writes it: they are misses.
const PROBE_KEY: &str = "memcache-client:probe";
/// Between two probes of a half-open breaker.
const PROBE_GAP: Duration = Duration::from_millis(20);

/// From a trip until the breaker has closed, or its server is gone.
pub(crate) async fn until_closed(server: Weak<Server>) {
    loop {
        let wait = {
            let Some(server) = server.upgrade() else { return };
            let Some(breaker) = server.breaker() else { return };
            match breaker.stats().state {
                BreakerState::Closed => return,
                BreakerState::HalfOpen => Instant::now() + PROBE_GAP,
                BreakerState::Open => breaker.open_until().unwrap_or_else(Instant::now),
            }
        };
        sleep_until(wait).await;
        let Some(server) = server.upgrade() else { return };
        once(&server).await;
    }
}

/// Asks once whether the server is back.
async fn once(server: &Arc<Server>) {
    let (Some(breaker), Ok(key)) = (server.breaker(), Key::new(PROBE_KEY)) else { return };
    let began = Instant::now();
    let (permit, transition) = breaker.try_acquire(began);
    server.tell(transition);
    if permit.is_some() {
        let op = Op::Get(key);
        let deadline = began + server.op_timeout();
        // Its end is told to the breaker and the observer; nobody else asks.
        let _ = server.attempt_with(permit, Request::One(&op), began, deadline).await;
    }
}
