//! Waits for servers before load is made.

use std::time::Duration;

use memcache_client::ServerAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Limit of one question.
const PROBE: Duration = Duration::from_secs(1);
/// Pause between questions.
const PAUSE: Duration = Duration::from_millis(250);
/// The user is told this often what is being waited for.
const TELL: Duration = Duration::from_secs(5);

/// No server answered in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "no server answered within {waited:?}: {reasons}; start them with `scenariod --lab` or `docker compose up -d`"
)]
pub struct NoServer {
    waited: Duration,
    reasons: String,
}

/// Waits until every server answers `mn`, or until `patience` is over and at least one does. Servers that are still
/// missing then are logged: the load is what finds out how the client lives without them.
pub async fn wait_for_servers(servers: &[ServerAddr], patience: Duration) -> Result<(), NoServer> {
    let begin = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let asked = futures::future::join_all(servers.iter().map(ask)).await;
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

async fn ask(server: &ServerAddr) -> Result<(), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(&server.addr).await?;
        stream.write_all(b"mn\r\n").await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    let fault = match timeout(PROBE, exchange).await {
        Ok(Ok(reply)) if reply == *b"MN\r\n" => return Ok(()),
        Ok(Ok(reply)) => format!(
            "does not speak memcached's meta commands (answered {:?})",
            reply.escape_ascii().to_string()
        ),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PROBE:?}"),
    };
    Err(format!("{} ({}): {fault}", server.name, server.addr))
}
