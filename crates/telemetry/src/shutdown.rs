//! SIGINT and SIGTERM as something to wait for.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Which signal ended the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A polite kill.
    Terminate,
}

impl Signal {
    /// Name of the signal.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
        }
    }
}

/// A token that is cancelled by the first SIGINT or SIGTERM. Further ones are logged and ignored: cleaning up has
/// limits of its own, and must not be cut short.
pub fn token() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        loop {
            let which = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            };
            if cancelled.is_cancelled() {
                tracing::warn!("{} again: still cleaning up", which.name());
            } else {
                tracing::info!("{}: ending", which.name());
                cancelled.cancel();
            }
        }
    });
    Ok(token)
}
