//! Waits for servers before load is made.

use std::sync::Arc;
use std::time::Duration;

use memcache_client::{Client, Codec, Config, Error, Key, Mode, Routing, ServerAddr, Silent};
use tokio::time::{Instant, sleep};

use crate::target::NoServer;

/// Limit of one question.
const PROBE: Duration = Duration::from_secs(1);
/// Key that is asked for; nobody writes it.
const ASKED_KEY: &str = "lg:ready";
/// Pause between questions.
const PAUSE: Duration = Duration::from_millis(250);
/// The user is told this often what is being waited for.
const TELL: Duration = Duration::from_secs(5);

/// Waits until every server answers a read, or until `patience` is over and at least one does. Servers that are still
/// missing then are logged: the load is what finds out how the client lives without them.
pub(super) async fn wait(
    servers: &[ServerAddr],
    config: &Config,
    patience: Duration,
) -> Result<(), NoServer> {
    let begin = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let asked = futures::future::join_all(servers.iter().map(|server| ask(server, config))).await;
        let missing: Vec<&String> = asked.iter().filter_map(|answer| answer.as_ref().err()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let reasons = missing.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join("; ");
        if begin.elapsed() >= patience {
            if missing.len() == servers.len() {
                return Err(NoServer { waited: patience, reasons });
            }
            tracing::warn!("starting although not every server answers: {reasons}");
            return Ok(());
        }
        if told.is_none_or(|at| at.elapsed() >= TELL) {
            tracing::info!("waiting for servers: {reasons}");
            told = Some(Instant::now());
        }
        sleep(PAUSE.min(patience.saturating_sub(begin.elapsed()))).await;
    }
}

/// Asks over a connection like the load's own: by TLS, with a login, over a Unix socket.
async fn ask(server: &ServerAddr, config: &Config) -> Result<(), String> {
    let said = |fault: String| format!("{} ({}): {fault}", server.name, server.addr);
    let config = Config {
        op_timeout: PROBE,
        total_timeout: PROBE,
        connect_timeout: PROBE,
        breaker: None,
        retries: 0,
        hedge: None,
        codec: Codec::Meta,
        mode: Mode::Pooled,
        routing: Routing::default(),
        ..config.clone()
    };
    let asking =
        Client::new(vec![server.clone()], config, Arc::new(Silent)).map_err(|e| said(e.to_string()))?;
    let key = Key::new(ASKED_KEY).map_err(|error| said(error.to_string()))?;
    match asking.get(&key).await {
        Ok(_) => Ok(()),
        Err(Error::Protocol(error)) => {
            Err(said(format!("does not speak memcached's meta commands: {error}")))
        }
        Err(error) => Err(said(error.to_string())),
    }
}
