//! What addresses mean to the two binaries: names of several addresses, proxies on one port, `MEMCACHE_HOST`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, Running, becomes_true, binary, free_port, get, real_program, wait_for};

/// A proxy server of ours on its own, and its URL.
async fn proxy_server(dir: &Path) -> (Running, String) {
    let port = free_port().to_string();
    let proxy = Running::start(&binary("scenariod"), &["proxy", "-port", &port], dir);
    let url = format!("http://127.0.0.1:{port}");
    wait_for("the proxy server", PATIENCE, async || get(&format!("{url}/version")).await.is_some()).await;
    (proxy, url)
}

/// Makes a proxy; gives where it listens.
async fn make(url: &str, name: &str, listen: &str, upstream: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let new = json!({"name": name, "listen": listen, "upstream": upstream});
    let made = client.post(format!("{url}/proxies")).json(&new).send().await.unwrap();
    assert_eq!(made.status(), 201, "{new}");
    made.json::<Value>().await.unwrap()["listen"].as_str().unwrap().to_owned()
}

async fn upstreams(url: &str) -> Vec<String> {
    let proxies: Value = serde_json::from_str(&get(&format!("{url}/proxies")).await.unwrap()).unwrap();
    let upstream = |proxy: &Value| proxy["upstream"].as_str().unwrap().to_owned();
    proxies.as_object().unwrap().values().map(upstream).collect()
}

fn memcached(program: &PathBuf, host: &str, port: u16, dir: &Path) -> Running {
    Running::start(program, &["-l", host, "-p", &port.to_string(), "-U", "0", "-u", "nobody"], dir)
}

fn said(dir: &Path, program: &str) -> String {
    let read =
        |kind: &str| std::fs::read_to_string(dir.join(format!("{program}.{kind}"))).unwrap_or_default();
    read("out") + &read("err")
}

/// A listener at `port` of 127.0.0.1 whose queue is full: what dials it hears nothing.
fn silent(port: u16) -> (Socket, Vec<Socket>) {
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&addr).unwrap();
    listener.listen(0).unwrap();
    let dial = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        drop(socket.connect(&addr));
        socket
    };
    (listener, (0..4).map(dial).collect())
}

/// `program` where the name `twofold` has the addresses 127.0.0.1 and 127.0.0.2: in a mount namespace with its own hosts file.
fn with_twofold(program: &Path, args: &[&str], dir: &Path) -> Running {
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 twofold\n127.0.0.2 twofold\n").unwrap();
    // The script's name gives the names of the output files.
    let script = dir.join(program.file_name().unwrap());
    let text = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {} /etc/hosts && exec \"$@\"' - {} \"$@\"\n",
        hosts.display(),
        program.display()
    );
    std::fs::write(&script, text).unwrap();
    let mode = Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    assert!(mode.success());
    Running::start(&script, args, dir)
}

fn may_have_a_hosts_file_of_its_own() -> bool {
    let allowed = Command::new("unshare").args(["--mount", "true"]).output();
    let allowed = allowed.is_ok_and(|tried| tried.status.success());
    if !allowed {
        eprintln!("NOT PERMITTED here, so not tested: a mount namespace (unshare --mount)");
    }
    allowed
}

#[tokio::test]
async fn a_silent_first_address_of_a_name_costs_client_and_proxy_a_moment_and_not_their_limits() {
    let Some(program) = real_program("memcached") else { return };
    if !may_have_a_hosts_file_of_its_own() {
        return;
    }
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let port = free_port();
    let _silent = silent(port);
    let _memcached = memcached(&program, "127.0.0.2", port, dirs[0].path());

    let api = free_port().to_string();
    let _proxy = with_twofold(&binary("scenariod"), &["proxy", "-port", &api], dirs[1].path());
    let url = format!("http://127.0.0.1:{api}");
    wait_for("the proxy server", PATIENCE, async || get(&format!("{url}/version")).await.is_some()).await;
    let proxied = make(&url, "p", "127.0.0.1:0", &format!("twofold:{port}")).await;

    // A proxy that waited for the silent address would exceed this client's every limit.
    let servers = format!("direct=twofold:{port},proxied={proxied}");
    let metrics = format!("127.0.0.1:{}", free_port());
    let args = ["--servers", &servers, "--op-timeout", "2s", "--rate", "200", "--duration", "2s"];
    let args = [&args[..], &["--metrics-port", &metrics]].concat();
    let mut loadgen = with_twofold(&binary("loadgen"), &args, dirs[2].path());
    let code = loadgen.exit_code(PATIENCE).await;
    let text = said(dirs[2].path(), "loadgen");
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("connect") && !text.contains("timeout"), "{text}");
}

