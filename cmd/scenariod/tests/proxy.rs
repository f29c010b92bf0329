//! `scenariod proxy` in the place of the stock server: its flags, config file, log and ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn scenariod() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_scenariod"))
}

/// A program that serves; ends when it is dropped.
struct Serving {
    child: Child,
    log: BufReader<ChildStdout>,
    /// Of its API.
    addr: String,
    /// Lines before the API was open.
    before: Vec<serde_json::Value>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(program: &Path, args: &[&str], level: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command.args(args).env_remove("LOG_LEVEL").stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(level) = level {
            command.env("LOG_LEVEL", level);
        }
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Self { child, log, addr: String::new(), before: Vec::new() };
        while serving.addr.is_empty() {
            let mut line = String::new();
            assert!(serving.log.read_line(&mut line).unwrap() > 0, "it ended: {:?}", serving.before);
            // Every line is JSON.
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            match line["address"].as_str() {
                Some(addr) => serving.addr = addr.to_owned(),
                None => serving.before.push(line),
            }
        }
        serving
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn proxies(&self) -> serde_json::Value {
        let answer = self.get("/proxies");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn logged(&self, text: &str) -> bool {
        self.before.iter().any(|line| line["message"].as_str().is_some_and(|said| said.contains(text)))
    }

    /// Sends a signal; gives the exit code and what was logged until then.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(scenariod()).arg("proxy").args(args).output().unwrap()
}

#[test]
fn a_config_file_is_served_until_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("toxiproxy.json");
    std::fs::write(&file, r#"[{"name":"a","listen":"127.0.0.1:0","upstream":"127.0.0.1:1"}]"#).unwrap();
    let file = file.to_str().unwrap();
    for signal in ["-TERM", "-INT"] {
        let args = ["proxy", "--port=0", "-host", "127.0.0.1", "-config", file, "-seed", "7"];
        let serving = Serving::start(&scenariod(), &args, None);
        assert!(serving.before.iter().any(|line| line["seed"] == 7), "{:?}", serving.before);
        assert!(serving.get("/version").ends_with("{\"version\": \"2.12.0\"}\n"));
        let listen = serving.proxies()["a"]["listen"].as_str().unwrap().to_owned();
        TcpStream::connect(&listen).unwrap();
        // Only with a flag.
        assert!(serving.get("/metrics").starts_with("HTTP/1.1 404 "));
        let addr = serving.addr.clone();
        assert_eq!(serving.end(signal).0, Some(0));
        assert!(TcpStream::connect(addr).is_err() && TcpStream::connect(listen).is_err());
    }
}

#[test]
fn under_the_stock_name_it_is_the_stock_server() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("toxiproxy-server");
    std::os::unix::fs::symlink(scenariod(), &program).unwrap();
    let args = ["-port", "0", "-runtime-metrics", "--proxy-metrics=true"];
    let serving = Serving::start(&program, &args, Some("debug"));
    let metrics = serving.get("/metrics");
    for name in
        ["toxiproxy_build_info{version=", "process_cpu_seconds_total ", "process_resident_memory_bytes "]
    {
        assert!(metrics.contains(&format!("\n{name}")), "no {name} in {metrics}");
    }
    let (code, rest) = serving.end("-TERM");
    assert_eq!(code, Some(0));
    assert!(rest.lines().any(|line| line.contains(r#""url":"/metrics""#)), "{rest}");
    let output = Command::new(program).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "toxiproxy-server version 2.12.0\n");
}

#[test]
fn what_is_wrong_with_a_config_file_is_only_logged() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.json");
    let bad = dir.path().join("bad.json");
    std::fs::write(
        &bad,
        r#"[{"name":"a","listen":"127.0.0.1:0","upstream":"x"},{"name":"b","upstream":"x","listen":"y"}]"#,
    )
    .unwrap();
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{").unwrap();
    for (file, said, proxies) in [
        (missing, "No such file or directory", false),
        (bad, "listen tcp: address y: missing port in address; 1 proxies were made before", true),
        (broken, "bad request body: unexpected EOF", false),
    ] {
        let args = ["proxy", "-port=0", "-config", file.to_str().unwrap()];
        let serving = Serving::start(&scenariod(), &args, Some("loud"));
        assert!(serving.logged(said), "{:?}", serving.before);
        assert!(serving.logged("LOG_LEVEL is \"loud\", and is ignored"));
        assert_eq!(serving.get("/proxies").contains("\"name\":\"a\""), proxies);
    }
}

#[test]
fn without_its_port_it_ends_at_once_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["-port", &port]);
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("the API: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(text.lines().count() == 1 && text.contains(&wanted), "{text}");
}

#[test]
fn flags_that_are_wrong_are_a_usage_error() {
    for (args, said) in [
        (&["-nope"][..], "flag provided but not defined: -nope\nUsage of"),
        (&["-seed", "x"], "invalid value \"x\" for flag -seed: parse error\nUsage of"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(said), "{output:?}");
    }
    let output = run(&["-port", "99999"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("address 99999: invalid port"), "{output:?}");
    let output = run(&["-help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("-proxy-metrics"), "{output:?}");
}

/// Echoes one byte of each connection, and keeps it open.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut byte = [0];
            if stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {
                open.push(stream);
            }
        }
    });
    addr
}

/// A proxy before an echo, in a process with such limits of open files; where it listens.
fn limited(ulimit: &str, dir: &Path) -> (Serving, String) {
    let config = format!(r#"[{{"name":"echo","listen":"127.0.0.1:0","upstream":"{}"}}]"#, echo());
    let file = dir.join("proxies.json");
    std::fs::write(&file, config).unwrap();
    let command = format!("ulimit {ulimit}; exec \"$0\" proxy -port 0 -config \"$1\"");
    let (program, file) = (scenariod(), file.to_str().unwrap().to_owned());
    let serving =
        Serving::start(Path::new("sh"), &["-c", &command, program.to_str().unwrap(), &file], Some("info"));
    let listen = serving.proxies()["echo"]["listen"].as_str().unwrap().to_owned();
    (serving, listen)
}

/// A connection that was asked for one byte: did it come back? The error is that it hangs.
fn served(addr: &str) -> Result<Option<TcpStream>, String> {
    let mut stream = TcpStream::connect(addr).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut byte = [0];
    let asked = stream.write_all(b"x").and_then(|()| stream.read(&mut byte));
    match asked {
        Ok(1) => Ok(Some(stream)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err("it hangs".to_owned()),
        Err(_) => Ok(None),
    }
}

#[test]
fn a_thousand_connections_work_though_the_soft_limit_of_open_files_is_256() {
    descriptors::raise();
    let dir = tempfile::tempdir().unwrap();
    let (_proxy, addr) = limited("-Sn 256", dir.path());
    let open: Vec<TcpStream> = (0..1000).map(|_| served(&addr).unwrap().unwrap()).collect();
    assert_eq!(open.len(), 1000);
}

#[test]
fn beyond_the_hard_limit_connections_are_closed_and_none_hangs() {
    descriptors::raise();
    let dir = tempfile::tempdir().unwrap();
    let (proxy, addr) = limited("-n 64", dir.path());
    let mut open: Vec<Option<TcpStream>> = (0..100).map(|_| served(&addr).unwrap()).collect();
    let served_first = open.iter().flatten().count();
    assert!((5..64).contains(&served_first), "{served_first}");
    open.clear();
    // Descriptors are free again as soon as the proxy has seen the ends.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while served(&addr).unwrap().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "nothing is served any more");
    }
    let (_, log) = proxy.end("-TERM");
    // Where the client's side took the last one, it is the dial that fails.
    assert!(log.contains("no descriptor is left") || log.contains("Too many open files"), "{log}");
    // Not once a connection: it is told again only after ten seconds.
    assert!(log.matches("no descriptor is left").count() < 10, "{log}");
}
