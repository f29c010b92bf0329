//! The same ops over every kind of connection, against a real memcached that has it.

use std::process::{Child, Stdio};
use std::time::Duration;

use memcache_client::{Client, Config, Dial, Error, Login, Mode, PoolConfig, ServerAddr};
use memcached_fake::real::{Ready, RealMemcached};

use crate::rig::{client_of, error_of, figure, key, value_of};

fn config() -> Config {
    let second = Duration::from_secs(1);
    let pool = PoolConfig { max_waiting: 1_000, ..PoolConfig::default() };
    Config {
        breaker: None,
        retries: 0,
        pool,
        op_timeout: second,
        connect_timeout: second,
        ..Config::default()
    }
}

const MODES: [Mode; 2] = [Mode::Pooled, Mode::Pipelined { connections: 2, depth: 64 }];

fn one(addr: String, config: Config) -> Client {
    let servers = vec![ServerAddr { name: "one".to_owned(), addr }];
    Client::new(servers, config, std::sync::Arc::new(memcache_client::Silent)).unwrap()
}

/// Killed and reaped when the test ends, however it does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn every_op(client: &Client) {
    let (k, counter) = (key("every"), key("every-counter"));
    client.delete(&k).await.unwrap();
    client.delete(&counter).await.unwrap();
    for length in [0, 1, 100, 8_192, 8_193, 70_000, 1_000_000] {
        let value = vec![b'v'; length];
        client.set(&k, value.clone().into(), Some(Duration::from_secs(60))).await.unwrap();
        assert_eq!(client.get(&k).await.unwrap().unwrap(), value, "{length}");
    }
    assert!(!client.add(&k, "x".into(), None).await.unwrap());
    assert!(client.touch(&k, Some(Duration::from_secs(50))).await.unwrap());
    assert!(client.delete(&k).await.unwrap() && !client.delete(&k).await.unwrap());
    assert_eq!(client.incr(&counter, 5, None).await.unwrap(), None);
    assert_eq!(client.incr(&counter, 5, Some((10, None))).await.unwrap(), Some(10));
    assert_eq!(client.incr(&counter, 5, None).await.unwrap(), Some(15));
    let keys: Vec<_> = (0..300).map(|n| key(&format!("many{n}"))).collect();
    let written = futures::future::join_all(
        keys.iter()
            .enumerate()
            .filter(|(n, _)| n % 3 != 0)
            .map(|(n, k)| client.set(k, value_of(k, n as u64), None)),
    )
    .await;
    assert!(written.iter().all(Result::is_ok));
    let got = client.multi_get(&keys).await;
    for (n, (k, end)) in keys.iter().zip(got.keys).enumerate() {
        let expected = (n % 3 != 0).then(|| value_of(k, n as u64));
        assert_eq!(end.result.unwrap(), expected, "{k}");
    }
}

#[tokio::test]
async fn tcp() {
    let _alone = crate::rig::alone().await;
    let Some(real) = RealMemcached::for_test().await else { return };
    for mode in MODES {
        every_op(&client_of([real.addr()], Config { mode, ..config() }).0).await;
    }
    figure("wire TCP", "every op, pooled and pipelined");
}

#[tokio::test]
async fn unix_socket() {
    let _alone = crate::rig::alone().await;
    if RealMemcached::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "memcached is not on PATH, and CI needs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The server may run as another user than the test.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let path = dir.path().join("memcached.sock");
    let child = std::process::Command::new(RealMemcached::find().unwrap())
        .args(["-s", path.to_str().unwrap(), "-a", "777", "-u", "nobody"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _child = Killed(child.unwrap());
    crate::rig::wait_for("the socket", || path.exists()).await;
    for mode in MODES {
        every_op(&one(format!("unix:{}", path.display()), Config { mode, ..config() })).await;
    }
    figure("wire Unix socket", "every op, pooled and pipelined");
}

#[tokio::test]
async fn ascii_login() {
    let _alone = crate::rig::alone().await;
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let file = dir.path().join("users");
    std::fs::write(&file, "somebody:secret\n").unwrap();
    let args = ["-Y", file.to_str().unwrap()];
    let Some(real) = RealMemcached::for_test_with(&args, Ready::Accepts).await else { return };
    for mode in MODES {
        let with = |login| Config { mode, dial: Dial { login, ..Dial::default() }, ..config() };
        every_op(&client_of([real.addr()], with(Login::new("somebody", "secret"))).0).await;
        let wrong = client_of([real.addr()], with(Login::new("somebody", "wrong"))).0;
        let error = error_of(wrong.execute(memcache_client::Op::Get(key("k"))).await);
        assert!(matches!(&error, Error::Connect(e) if e.to_string().contains("login refused")), "{error}");
        let none = client_of([real.addr()], with(None)).0;
        assert!(none.get(&key("k")).await.is_err());
    }
    figure("wire ASCII authentication", "every op, pooled and pipelined; a wrong password is typed");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls() {
    let _alone = crate::rig::alone().await;
    use memcache_client::Tls;
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["cache.example".to_owned()]).unwrap();
    let (chain, secret) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&secret, made.signing_key.serialize_pem()).unwrap();
    let chain_option = format!("ssl_chain_cert={}", chain.display());
    let key_option = format!("ssl_key={}", secret.display());
    let args = ["-Z", "-o", &chain_option, "-o", &key_option];
    let Some(real) = RealMemcached::for_test_with(&args, Ready::Accepts).await else { return };
    let pem = made.cert.pem();
    for mode in MODES {
        let with = |name: &str| {
            let tls = Tls::with_roots(pem.as_bytes(), Some(name.to_owned())).unwrap();
            Config { mode, dial: Dial { tls: Some(tls), ..Dial::default() }, ..config() }
        };
        every_op(&client_of([real.addr()], with("cache.example")).0).await;
        let other = client_of([real.addr()], with("other.example")).0;
        let error = error_of(other.execute(memcache_client::Op::Get(key("k"))).await);
        assert!(matches!(error, Error::Connect(_)), "{error}");
        let told = error.to_string();
        assert!(told.contains("TLS: the server's certificate is not for other.example, but for "), "{told}");
    }
    assert!(Tls::with_roots(b"no certificate", None).is_err());
    figure("wire TLS", "every op, pooled and pipelined; a certificate of another name is refused");
}
