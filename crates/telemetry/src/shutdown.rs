//! The signals that ask a program to end, as something to wait for.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT, SIGTERM, SIGHUP (the terminal is closed) or SIGQUIT. Further ones are
/// logged and ignored: cleaning up has limits of its own, and must not be cut short. SIGHUP and SIGQUIT stay ignored where
/// they are at the start, as by `nohup`.
///
/// # Errors
///
/// A signal cannot be listened to.
pub fn token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    for (kind, name) in [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")] {
        tokio::spawn(follow(signal(kind)?, name, token.clone()));
    }
    // What cannot be read ignores nothing.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (kind, name) in [(SignalKind::hangup(), "SIGHUP"), (SignalKind::quit(), "SIGQUIT")] {
        if !ignores(&status, kind) {
            tokio::spawn(follow(signal(kind)?, name, token.clone()));
        }
    }
    Ok(token)
}

/// Is `kind` ignored, by the text of `/proc/PID/status`?
fn ignores(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

async fn follow(mut signals: Signal, name: &'static str, token: CancellationToken) {
    while signals.recv().await.is_some() {
        let again = token.is_cancelled();
        // Before the log: with standard error on a full or broken pipe that may be the last thing that happens.
        token.cancel();
        if again {
            tracing::warn!("{name} again: still cleaning up");
        } else {
            tracing::info!("{name}: ending");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_signal_that_asks_for_the_end_cancels_unless_it_is_ignored_from_the_start() {
        let me = rustix::process::getpid();
        // A shell without job control starts background jobs with SIGINT and SIGQUIT ignored, and nohup with SIGHUP.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        for (signal, kind, may_stay) in [
            (rustix::process::Signal::HUP, SignalKind::hangup(), true),
            (rustix::process::Signal::QUIT, SignalKind::quit(), true),
            (rustix::process::Signal::INT, SignalKind::interrupt(), false),
            (rustix::process::Signal::TERM, SignalKind::terminate(), false),
        ] {
            let stays_ignored = may_stay && ignores(&status, kind);
            let token = token().unwrap();
            assert!(!token.is_cancelled());
            rustix::process::kill_process(me, signal).unwrap();
            let patience = std::time::Duration::from_millis(if stays_ignored { 200 } else { 10_000 });
            let ended = tokio::time::timeout(patience, token.cancelled()).await;
            assert_eq!(ended.is_ok(), !stays_ignored, "{signal:?}");
        }
    }

    #[test]
    fn what_nohup_ignores_stays_ignored() {
        let nohup = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000004\n";
        assert!(ignores(nohup, SignalKind::hangup()) && !ignores(nohup, SignalKind::quit()));
        assert!(!ignores("", SignalKind::hangup()));
    }
}