#[tokio::test]
async fn a_failed_upstream_dial_is_logged_as_an_error_with_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let (_proxy, url) = proxy_server(dir.path()).await;
    let nothing = format!("127.0.0.1:{}", free_port());
    let listen = make(&url, "p", "127.0.0.1:0", &nothing).await;
    drop(tokio::net::TcpStream::connect(listen).await.unwrap());
    let logged = async || {
        let log = said(dir.path(), "scenariod");
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains(&format!("{nothing}: Connection refused")))
    };
    assert!(becomes_true(PATIENCE, logged).await, "{}", said(dir.path(), "scenariod"));
}

#[tokio::test]
async fn proxies_on_one_port_of_three_addresses_are_matched_by_the_whole_address() {
    let Some(program) = real_program("memcached") else { return };
    let dirs = [(); 6].map(|()| tempfile::tempdir().unwrap());
    let (_proxy, url) = proxy_server(dirs[0].path()).await;
    let (behind, port) = (free_port(), free_port());
    let mut servers = Vec::new();
    let mut memcacheds = Vec::new();
    for (n, dir) in (1..=3).zip(&dirs[1..]) {
        let host = format!("127.0.0.{n}");
        memcacheds.push(memcached(&program, &host, behind, dir.path()));
        make(&url, &format!("memcached{n}"), &format!("{host}:{port}"), &format!("{host}:{behind}")).await;
        servers.push(format!("s{n}={host}:{port}"));
    }
    // Not in the proxies' order.
    servers.reverse();
    let observe = format!("127.0.0.1:{}", free_port());
    let args = ["--servers", &servers.join(","), "--rate", "300", "--metrics-port", &observe];
    let _loadgen = Running::start(&binary("loadgen"), &args, dirs[4].path());
    let observe = format!("http://{observe}");
    wait_for("loadgen", PATIENCE, async || get(&format!("{observe}/healthz")).await.is_some()).await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let args = ["--scenario", "packet-loss-100-pct", "--toxiproxy", &url, "--observe", &observe];
    let short = ["--stabilization", "1s", "--testing", "1s", "--recovery", "1s", "--metrics-port", &metrics];
    let mut scenariod = Running::start(&binary("scenariod"), &[&args[..], &short].concat(), dirs[5].path());
    scenariod.exit_code(PATIENCE * 2).await;
    let journal = crate::suite::journal(&crate::suite::runs(dirs[5].path())[0]);
    let canaries = journal.iter().filter(|entry| entry["record"]["type"] == "canary");
    let mut pairs: Vec<(String, String)> = canaries
        .map(|entry| {
            let text = |key: &str| entry["record"][key].as_str().unwrap_or("none").to_owned();
            (text("target"), text("server"))
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    let wanted = [1, 2, 3].map(|n| (format!("memcached{n}"), format!("s{n}")));
    assert_eq!(pairs, wanted, "{}", said(dirs[5].path(), "scenariod"));
}

#[tokio::test]
async fn a_server_behind_a_proxy_that_cannot_be_told_ends_the_run_before_it_begins() {
    let Some(program) = real_program("memcached") else { return };
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let (_proxy, url) = proxy_server(dirs[0].path()).await;
    let behind = free_port();
    let _memcached = memcached(&program, "127.0.0.1", behind, dirs[1].path());
    let mut listen = String::new();
    for name in ["memcached3", "memcached2", "memcached1"] {
        listen = make(&url, name, "127.0.0.1:0", &format!("127.0.0.1:{behind}")).await;
    }
    let observe = format!("127.0.0.1:{}", free_port());
    let servers = format!("one={listen},two={listen}");
    let args = ["--servers", &servers, "--rate", "100", "--metrics-port", &observe];
    let _loadgen = Running::start(&binary("loadgen"), &args, dirs[2].path());
    let observe = format!("http://{observe}");
    wait_for("loadgen", PATIENCE, async || get(&format!("{observe}/healthz")).await.is_some()).await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let args = ["--scenario", "packet-loss-100-pct", "--toxiproxy", &url, "--observe", &observe];
    let args = [&args[..], &["--metrics-port", &metrics]].concat();
    let mut scenariod = Running::start(&binary("scenariod"), &args, dirs[3].path());
    let code = scenariod.exit_code(PATIENCE).await;
    let text = said(dirs[3].path(), "scenariod");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("one and two both dial the proxy memcached1"), "{text}");
    assert!(crate::suite::runs(dirs[3].path()).is_empty(), "a run has begun");
}

/// Runs scenariod, which finds no client, with this `MEMCACHE_HOST`; gives the exit code, what it said, and the upstreams after it.
async fn with_memcache_host(host: &str) -> (i32, String, Vec<String>) {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (_proxy, url) = proxy_server(dirs[0].path()).await;
    for n in 1..=3 {
        make(&url, &format!("memcached{n}"), "127.0.0.1:0", &format!("wrong:{n}")).await;
    }
    let nothing = format!("http://127.0.0.1:{}", free_port());
    let metrics = format!("127.0.0.1:{}", free_port());
    let args = ["--scenario", "packet-loss-100-pct", "--toxiproxy", &url, "--observe", &nothing];
    let args = [&args[..], &["--wait", "100ms", "--metrics-port", &metrics]].concat();
    let mut scenariod =
        Running::start_with(&binary("scenariod"), &args, dirs[1].path(), &[("MEMCACHE_HOST", host)]);
    let code = scenariod.exit_code(PATIENCE).await;
    (code, said(dirs[1].path(), "scenariod"), upstreams(&url).await)
}

#[tokio::test]
async fn memcache_host_leads_existing_proxies_there_and_an_empty_one_is_none() {
    let found = ["wrong:1", "wrong:2", "wrong:3"].map(str::to_owned);
    let (code, text, upstreams) = with_memcache_host("").await;
    assert_eq!((code, upstreams), (4, found.to_vec()), "{text}");
    for (host, shown) in [("::1", "[::1]"), ("[::1]", "[::1]"), (" cache.example ", "cache.example")] {
        let (code, text, upstreams) = with_memcache_host(host).await;
        let led = [11_211, 11_212, 11_213].map(|port| format!("{shown}:{port}"));
        assert_eq!((code, upstreams), (4, led.to_vec()), "{host:?}: {text}");
        assert!(text.contains("proxy leads elsewhere now"), "{text}");
    }
}

#[tokio::test]
async fn a_memcache_host_that_can_be_no_host_is_a_usage_error_that_marks_it() {
    let found = ["wrong:1", "wrong:2", "wrong:3"].map(str::to_owned);
    for (host, mark) in
        [("h:11211", " ^^^^^^"), (" ", " ^"), ("http://h", "^^^^^^^"), ("a b", " ^"), ("10.0.0", "^^^^^^")]
    {
        let (code, text, upstreams) = with_memcache_host(host).await;
        assert_eq!((code, upstreams), (2, found.to_vec()), "{host:?}: {text}");
        assert!(text.contains("--memcache-host") && text.contains(&format!("\n    {mark}\n")), "{text}");
    }
}

#[test]
fn a_server_that_can_never_be_one_is_a_usage_error_that_marks_it() {
    for (servers, marked) in [
        ("http://h:1", "http://h:1\n    ^^^^^^^"),
        ("::1", "::1\n    ^^^"),
        ("h:1:1", "h:1:1\n       ^^"),
        ("P;Q", "P;Q\n       ^"),
        ("a=h:1, b=h:2:3", " b=h:2:3\n          ^^"),
        ("a=h:1,,b=h:2", "the address is missing"),
    ] {
        let loadgen = Command::new(binary("loadgen")).args(["--servers", servers]).output().unwrap();
        let text = String::from_utf8_lossy(&loadgen.stderr).into_owned();
        assert_eq!(loadgen.status.code(), Some(2), "{servers}: {text}");
        assert!(text.contains(marked) && text.contains("--servers"), "{servers}: {text}");
    }
}

#[test]
fn a_url_that_can_never_be_one_is_a_usage_error_that_marks_it() {
    for (flag, url, mark) in [
        ("--observe", "h:1", "^"),
        ("--observe", "ftp://x", "^^^^^^"),
        ("--toxiproxy", "http://h:1:2", "          ^^"),
        ("--toxiproxy", "https://h", "^^^^^^^^"),
    ] {
        let args = ["--scenario", "all", flag, url, "--metrics-port", "127.0.0.1:0"];
        let scenariod = Command::new(binary("scenariod")).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&scenariod.stderr).into_owned();
        assert_eq!(scenariod.status.code(), Some(2), "{url}: {text}");
        assert!(text.contains(flag) && text.contains(&format!("\n    {mark}\n")), "{url}: {text}");
    }
}

#[tokio::test]
async fn blanks_in_a_list_of_servers_are_no_part_of_a_name() {
    let Some(program) = real_program("memcached") else { return };
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let ports = [free_port(), free_port()];
    let _servers = [0, 1].map(|n| memcached(&program, "127.0.0.1", ports[n], dirs[n].path()));
    let metrics = format!("127.0.0.1:{}", free_port());
    let servers = format!("a=127.0.0.1:{}, b=127.0.0.1:{}", ports[0], ports[1]);
    let args = ["--servers", &servers, "--rate", "200", "--metrics-port", &metrics];
    let _loadgen = Running::start(&binary("loadgen"), &args, dirs[2].path());
    let mut text = String::new();
    wait_for("both servers' ops", PATIENCE, async || {
        text = get(&format!("http://{metrics}/metrics")).await.unwrap_or_default();
        ["a", "b"].iter().all(|name| text.contains(&format!("server=\"{name}\"")))
    })
    .await;
    assert!(!text.contains("server=\" b\""), "{text}");
}
