//! A wrong value is never missed: it ends a loadgen with an exit code of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::harness::{PATIENCE, Running, binary, free_port, real_program, wait_for};

/// A real memcached that answers, and its address; `None` without the program.
async fn memcached(dir: &Path) -> Option<(Running, String)> {
    let program = real_program("memcached")?;
    let port = free_port().to_string();
    let server = Running::start(&program, &["-l", "127.0.0.1", "-p", &port, "-U", "0", "-u", "nobody"], dir);
    let addr = format!("127.0.0.1:{port}");
    wait_for("memcached", PATIENCE, async || TcpStream::connect(&addr).is_ok()).await;
    Some((server, addr))
}

#[tokio::test]
async fn a_value_that_is_not_the_keys_own_is_exit_code_5() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_server, addr)) = memcached(dir.path()).await else { return };
    // Every key of the load carries something that nobody wrote for it.
    let mut stream = TcpStream::connect(&addr).unwrap();
    for n in 0..200 {
        write!(stream, "set lg:k:{n:08} 0 0 5 noreply\r\nother\r\n").unwrap();
    }
    write!(stream, "mn\r\n").unwrap();
    let mut reply = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut reply).unwrap();
    let args = [
        "--servers",
        &addr,
        "--keys",
        "200",
        "--workload",
        "get-heavy",
        "--duration",
        "1s",
        "--metrics-port",
        "0",
    ];
    let mut loadgen = Running::start(&binary("loadgen"), &args, dir.path());
    assert_eq!(loadgen.exit_code(Duration::from_secs(30)).await, 5);
    let summary = std::fs::read_to_string(dir.path().join("loadgen.out")).unwrap();
    assert!(summary.contains("wrong_value") && !summary.contains(" 0 wrong values"), "{summary}");
}

/// Asks a memcached in lines.
struct Asking {
    stream: BufReader<TcpStream>,
}

impl Asking {
    fn new(addr: &str) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(addr).unwrap()) }
    }

    fn ask(&mut self, command: &str) -> String {
        write!(self.stream.get_mut(), "{command}\r\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// A counter of the load, if it exists.
    fn counter(&mut self) -> Option<u64> {
        self.ask("mg lg:c:00000007 v").starts_with("VA").then(|| self.line().trim().parse().unwrap())
    }

    /// The same when it has been counted for some time.
    async fn counted(&mut self) -> u64 {
        let mut count = 0;
        wait_for("counting", PATIENCE, async || {
            count = self.counter().unwrap_or(0);
            count > 500
        })
        .await;
        count
    }
}

#[tokio::test]
async fn counters_that_a_server_loses_again_and_again_are_no_wrong_data() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_server, addr)) = memcached(dir.path()).await else { return };
    let load = "--mix incr=1 --keys 64 --concurrency 16 --metrics-port 0 --servers";
    let args: Vec<&str> = load.split(' ').chain([addr.as_str()]).collect();
    let mut loadgen = Running::start(&binary("loadgen"), &args, dir.path());
    let mut server = Asking::new(&addr);
    // In the second before a delayed flush memcached loses at once what is created: there are many resets a millisecond.
    for flush in ["flush_all 2", "flush_all", "flush_all 1", "flush_all 2", "flush_all"] {
        let before = server.counted().await;
        assert_eq!(server.ask(flush), "OK\r\n");
        wait_for("a loss", PATIENCE, async || server.counter().is_none_or(|count| count < before)).await;
    }
    server.counted().await;
    loadgen.signal("INT");
    assert_eq!(loadgen.exit_code(Duration::from_secs(30)).await, 0);
    let summary = std::fs::read_to_string(dir.path().join("loadgen.out")).unwrap();
    assert!(summary.contains(" 0 wrong values") && summary.contains("\ncounters: "), "{summary}");
}
