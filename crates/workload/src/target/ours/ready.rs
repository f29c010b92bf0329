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

/// Asks over a connection like the load's own: in its protocol, by TLS, with a login, over a Unix socket.
async fn ask(server: &ServerAddr, config: &Config) -> Result<(), String> {
    let Err(error) = read(server, config, config.codec).await else { return Ok(()) };
    let why = match advice(&error) {
        Some(advice) => format!("{error}; {advice}"),
        // Some answer `ERROR`, others close the connection: who answers classic text is there, and knows no meta commands.
        None if config.codec == Codec::Meta && read(server, config, Codec::MemcacheAsync).await.is_ok() => {
            format!(
                "speaks no meta commands, though classic text ({error}); memcached has them since 1.6; for others use --driver \
                 memcache-async"
            )
        }
        None => error.to_string(),
    };
    Err(format!("{} ({}): {why}", server.name, server.addr))
}

/// What to do about an error that has a known cause.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::Server(_) | Error::Protocol(_) if error.to_string().contains("unauthenticated") => {
            Some("the server wants a login; give it with --login-file")
        }
        Error::Connect(error) if error.to_string().starts_with("TLS: ") => {
            Some("--tls-ca says which certificates are trusted, --tls-name for which name a server's must be")
        }
        _ => None,
    }
}

/// One read.
async fn read(server: &ServerAddr, config: &Config, codec: Codec) -> Result<(), Error> {
    let config = Config {
        op_timeout: PROBE,
        total_timeout: PROBE,
        connect_timeout: PROBE,
        breaker: None,
        retries: 0,
        hedge: None,
        codec,
        mode: Mode::Pooled,
        routing: Routing::default(),
        ..config.clone()
    };
    // The load's own settings are checked already, and the key is a constant.
    let asking = Client::new(vec![server.clone()], config, Arc::new(Silent)).map_err(|_| Error::Closed)?;
    let key = Key::new(ASKED_KEY).map_err(|_| Error::Closed)?;
    asking.get(&key).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use memcached_fake::{Act, FakeMemcached, Lie};

    use super::*;

    async fn fake(lies: &[Lie]) -> (FakeMemcached, ServerAddr) {
        let fake = FakeMemcached::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        fake.lies().set(lies.iter().cloned());
        let addr = ServerAddr { name: "one".to_owned(), addr: fake.addr().to_string() };
        (fake, addr)
    }

    async fn refused(lie: Lie, codec: Codec) -> String {
        let (_fake, addr) = fake(&[lie]).await;
        ask(&addr, &Config { codec, ..Config::default() }).await.unwrap_err()
    }

    fn reply(text: &'static [u8]) -> Act {
        Act::Reply(text.into())
    }

    #[tokio::test]
    async fn a_server_is_asked_in_the_protocol_of_the_load() {
        let (_fake, addr) = fake(&[Lie::new(reply(b"ERROR\r\n")).command("mg")]).await;
        let speaking = |codec| Config { codec, ..Config::default() };
        assert_eq!(ask(&addr, &speaking(Codec::MemcacheAsync)).await, Ok(()));
        ask(&addr, &speaking(Codec::Meta)).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_server_without_meta_commands_is_told_from_one_that_is_down() {
        // As an old memcached answers, and as twemproxy does.
        for act in [reply(b"ERROR\r\n"), reply(b"CLIENT_ERROR bad command line format\r\n"), Act::Close] {
            let error = refused(Lie::new(act.clone()).command("mg"), Codec::Meta).await;
            let told = "speaks no meta commands, though classic text";
            assert!(error.contains(told) && error.contains("--driver memcache-async"), "{act:?}: {error}");
        }
        let error = refused(Lie::new(Act::Close), Codec::Meta).await;
        assert!(!error.contains("--driver"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_wants_a_login_is_told_with_the_flag_that_gives_one() {
        for codec in [Codec::Meta, Codec::MemcacheAsync] {
            let error = refused(Lie::new(reply(b"CLIENT_ERROR unauthenticated\r\n")), codec).await;
            assert!(error.contains("--login-file"), "{codec:?}: {error}");
        }
    }
}
